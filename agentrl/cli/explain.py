"""What a name stands for, before anything is run: an algorithm's composition, or a part, memory, format or world.

agentrl explain epo
agentrl explain ppo-clip
agentrl explain guess
agentrl explain settings       every setting of a run, as in docs/configuration.md
"""

import argparse
import dataclasses
import inspect
import re
import sys
from typing import Any

from agentrl.cli.documentation import first_line
from agentrl.cli.parser import write
from agentrl.errors import UnknownName, nearest
from agentrl.registry import LISTINGS, load, names
from agentrl.settings import field_help

KINDS = ("algorithm", "part", "memory", "format", "env", "curriculum", "policy", "verifier")
"""In this order a name is looked up."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a registered name, module:attribute, or: settings")


def run(args: argparse.Namespace) -> int:
    """Print it.   Raises UnknownName with the nearest name of any kind."""
    if args.name == "settings":
        from agentrl.cli.reference import settings_reference

        write(settings_reference().rstrip())
        return 0
    kind = _kind_of(args.name)
    value = load(kind, args.name)
    lines = _algorithm(args.name, value) if kind == "algorithm" else _thing(kind, args.name, value)
    for line in lines:
        write(line)
    return 0


def _kind_of(name: str) -> str:
    if ":" in name:
        value = load("part", name)
        for kind, member in (("algorithm", "surrogate"), ("part", "bind"), ("curriculum", "draw")):
            if hasattr(value, member):
                return kind
        raise UnknownName(f"{name!r} is {type(value).__name__}; explain takes an Algorithm, a Part or a curriculum")
    everything: set[str] = {"settings"}
    for kind in KINDS:
        table = names(kind)
        if name.replace("_", "-") in table:
            return kind
        everything |= set(table)
    raise UnknownName(f"unknown name {name!r}{nearest(name, everything)} (agentrl list)")


def _algorithm(name: str, algorithm: Any) -> list[str]:
    from agentrl.composition import compose
    from agentrl.config import RunConfig

    composition = compose(RunConfig(algo=name))
    lines = [algorithm.name, f"citation      {algorithm.citation}", ""]
    text = inspect.getdoc(_module_of(algorithm, names("algorithm").get(name.replace("_", "-"), name))) or ""
    lines += [*text.splitlines(), ""]
    return lines + composition_lines(composition, text)


def composition_lines(composition: Any, text: str = "") -> list[str]:
    """What `explain` and `--dry-run` show of a composition: slots, settings, needs, what is ours.

    text: the paper file's own words, whose sentences that say `ours` are shown again as that.
    """
    lines = []
    last = ""
    for slot, name, _ in composition.describe():
        off = " (off)" if name in composition.idle else ""
        lines.append(f"{slot if slot != last else '':13} {name}{off}".rstrip())
        last = slot
    working = [part for part in composition if part.name not in composition.idle]
    reads = dict.fromkeys(name for part in working for name in read_of(part, composition.settings_of(part)))
    lines.append(f"{'needs':13} {', '.join([*sorted(composition.needs), *reads]) or '-'}")
    remembers = dict.fromkeys(part.state.__name__ for part in working if part.state is not None)
    lines.append(f"{'remembers':13} {', '.join(remembers) or '-'}")
    ours = [*sorted({part.name for part in composition if part.ours}), *ours_of(text)]
    lines += [f"{'ours' if i == 0 else '':13} {said}" for i, said in enumerate(ours or ["-"])]
    for section, config in sorted(composition.settings.items()):
        lines += ["", f"settings.{section}", *settings_lines(type(config), config)]
    return lines


def settings_lines(cls: type, instance: Any = None) -> list[str]:
    """A line a setting: name, value (of `instance`, or the default), help."""
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    helps = field_help(cls)
    rows = []
    for field in fields:
        value = getattr(instance, field.name) if instance is not None else _default(field)
        rows.append((field.name, str(value) if value != "" else "''", helps.get(field.name, "")))
    wide = max((len(name) for name, *_ in rows), default=0)
    long = min(max((len(value) for _, value, _ in rows), default=0), 24)
    return [f"  {name:{wide}}  {value:{long}}  {text}".rstrip() for name, value, text in rows]


def _default(field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else "(required)"


def _thing(kind: str, name: str, value: Any) -> list[str]:
    lines = [f"{name} ({kind if kind != 'env' else 'world'})"]
    path = names(kind).get(name.replace("_", "-"), name)
    if kind in ("part", "verifier"):
        lines += ["", first_line(path)]
    of_module = inspect.getdoc(_module_of(value, path)) or ""
    own = (inspect.getdoc(value) or "") if isinstance(value, type) else ""
    lines += ["", *of_module.splitlines(), *(["", *own.splitlines()] if own else [])]
    if kind == "curriculum":
        ours = ours_of(of_module)
        lines += ["", f"citation  {getattr(value, 'citation', '') or '-'}"]
        lines += [f"{'ours' if i == 0 else '':9} {said}" for i, said in enumerate(ours or ["-"])]
    if kind == "part":
        lines += _part(value, path, of_module)
    cls = _settings_class(kind, value)
    section = f"settings.{value.settings_section}" if kind == "part" else f"{kind}_settings"
    if cls is not None:
        lines += ["", section, *(settings_lines(cls) or ["  none"])]
    elif kind == "curriculum":
        lines += ["", section, *(_keywords(value) or ["  none"])]
    return lines


def _part(part: Any, path: str, text: str) -> list[str]:
    """The mathematics of a part, and what it asks for."""
    lines: list[str] = []
    for name, said in mathematics(part.bind):
        lines += ["", name, *(f"    {line}".rstrip() for line in said.splitlines())]
    config = part.config() if part.config is not None else None
    needs = [*part.needs, *dict.fromkeys(read_of(part, config))]
    beside = vars(_module_of(part, path)).values()
    of_file = {v.citation for v in beside if hasattr(v, "surrogate") and not isinstance(v, type)}  # its algorithms'
    cited = [part.citation] if part.citation else sorted(of_file)
    couples = part.couples(config) if callable(part.couples) else part.couples
    lines += ["", f"kind       {part.kind}", f"needs      {', '.join(needs) or '-'}"]
    if part.kind in ("surrogate", "regulariser"):
        lines.append(f"couples    {couples}" + (" (two forward passes)" if couples == "batch" else ""))
    lines.append(f"remembers  {part.state.__name__ if part.state is not None else '-'}")
    lines += [f"citation   {citation}" for citation in cited]
    ours = ["the part"] if part.ours else ours_of(text)
    return lines + [f"{'ours' if i == 0 else '':10} {said}" for i, said in enumerate(ours or ["-"])]


def ours_of(text: str) -> list[str]:
    """The sentences of a docstring that say what is ours and no paper's."""
    prose = " ".join(" ".join(line for line in text.split("\n") if not line.startswith("    ")).split())
    sentences = re.split(r"(?<=[.:]) (?=[A-Z`])", prose)
    return [sentence.strip() for sentence in sentences if re.search(r"\bours\b", sentence, re.IGNORECASE)]


