"""What a part and an algorithm are: values, not classes to inherit from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from agentrl.trainers.step_view import StepView

Kind = Literal[
    "returns", "reward", "advantage", "modifier", "selection", "surrogate", "regulariser", "aggregate", "gate"
]
Need = Literal[
    "sampled", "old", "reference", "entropy", "sampled_entropy", "value", "demonstrations", "admissible", "pairs"
]


class State(Protocol):
    """What a part remembers from step to step; in the checkpoint."""

    def update(self, view: StepView) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Part:
    """One exchangeable piece of an algorithm.

    `bind(view, config, state)` names its inputs in at most ten lines; its mathematics is in pure functions beside it.
    Parts that name the same config or state class share one instance of it.
    """

    name: str
    kind: Kind
    bind: Callable[..., Any]
    config: type | None = None
    """Frozen dataclass of settings, set by `settings: {<section>: {...}}`."""
    section: str = ""
    """Under which name the settings stand; empty: the part's name."""
    state: type | None = None
    needs: tuple[Need, ...] = ()
    couples: Literal["token", "turn", "batch"] = "token"
    """Of the current policy's numbers, how many one value of a term mixes; one pass is exact up to `turn`."""
    ours: bool = False
    """No paper's: our own choice, and said to be so."""

    @property
    def settings_section(self) -> str:
        return self.section or self.name


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """A paper as a composition of parts: registered names, or Parts that stand in the paper's own file."""

    name: str
    citation: str
    returns: str | Part = "outcome"
    rewards: tuple[str | Part, ...] = ()
    gates: tuple[str | Part, ...] = ()
    advantage: str | Part | None = "group-norm"
    modifiers: tuple[str | Part, ...] = ()
    selections: tuple[str | Part, ...] = ()
    surrogate: str | Part = "ppo-clip"
    regularisers: tuple[str | Part, ...] = ()
    aggregate: str | Part = "token-mean"
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The paper's values where they differ from a part's default: {section: {setting: value}}."""
    needs: tuple[Need, ...] = ()
