"""The reference of every setting of a run, written from the texts under the fields: docs/configuration.md holds it."""

import dataclasses
import types
import typing
from typing import Any

from agentrl.config import RunConfig
from agentrl.settings import field_help


def settings_reference() -> str:
    """Markdown: a table for the run, and one for each of its groups."""
    hints = typing.get_type_hints(RunConfig)
    groups = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    blocks = [_table("The run", "", RunConfig, set(groups))]
    blocks += [_table(f"`{name}`", f"{name}.", typing.cast(type, hint), set()) for name, hint in groups.items()]
    return "\n".join(blocks)


def _table(title: str, prefix: str, cls: type, left_out: set[str]) -> str:
    texts = field_help(cls)
    hints = typing.get_type_hints(cls)
    lines = [
        f"## {title}",
        "",
        (cls.__doc__ or "").strip(),
        "",
        "| setting | default | what it does |",
        "|---|---|---|",
    ]
    for field in dataclasses.fields(cls):
        if field.name not in left_out:
            what = _escaped(texts.get(field.name, ""))
            allowed = _allowed(hints[field.name])
            sentence = f"{what} {allowed}".strip()
            lines.append(f"| `{prefix}{field.name}` | `{_default(field)}` | {sentence} |")
    return "\n".join([*lines, ""])


def _default(field: Any) -> str:
    value = field.default if field.default is not dataclasses.MISSING else field.default_factory()
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else str(list(value)) if isinstance(value, tuple) else str(value)


def _allowed(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "One of: " + ", ".join(f"`{value}`" for value in typing.get_args(hint)) + "."
    if isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint):
        return "May be null."
    return ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
