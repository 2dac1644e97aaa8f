"""Write the report of a run (report.html, report.md, report.json), or one page that compares several.

agentrl report runs/alfworld-epo-0
agentrl report runs/alfworld-epo-0 runs/alfworld-grpo-0 --out runs/epo-and-grpo
"""

import argparse

from agentrl.cli.parser import write
from agentrl.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="a run directory, of training or of `agentrl eval --out`"
    )
    parser.add_argument(
        "--out", default="", metavar="FOLDER", help="where it is written; default: into the run's own folder"
    )


def run(args: argparse.Namespace) -> int:
    """Write, and say where.   Raises DataError for a folder with nothing to report."""
    from agentrl.registry import load

    if len(args.runs) == 1:
        page = load("report", "agentrl.eval.report:write_report")(args.runs[0], args.out)
        write(f"written to {page}")
        return 0
    if not args.out:
        raise ConfigError("a comparison needs a folder of its own; name one with --out FOLDER")
    page, warnings = load("report", "agentrl.eval.report:write_comparison")(args.runs, args.out)
    for warning in warnings:
        write(f"note: {warning}")
    write(f"written to {page}")
    return 0
