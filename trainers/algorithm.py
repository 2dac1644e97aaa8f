"""What a part, an algorithm and a curriculum are: values and protocols, not classes to inherit from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from agentrl.episode import Job
from agentrl.models.head import Probe
from agentrl.trainers.step_view import StepView
from agentrl.types import Task, Trajectory

Kind = Literal[
    "rewrite",
    "returns",
    "reward",
    "pairing",
    "advantage",
    "modifier",
    "selection",
    "surrogate",
    "regulariser",
    "value-loss",
    "aggregate",
    "gate",
]
Need = Literal[
    "sampled",
    "old",
    "reference",
    "entropy",
    "sampled_entropy",
    "value",
    "demonstrations",
    "admissible",
    "pairs",
    "solutions",
    "hints",
    "greedy",
    "past",
    "guidance",
    "mismatched",
    "judged",
    "reward",
    "advantage",
]
"""`reward` (the turn rewards are read), `advantage` and `pairs` are met by the composition itself, all others by the
trainer.

A rewrite needs `solutions` where it brings demonstrations into the batch, `hints` where it changes some prompts, `past`
where it brings episodes of earlier steps. `greedy` is an episode of the greedy policy beside each group."""
Couples = Literal["token", "turn", "group", "batch"]
LearnsFrom = Literal["episodes", "data", "both"]


class State(Protocol):
    """What a part remembers from step to step; in the checkpoint. Made as `state(config)`, or `state()` without one.

    It may have a method `observe(view)` too: called once a step with the whole batch, before the first update.
    """

    def update(self, view: StepView) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Rehearsal(Protocol):
    """What a rewrite may ask for between playing and learning; the same on every rank, which all ask the same."""

    step: int
    num_steps: int
    seed: int
    counts: dict[str, float]
    """What is logged of this step, by metric; a rewrite puts in its own, 0 too."""
    again: list[Trajectory]
    """Episodes of earlier steps that a rewrite brings into this one; they were stored when they were played."""

    @property
    def tokenizer(self) -> Any:
        """Of the model that is trained, as transformers has it."""
        ...

    async def play(self, jobs: Sequence[Job]) -> list[Trajectory]:
        """Further episodes of the policy that is trained, in the order of the jobs."""
        ...

    async def demonstrations(self, episodes: Sequence[tuple[Task, str]]) -> list[Trajectory | None]:
        """The world's solution of each (task, group), played and in the model's ids; None where it did not succeed."""
        ...

    def hints(self, task: Task) -> Mapping[str, Sequence[str]]:
        """Tier -> its pieces, from the vaguest tier to the plainest; empty where the world has none."""
        ...


@dataclass(frozen=True)
class Draw:
    """A task that comes next. Each draw is a group of its own, also where a task comes twice."""

    task: Task
    num_rollouts: int


class Curriculum(Protocol):
    """Decides which tasks come next; made with an instance of its `Config`, started with the panel.

    It may have two further methods: `more(trajectories) -> list[Draw]`, asked with all episodes of the step so far
    until it returns nothing, for one that draws again before the step is learned from (it has to come to an end by
    itself); and `metrics() -> dict[str, float]`, asked once a step after `update`. A class
    attribute `citation` names the paper, where it is one's.
    """

    Config: type

    def start(self, tasks: Sequence[Task], seed: int) -> None: ...
    def draw(self, num_tasks: int, num_rollouts: int) -> list[Draw]: ...
    def update(self, trajectories: Sequence[Trajectory]) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Part:
    """One exchangeable piece of an algorithm.

    `bind(view, config, state)` names its inputs in at most ten lines; its mathematics is in pure functions beside it.
    A rewrite's is `async bind(groups, rehearsal, config, state)`: lists of trajectories, a list a group, to such lists.
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
    probes: tuple[Probe, ...] | Callable[[Any, Any], tuple[Probe, ...]] = ()
    """What the part reads from the logits of the current policy (`view.probes`); a function of (config, state) where it
    depends on them. Costs only where it is declared."""
    sampled_probes: tuple[Probe, ...] | Callable[[Any, Any], tuple[Probe, ...]] = ()
    """The same at the rollout's version (`view.sampled_probes`), known before the first update. One that `reads` a
    field is measured by itself, right before its part, once that field is there: a forward pass more."""
    couples: Couples | Callable[[Any], Couples] = "token"
    """Of the current policy's numbers, how many one value of a term mixes; one pass is exact up to `group`.

    A function of the part's config where it depends on that."""
    active: Callable[[Any], bool] | None = None
    """Of the part's config: does it do anything? One that does not is left out, with what it needs; None: always."""
    metrics: Callable[[StepView, Any, Any], dict[str, float]] | None = None
    """(view, config, state) -> what is logged once a step; the view is one of which the loss was taken."""
    per_turn: bool = False
    """Of a returns part: each turn gets its own share, so that the turns add up to what the episode is credited with.

    Of an advantage part: it adds turns up itself, and reads such returns alone."""
    adds_to: Literal["turn", "score"] = "turn"
    """Of a reward part: it gives [U] for the turn rewards, or [J] for the outcome's score."""
    aligned: bool = False
    """Compares replies of a group token by token: all of them have to answer the same prompt."""
    ours: bool = False
    """No paper's: our own choice, and said to be so."""
    citation: str = ""
    """Of a part that is a paper without an algorithm of its own: its authors, title and number."""

    @property
    def settings_section(self) -> str:
        return self.section or self.name


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """A paper as a composition of parts: registered names, or Parts that stand in the paper's own file."""

    name: str
    citation: str
    rewrites: tuple[str | Part, ...] = ()
    returns: str | Part = "outcome"
    rewards: tuple[str | Part, ...] = ()
    gates: tuple[str | Part, ...] = ()
    pairing: str | Part | None = None
    """Which trajectories of a group are compared with each other; None: no term learns from pairs."""
    advantage: str | Part | None = "group-norm"
    modifiers: tuple[str | Part, ...] = ()
    selections: tuple[str | Part, ...] = ()
    surrogate: str | Part = "ppo-clip"
    regularisers: tuple[str | Part, ...] = ()
    value_loss: str | Part | None = None
    """What a critic learns from; None: there is none."""
    aggregate: str | Part = "token-mean"
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The paper's values where they differ from a part's default: {section: {setting: value}}."""
    needs: tuple[Need, ...] = ()
    learns_from: LearnsFrom = "episodes"
    """both: of groups that `data` holds as well as of its own episodes; data: of those alone."""