def read_of(part: Any, config: Any) -> list[str]:
    """The numbers that a part reads from the logits, with its settings."""
    state = None
    if part.state is not None:
        state = part.state() if config is None else part.state(config)
    found = []
    for probes, when in ((part.probes, ""), (part.sampled_probes, " (as sampled)")):
        declared = probes(config, state) if callable(probes) else probes
        found += [name + when for probe in declared for name in probe.names]
    return found


def mathematics(bind: Any) -> list[tuple[str, str]]:
    """The documented functions that a part's `bind` calls, by itself or through those that read a view.

    Returns (name with its arguments, docstring) of each, in the order in which they are met.
    """
    found: dict[str, str] = {}
    waiting, seen = [bind], set()
    while waiting:
        function = waiting.pop(0)
        code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
        met = [function.__globals__.get(name) for name in getattr(code, "co_names", ())]
        for called in (*met, *(cell.cell_contents for cell in cells)):
            if not inspect.isfunction(called) or called in seen or not _same_room(called, bind):
                continue
            seen.add(called)
            if called.__name__.startswith("_") or "view" in inspect.signature(called).parameters:
                waiting.append(called)
            elif called.__doc__:
                found[f"{called.__name__}({', '.join(inspect.signature(called).parameters)})"] = (
                    inspect.getdoc(called) or ""
                )
    return list(found.items())


def _same_room(function: Any, bind: Any) -> bool:
    own = bind.__module__
    return function.__module__ == own or function.__module__.startswith("agentrl.trainers.parts")


def _settings_class(kind: str, value: Any) -> type | None:
    found: type | None = getattr(value, "config" if kind == "part" else "Config", None)
    return found


def _keywords(cls: Any) -> list[str]:
    """The settings of a class that takes them as keywords, a line each."""
    if not isinstance(cls, type):
        return []
    parameters = inspect.signature(cls).parameters.values()
    return [f"  {p.name}  {p.default}" for p in parameters if p.default is not inspect.Parameter.empty]


def _module_of(value: Any, path: str) -> Any:
    module_name = path.partition(":")[0] or getattr(value, "__module__", "")
    return sys.modules.get(module_name)


__all__ = ["LISTINGS", "add_arguments", "composition_lines", "run", "settings_lines"]
