"""The words that every room speaks: tasks, observations, turns, trajectories, and what connects them. No torch here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

SCHEMA_VERSION = 1
"""Of every stored record; raised when a stored field changes its meaning."""

TurnKind = Literal["act", "summarise"]
Finish = Literal["stop", "length"]
Ended = Literal[
    "done", "gave_up", "turn_limit", "context_limit", "token_limit", "time_limit", "world_failure", "policy_failure"
]
Message = dict[str, Any]
"""A chat message: {"role": "system" | "user" | "assistant", "content": text, or a list of items}.

An item is {"type": "text", "text": text} or {"type": "image", "image": PNG bytes}.
"""


@dataclass(frozen=True, slots=True)
class EndRule:
    """What a way of ending means for what comes after; the table of ends."""

    scored: bool
    in_statistics: bool
    carries_loss: Literal["yes", "no", "overlong"]
    bootstraps: bool
    infrastructure: bool = False


ENDS: Mapping[str, EndRule] = {
    "done": EndRule(True, True, "yes", False),
    "gave_up": EndRule(True, True, "yes", False),
    "turn_limit": EndRule(True, True, "yes", False),
    "context_limit": EndRule(True, True, "overlong", True),
    "token_limit": EndRule(True, True, "overlong", True),
    "time_limit": EndRule(False, False, "no", False, infrastructure=True),
    "world_failure": EndRule(False, False, "no", False, infrastructure=True),
    "policy_failure": EndRule(False, False, "no", False, infrastructure=True),
}


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to be done in one world. A split is an ordered panel of these."""

    env: str
    id: str
    split: str
    seed: int
    kind: str = ""
    """The world's own name for this sort of task; results are broken down by it."""
    difficulty: float | None = None
    """From 0 (easy) to 1, where the world can tell."""
    data: Any = None
    """The world's own frozen dataclass; opaque to all others."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What the agent sees of the world at one moment."""

    text: str
    images: tuple[bytes, ...] = ()
    """PNG files, in the order in which they are shown."""
    admissible: tuple[str, ...] | None = None
    """Actions that the world would accept now, where it tells."""
    visited: tuple[str, ...] | None = None
    """What this moment touched, for rewards that count coverage; None where the world does not tell."""
    earlier: tuple[tuple[str, str], ...] = ()
    """(role, text) of messages that stand before it, of a conversation that others began."""

    @property
    def transcript(self) -> str:
        """The text as a person reads it: behind the messages that stand before it, each with who said it."""
        if not self.earlier:
            return self.text
        return "\n\n".join([*(f"[{role}] {text}" for role, text in self.earlier), f"[user] {self.text}"])


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one action did."""

    observation: Observation
    reward: float = 0.0
    valid: bool = True
    """Did the world accept the action."""
    terminated: bool = False
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The judgement on a whole episode."""

    success: bool
    score: float
    """In the world's own unit; 1.0 for a full success unless the world's docstring says otherwise."""
    answer: str | None = None
    """The final answer in a canonical form: equal answers are equal texts. None: the last action stands for it."""
    components: Mapping[str, float] = field(default_factory=dict)
    """What the score is made of, by name, where the world tells: correctness, format."""

    def to_json(self) -> list[Any]:
        """Its fields as JSON holds them, what is absent left out at the end: `Outcome(*fields)` is the outcome."""
        told = self.answer is not None or bool(self.components)
        return [self.success, self.score, *([self.answer, dict(self.components)] if told else [])]


@runtime_checkable
class Env(Protocol):
    """One episode at a time. A class whose `step` is no coroutine function is synchronous and runs in a worker."""

    async def reset(self, task: Task) -> Observation: ...
    async def step(self, action: str) -> StepResult: ...
    def outcome(self) -> Outcome: ...
    async def close(self) -> None: ...


@runtime_checkable
class SyncEnv(Protocol):
    """The same for an engine that blocks: the core runs it in a worker process."""

    def reset(self, task: Task) -> Observation: ...
    def step(self, action: str) -> StepResult: ...
    def outcome(self) -> Outcome: ...
    def close(self) -> None: ...


class World(Protocol):
    """What a world's module has; see `agentrl.envs.guess` for the smallest one."""

    Config: type
    Env: type

    def tasks(self, split: str, config: Any) -> Sequence[Task]: ...
    def instructions(self, config: Any) -> str: ...
    def tools(self, config: Any) -> list[dict[str, Any]] | None: ...
    def solution(self, task: Task) -> list[str] | None: ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """A turn that stays visible: what was seen, what was replied."""

    observation: Observation
    reply: str
    action: str


