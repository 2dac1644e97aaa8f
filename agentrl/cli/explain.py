"""What a name stands for, before anything is run: an algorithm's composition, or a part, memory, format or world.

agentrl explain epo
agentrl explain ppo-clip
agentrl explain guess
agentrl explain settings       every setting of a run, as in docs/configuration.md
"""

import argparse
import dataclasses
import inspect
import sys
from typing import Any

from agentrl.cli.documentation import first_line
from agentrl.cli.parser import write
from agentrl.errors import UnknownName, nearest
from agentrl.registry import LISTINGS, load, names
from agentrl.settings import field_help

KINDS = ("algorithm", "part", "memory", "format", "env", "curriculum", "policy")
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
    lines = _algorithm(value) if kind == "algorithm" else _thing(kind, args.name, value)
    for line in lines:
        write(line)
    return 0


def _kind_of(name: str) -> str:
    if ":" in name:
        return "algorithm" if hasattr(load("algorithm", name), "surrogate") else "part"
    everything: set[str] = {"settings"}
    for kind in KINDS:
        table = names(kind)
        if name.replace("_", "-") in table:
            return kind
        everything |= set(table)
    raise UnknownName(f"unknown name {name!r}{nearest(name, everything)} (agentrl list)")


def _algorithm(algorithm: Any) -> list[str]:
    from agentrl.composition import compose
    from agentrl.config import RunConfig

    composition = compose(RunConfig(algo=algorithm.name))
    lines = [algorithm.name, f"citation      {algorithm.citation}", ""]
    module = _module_of(algorithm, names("algorithm").get(algorithm.name, ""))
    lines += [*(inspect.getdoc(module) or "").splitlines(), ""]
    return lines + composition_lines(composition)


def composition_lines(composition: Any) -> list[str]:
    """What `explain` and `--dry-run` show of a composition: slots, settings, needs, what is ours."""
    lines = []
    last = ""
    for slot, name, _ in composition.describe():
        off = " (off)" if name in composition.idle else ""
        lines.append(f"{slot if slot != last else '':13} {name}{off}".rstrip())
        last = slot
    lines.append(f"{'needs':13} {', '.join(sorted(composition.needs)) or '-'}")
    ours = sorted({part.name for part in composition if part.ours})
    lines.append(f"{'ours':13} {', '.join(ours) or '-'}")
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
    if kind == "part":
        lines += ["", first_line(path)]
    of_module = inspect.getdoc(_module_of(value, path)) or ""
    own = (inspect.getdoc(value) or "") if isinstance(value, type) else ""
    lines += ["", *of_module.splitlines(), *(["", *own.splitlines()] if own else [])]
    if kind == "part":
        lines += ["", f"kind     {value.kind}", f"needs    {', '.join(value.needs) or '-'}"]
        lines += [f"source   {'ours' if value.ours else 'see above'}"]
    cls = _settings_class(kind, value)
    section = f"settings.{value.settings_section}" if kind == "part" else f"{kind}_settings"
    if cls is not None:
        lines += ["", section, *(settings_lines(cls) or ["  none"])]
    elif kind == "curriculum":
        lines += ["", section, *(_keywords(value) or ["  none"])]
    return lines


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
