"""What there is, a line each: envs, algos, parts, memories, formats, curricula, policies, verifiers. Loads none."""

import argparse

from agentrl.cli.parser import write
from agentrl.errors import UnknownName, nearest
from agentrl.registry import LISTINGS, names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", default="", metavar="WHAT", help=f"one of: {', '.join(LISTINGS.values())}")


def run(args: argparse.Namespace) -> int:
    """Print the names of a kind, or of all, with the first line of their documentation."""
    from agentrl.cli.documentation import first_line

    kind_of = {listing: kind for kind, listing in LISTINGS.items()}
    kind_of |= {"environments": "env", "algorithms": "algorithm"}
    wanted = args.what.lower()
    if wanted and wanted not in kind_of:
        if wanted in LISTINGS:
            wanted = LISTINGS[wanted]
        else:
            raise UnknownName(f"unknown kind {wanted!r}{nearest(wanted, kind_of)} (one of: {', '.join(kind_of)})")
    for kind in [kind_of[wanted]] if wanted else LISTINGS:
        table = names(kind)
        width = max(map(len, table), default=0)
        if not wanted:
            write(f"{LISTINGS[kind]}:")
        for name, path in table.items():
            write(f"{'' if wanted else '  '}{name:{width}}  {first_line(path)}".rstrip())
        if not wanted:
            write("")
    return 0