@dataclass(frozen=True, slots=True)
class View:
    """What the agent is shown this turn, before it is written as messages."""

    task: Task
    instructions: str
    observation: Observation
    """The newest one, which the reply answers."""
    exchanges: tuple[Exchange, ...] = ()
    """Earlier turns that stay visible, oldest first."""
    question: str = ""
    """The first observation's text, where the memory no longer shows that turn."""
    report: str | None = None
    """Notes carried from earlier turns, where the memory keeps them."""
    turn: int = 0
    """Acting turns before this one."""
    kind: TurnKind = "act"
    """summarise: the reply takes no action; it is the report that stands in the place of the exchanges."""
    tools: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a format read out of a completion's text."""

    action: str
    readable: bool = True
    report: str | None = None
    """The new notes; of a view of the kind `summarise`, the synthesis. None: the old ones stay."""
    gave_up: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one completion is sampled."""

    temperature: float = 1.0
    """0 is greedy; log-probs are taken at this temperature as well (greedy: at 1)."""
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256
    seed: int = 0
    candidates: tuple[tuple[int, ...], ...] | None = None
    """Constrained sampling: the completion is one of these id sequences, the end-of-turn id included."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a policy answers."""

    view: View
    messages: tuple[Message, ...]
    prompt_ids: tuple[int, ...] | None
    """The whole prompt as ids; None for policies that take messages."""
    images: tuple[bytes, ...]
    sampling: Sampling
    episode: str
    """Stays the same over an episode's turns, so that keys and values can be reused."""


@dataclass(slots=True)
class Completion:
    """What a policy said."""

    text: str
    token_ids: list[int] = field(default_factory=list)
    """What was sampled, the end-of-turn id included; empty for policies without ids."""
    logprobs: list[float] | None = None
    """`sampled`: of the sampling policy at the sampling temperature and mask, one a token; None for foreign text."""
    finish: Finish = "stop"
    versions: list[int] = field(default_factory=list)
    """Weight version that sampled each token."""
    allowed: list[list[int]] | None = None
    """Where sampling was constrained: the allowed ids at each token."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cost: float | None = None
    """Of the call that gave this reply; None where the price is not known."""
    reasoning: str = ""
    """What the model thought where the server tells it apart from the reply; never read as an action."""
    output_tokens: int = 0
    """As the server counted them, reasoning included; 0 for policies with ids."""
    reasoning_tokens: int = 0
    """Of `output_tokens`."""
    waited: float = 0.0
    """Seconds that the call waited for rate limits and before further tries."""


@dataclass(slots=True)
class Turn:
    """One reply of the agent and what it did."""

    position: int
    """0-based place in the trajectory."""
    observation: Observation
    """What the reply answered."""
    prompt_ids: list[int]
    """The whole prompt; where `continues`, only what was added after the previous turn's completion."""
    continues: bool
    """This turn's prompt is the previous prompt, the previous completion and `prompt_ids`: the same sequence."""
    completion: Completion
    action: str
    readable: bool
    valid: bool
    reward: float
    kind: TurnKind = "act"
    report: str | None = None
    images: tuple[str, ...] = ()
    """Content hashes of the images in `prompt_ids`, in order; the files are in the run directory."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by phase: policy, world."""
    learn: bool = True
    """False: carries no loss, as a demonstrator's deliberate mistake."""


@dataclass(slots=True)
class Trajectory:
    """One episode, as it is stored and trained on."""

    task: Task
    group: str
    """Rollouts of one task in one step share it; group statistics are over it."""
    rollout: int
    turns: list[Turn]
    final_observation: Observation | None
    outcome: Outcome
    ended: Ended
    failure: str | None = None
    """What went wrong, where `ended` is an infrastructure failure."""
    tries: int = 1
    source: Literal["sampled", "demonstration", "logged", "api"] = "sampled"
    policy: str = ""
    hint: str = ""
    """What the agent was told beside the world's instructions, to help it with this task."""
    greedy: bool = False
    """Played by the greedy policy, for others of its group to be compared with; carries no loss itself."""
    reference: str = ""
    """A reply to the same task to compare this one with, where the data have one."""
    schema: int = SCHEMA_VERSION

    @property
    def reward(self) -> float:
        """Sum of what the world paid."""
        return sum(turn.reward for turn in self.turns)

    @property
    def num_acts(self) -> int:
        """Its acting turns; a summarise turn is none."""
        return sum(turn.kind == "act" for turn in self.turns)

    @property
    def num_tokens(self) -> int:
        return sum(len(turn.completion.token_ids) for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """An episode played by an expert, before it is written in the words of a memory and a format."""

    task: Task
    steps: tuple[tuple[Observation, str, bool], ...]
    """What was seen, the action that answered it, and whether it is to be learned."""
    final_observation: Observation | None
    outcome: Outcome


@runtime_checkable
class Policy(Protocol):
    """Whatever replies. `takes_ids` says whether it wants token ids or messages."""

    takes_ids: bool

    async def generate(self, request: Request) -> Completion: ...
    async def release(self, episode: str) -> None: ...
    async def close(self) -> None: ...


class Memory(Protocol):
    """Decides what the agent sees: a pure function of what has happened so far."""

    def view(
        self,
        task: Task,
        instructions: str,
        turns: Sequence[Turn],
        observation: Observation,
        tools: tuple[dict[str, Any], ...] = (),
    ) -> View: ...


class PromptFormat(Protocol):
    """Writes a view as chat messages and reads a reply; knows no world."""

    def messages(self, view: View) -> list[Message]: ...
    def parse(self, text: str, view: View) -> Reply: ...
    def candidates(self, view: View) -> tuple[str, ...] | None: ...
    def write(self, action: str, view: View, report: str | None = None, thought: str = "") -> str: ...
