"""The members of the smallest world; `agentrl.envs.guess` shows them, with what an agent sees, may do and is paid."""

import random
import re
from dataclasses import dataclass
from typing import Any

from agentrl.errors import ConfigError, WorldFailure, nearest
from agentrl.models.tiny.build import Vocabulary
from agentrl.settings import require
from agentrl.types import Observation, Outcome, StepResult, Task

SPLITS = ("train", "valid")
VALIDATION = "valid"
REPEATS = "strict"
_SEEDS = {"train": range(1000), "valid": range(1000, 1100)}
_ASK = re.compile(r"ask (\d{1,9})")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the guessing game."""

    highest: int = 100
    """The number is from 1 to this one."""
    admissible: bool = False
    """Tell the agent every question that is left to ask: those within what it can know."""

    def __post_init__(self) -> None:
        require(1 <= self.highest < 10**9, f"highest is {self.highest}; it must be from 1 to {10**9 - 1}")


@dataclass(frozen=True, slots=True)
class Hidden:
    """What a task of this world knows."""

    number: int
    highest: int


def tasks(split: str, config: Config | None = None) -> list[Task]:
    """Every game of a split, in a fixed order. Raises ConfigError for an unknown split."""
    if split not in _SEEDS:
        raise ConfigError(f"guess has no split {split!r}{nearest(split, SPLITS)}; its splits are {', '.join(SPLITS)}")
    highest = (config or Config()).highest
    return [
        Task("guess", f"guess-{highest}-{seed}", split, seed, data=Hidden(_number(seed, highest), highest))
        for seed in _SEEDS[split]
    ]


def _number(seed: int, highest: int) -> int:
    return random.Random(seed).randint(1, highest)


def instructions(config: Config | None = None) -> str:
    """What the agent is told before the game."""
    highest = (config or Config()).highest
    return (
        f"I think of a whole number from 1 to {highest}. Say `ask N` to guess it: I answer whether it is higher or"
        " lower than N. Say `give up` to end the game without it."
    )


def tools(config: Config | None = None) -> list[dict[str, Any]] | None:
    """None: actions are plain text."""
    return None


def solution(task: Task) -> list[str]:
    """Actions that earn the full reward: every task can be checked without a model."""
    return [f"ask {task.data.number}"]


def vocabulary() -> Vocabulary:
    """Every sentence of the game and every number: what a tiny model needs to know (`--model tiny-random`)."""
    return Vocabulary(
        phrases=("I think of a number from", "I did not understand", "It was", "Say", "give up", "Ask"),
        words=("ask", "to", "or", "N", "Yes", "Higher", "Lower", *map(str, range(1, Config.highest + 1))),
        dropped=r"[.`]",
    )


class Env:
    """One game; its methods are coroutines, so that it runs where the runner runs, without a worker."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._game: Hidden | None = None
        self._found = self._over = False

    async def reset(self, task: Task) -> Observation:
        """Begin a task's game."""
        if not isinstance(task.data, Hidden):
            raise ConfigError(f"task {task.id!r} is not one of guess's; take tasks from agentrl.envs.guess.tasks")
        self._game, self._found, self._over = task.data, False, False
        self._low, self._high = 1, task.data.highest
        return self._observe(f"I think of a number from 1 to {task.data.highest}. Ask.")

    async def step(self, action: str) -> StepResult:
        """Answer one action."""
        if self._game is None or self._over:
            raise WorldFailure("guess: step after the end of an episode; call reset first")
        number = self._game.number
        said = " ".join(action.lower().split())
        if said == "give up":
            self._over = True
            return StepResult(Observation(f"It was {number}."), terminated=True)
        asked = _ASK.fullmatch(said)
        if asked is None:
            return StepResult(self._observe("I did not understand. Say `ask N` or `give up`."), valid=False)
        guess = int(asked[1])
        if guess == number:
            self._found = self._over = True
            return StepResult(Observation("Yes."), reward=1.0, terminated=True)
        if guess < number:
            self._low = max(self._low, guess + 1)
            return StepResult(self._observe("Higher."))
        self._high = min(self._high, guess - 1)
        return StepResult(self._observe("Lower."))

    def outcome(self) -> Outcome:
        """Found or not, as it stands."""
        return Outcome(self._found, float(self._found))

    async def close(self) -> None:
        """Nothing is held."""

    def _observe(self, text: str) -> Observation:
        if not self.config.admissible:
            return Observation(text)
        left = tuple(f"ask {n}" for n in range(self._low, self._high + 1))
        return Observation(text, admissible=(*left, "give up"))
