"""Strict typed settings: frozen dataclasses from mappings and back, with the nearest name for what is unknown."""

import ast
import contextlib
import dataclasses
import functools
import inspect
import itertools
import math
import textwrap
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from agentrl.errors import ConfigError, nearest

T = TypeVar("T")


def from_mapping(cls: type[T], settings: Mapping[str, Any], path: str = "") -> T:
    """An instance of a frozen dataclass from a mapping of the same shape; nested dataclasses are walked.

    path: where the mapping stands, as `rollout`, for the messages.
    Raises ConfigError for an unknown key (with the nearest), a value of another type, or one that the class refuses.
    """
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for raw, value in settings.items():
        name = str(raw).replace("-", "_")
        where = f"{path}.{name}" if path else name
        if name not in known:
            raise ConfigError(f"unknown setting '{where}'{_suggest(name, hints, path)}")
        values[name] = _convert(hints[name], value, where)
    missing = [
        n
        for n, f in known.items()
        if n not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"setting '{path + '.' if path else ''}{missing[0]}' is required")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}.{error}" if path else str(error)) from None


def _suggest(name: str, hints: Mapping[str, Any], path: str) -> str:
    """The nearest of the settings here; of the group in which the very name stands; or all there are."""
    prefix = f"{path}." if path else ""
    for group, hint in hints.items():
        if dataclasses.is_dataclass(hint) and name in {f.name for f in dataclasses.fields(hint)}:
            return f"; did you mean '{prefix}{group}.{name}'?"
    hint = nearest(prefix + name, [prefix + k for k in hints])
    return hint or f"; known here: {', '.join(sorted(hints)) or 'nothing'}"


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        errors = []
        for option in (a for a in args if a is not type(None)):
            try:
                return _convert(option, value, where)
            except ConfigError as error:
                errors.append(error)
        raise errors[0]
    if origin is typing.Literal:
        if value not in args or isinstance(value, bool) != isinstance(args[args.index(value)], bool):
            raise ConfigError(
                f"{where} is {value!r}{nearest(str(value), [str(a) for a in args])}; "
                f"allowed: {', '.join(map(str, args))}"
            )
        return value
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}; it must be a group of settings")
        return from_mapping(typing.cast(type, hint), value, where)
    if origin in (tuple, list):
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} is {value!r}; it must be a list")
        item = args[0] if args else Any
        return (tuple if origin is tuple else list)(_convert(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin in (dict, Mapping) or hint is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}; it must be a group of settings")
        return dict(value)
    return _scalar(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)  # also of a text: YAML reads 1e-3 as one
            require(math.isfinite(number), f"{where} is {value}; it must be a finite number")
            return number
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        return value
    if hint is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(hint, str(hint))
    raise ConfigError(f"{where} is {value!r}; it must be {expected}")


def to_mapping(config: Any) -> dict[str, Any]:
    """A frozen dataclass as plain dictionaries, lists and scalars: what `from_mapping` takes."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(v) for v in value]
        return value

    result: dict[str, Any] = plain(config)
    return result


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one: nested groups are merged, everything else in `over` wins."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merge(result[key], value) if both else value
    return result


@functools.cache
def field_help(cls: type) -> dict[str, str]:
    """field name -> the sentence that stands under the field in the source, of what a class inherits too."""
    return functools.reduce(dict.__or__, map(_own_help, reversed(cls.__mro__)))


def _own_help(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = typing.cast(ast.ClassDef, tree.body[0]).body
    found = {}
    for statement, following in itertools.pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            found[statement.target.id] = " ".join(str(following.value.value).split())
    return found


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with the message unless the condition holds; for `__post_init__` of settings."""
    if not condition:
        raise ConfigError(message)
