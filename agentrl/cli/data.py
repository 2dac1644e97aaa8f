"""What a file of preferences, completions, messages or episodes holds, and what is wrong with it.

agentrl data check pairs.jsonl
agentrl data check pairs.jsonl --model Qwen/Qwen2.5-0.5B-Instruct
agentrl data check runs/guess-grpo-0
"""

import argparse
from typing import TYPE_CHECKING, Any

from agentrl.cli.parser import printable, write

if TYPE_CHECKING:
    from agentrl.data_check import Facts

_SHOWN = 300
"""Letters of an example that are shown."""
_REPEATS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("check",), metavar="check", help="read everything, and tell what is there")
    parser.add_argument("source", metavar="FILE", help="a file or folder of rows or episodes, or a run directory")
    parser.add_argument("--model", metavar="NAME", default="", help="count lengths in this model's tokens")


def run(args: argparse.Namespace) -> int:
    """Print what there is.   Returns 1 where something is wrong; raises DataError for what cannot be read at all."""
    from agentrl.data_check import facts_of_episodes, facts_of_rows
    from agentrl.logged_data import data_kind

    if data_kind(args.source) == "episodes":
        facts = facts_of_episodes(args.source)
    else:
        facts = facts_of_rows(args.source, _renderer(args.model, args.source) if args.model else None)
    for line in _lines(args.source, facts):
        write(printable(line))
    return 1 if facts.num_problems else 0


def _renderer(model: str, source: str) -> Any:
    from agentrl.composition import world_settings
    from agentrl.logged_groups import WORLD
    from agentrl.models.load import load_renderer
    from agentrl.registry import load

    settings = world_settings(load("env", WORLD), {"data": source, "bad_rows": "skip"})
    return load_renderer(model, WORLD, settings)


def _lines(source: str, facts: "Facts") -> list[str]:
    lines = []
    if facts.num and facts.format == "episodes":
        lines.append(f"{source}: {facts.num} episodes")
    elif facts.num:
        lines.append(f"{source}: {facts.num} rows, {facts.format}, {'raw texts' if facts.raw else 'messages'}")
    for name, (middle, largest) in facts.lengths.items():
        unit = "" if name == "turns" else f" {facts.unit}"
        lines.append(f"  {name + ':':15} median {middle:g}{unit}, largest {largest}")
    if facts.num:
        lines.append(f"  {'longest:':15} {facts.longest} {facts.unit}, prompt and answer together")
    if facts.score_gap is not None:
        least, middle, most = facts.score_gap
        lines.append(f"  {'score gap:':15} median {middle:g}, from {least:g} to {most:g}")
    if facts.longer_chosen is not None:
        middle, share = facts.longer_chosen
        told = f"chosen - rejected: median {middle:+g} {facts.unit}, chosen is longer in {share:.0%}"
        lines.append(f"  {'length gap:':15} {told}")
    lines += [f"  {name + ':':15} {count}" for name, count in facts.counts.items()]
    lines += _repeats(facts)
    for number, text in enumerate(facts.shown, 1):
        lines += ["", f"example {number}:", *(f"  {line}" for line in _shortened(text).splitlines())]
    return [*lines, *_problems(facts)]


def _repeats(facts: "Facts") -> list[str]:
    if not facts.repeats:
        return []
    told = "; ".join(f"{place} is {before}" for place, before in facts.repeats[:_REPEATS])
    more = "; ..." if len(facts.repeats) > _REPEATS else ""
    return [f"  {'duplicates:':15} {len(facts.repeats)} rows: {told}{more}"]


def _shortened(text: str) -> str:
    parts = (line if len(line) <= _SHOWN else f"{line[:_SHOWN]} ..." for line in text.splitlines())
    return "\n".join(parts)


def _problems(facts: "Facts") -> list[str]:
    if not facts.num_problems:
        return []
    more = facts.num_problems - len(facts.problems)
    head = f"{facts.num_problems} {'row is' if facts.num_problems == 1 else 'rows are'} not as they should be:"
    told = [f"  {text.removeprefix('data: ')}" for text in facts.problems]
    return ["", head, *told, *([f"  ... and {more} more"] if more else [])]
