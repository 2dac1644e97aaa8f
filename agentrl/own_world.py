"""A world made of one's own Env class and its tasks, where no module with a world's members was written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from agentrl.errors import ConfigError, nearest
from agentrl.types import Task


@dataclass(frozen=True, kw_only=True)
class NoSettings:
    """A world of one's own has no settings, unless its Env class has a `Config`."""


class OwnWorld:
    """A world's members around an Env class.

    Of the class are taken, where it has them: `Config`, `instructions`, `tools` (values, or functions of the config),
    `solution(task)`, `tasks(split, config)` with `SPLITS` and `VALIDATION`.
    """

    REPEATS = "not known: a world of one's own"

    def __init__(self, env_class: type, panels: Mapping[str, Sequence[Task]]) -> None:
        """panels: split -> its tasks, in order; empty: the class has `tasks` and `SPLITS`."""
        self.__name__ = env_class.__name__
        self.__doc__ = env_class.__doc__
        self.Env = env_class
        self.Config = getattr(env_class, "Config", NoSettings)
        self._panels = {split: tuple(tasks) for split, tasks in panels.items()}
        self.SPLITS: tuple[str, ...] = tuple(self._panels) or tuple(env_class.SPLITS)  # type: ignore[attr-defined]
        judged = [split for split in self.SPLITS if split != "train"]
        self.VALIDATION: str = getattr(env_class, "VALIDATION", (judged or list(self.SPLITS))[0])

    @classmethod
    def of(cls, env_class: Any, tasks: Sequence[Task] | Mapping[str, Sequence[Task]] | None) -> Self:
        """The world of an Env class.   tasks: panels by split; or one list, split by `task.split`.

        Raises ConfigError for what is no Env class, and where there are no tasks.
        """
        env_class = getattr(env_class, "Env", env_class)
        if not isinstance(env_class, type):
            raise ConfigError(f"{env_class!r} is no world: pass a module with a world's members, or an Env class")
        for member in ("reset", "step", "outcome"):
            if not callable(getattr(env_class, member, None)):
                raise ConfigError(f"class {env_class.__name__} has no method {member!r} (agentrl.types.Env)")
        if tasks is None:
            if not (callable(getattr(env_class, "tasks", None)) and getattr(env_class, "SPLITS", None)):
                name = env_class.__name__
                raise ConfigError(
                    f"class {name} has no tasks of its own; pass tasks=[Task(...), ...] beside world={name}"
                )
            return cls(env_class, {})
        panels: dict[str, Sequence[Task]] = dict(tasks) if isinstance(tasks, Mapping) else _by_split(tasks)
        wrong = next((t for panel in panels.values() for t in panel if not isinstance(t, Task)), None)
        if wrong is not None or not any(panels.values()):
            raise ConfigError(f"tasks must be agentrl.Task values, at least one; there is {wrong!r}")
        return cls(env_class, panels)

    def tasks(self, split: str, config: Any = None) -> Sequence[Task]:
        """The panel of a split.   Raises ConfigError for an unknown one."""
        if split not in self.SPLITS:
            raise ConfigError(
                f"{self.__name__} has no split {split!r}{nearest(split, self.SPLITS)} "
                f"(splits: {', '.join(self.SPLITS)})"
            )
        if self._panels:
            return self._panels[split]
        panel: Sequence[Task] = self.Env.tasks(split, config)  # type: ignore[attr-defined]
        return panel

    def instructions(self, config: Any) -> str:
        """What the agent is told; empty where the class says nothing."""
        return str(_said(self.Env, "instructions", config) or "")

    def tools(self, config: Any) -> list[dict[str, Any]] | None:
        """JSON schemas, or None."""
        found: list[dict[str, Any]] | None = _said(self.Env, "tools", config)
        return found

    def solution(self, task: Task) -> list[str] | None:
        """Actions that earn the full reward, where the class tells."""
        solve = getattr(self.Env, "solution", None)
        actions: list[str] | None = solve(task) if solve is not None else None
        return actions


def _said(env_class: type, member: str, config: Any) -> Any:
    value = getattr(env_class, member, None)
    return value(config) if callable(value) else value


def _by_split(tasks: Sequence[Task]) -> dict[str, Sequence[Task]]:
    panels: dict[str, list[Task]] = {}
    for task in tasks:
        panels.setdefault(getattr(task, "split", "train"), []).append(task)
    return dict(panels)
