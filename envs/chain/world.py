"""The members of the world of letters; `agentrl.envs.chain` shows them, with what an agent sees, may do and is paid."""

import math
import random
import re
from dataclasses import dataclass
from typing import Any

from agentrl.errors import ConfigError, WorldFailure, nearest
from agentrl.models.tiny.build import Vocabulary
from agentrl.seeds import seed_of
from agentrl.settings import require
from agentrl.types import Observation, Outcome, StepResult, Task

SPLITS = ("train", "valid")
VALIDATION = "valid"
REPEATS = "strict"
COUNTER = 100
"""The counter shows 0 to 99."""
MOST_LETTERS = 10_000

_COLOURS = tuple(
    "amber azure black blue brass brown coral cream crimson dusty golden green grey ivory jade lilac "
    "maroon mint navy ochre olive orange peach pink plum purple red ruby silver teal violet white".split()
)
_ANIMALS = tuple(
    "badger bear beaver bison camel cat cobra crab crane deer dingo dog eagle falcon ferret fox "
    "gecko goat hare hawk heron horse ibis koala lemur lion lynx mole moose otter owl panda".split()
)
_TALK = tuple("rain again today and the tea is cold so we wait by an old stove for news from town".split())
_ANSWER = re.compile(r"answer (\d{1,9})")
_NOT_UNDERSTOOD = "I did not understand. Say `open BOX` or `answer N`."


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the trail of letters."""

    shortest: int = 2
    """Letters of the shortest trail."""
    longest: int = 8
    """Letters of the longest trail; lengths between are drawn so that each power of two is as likely."""
    chatter: int = 0
    """Idle words in every letter, which fill a context as real observations do."""
    admissible: bool = False
    """Tell the agent what it may do: open the box that was named last, or give any answer."""
    num_train: int = 1000
    """Trails of the split train."""
    num_valid: int = 100
    """Trails of the split valid."""

    def __post_init__(self) -> None:
        require(self.shortest >= 1, f"shortest is {self.shortest}; it must be at least 1")
        require(
            self.shortest <= self.longest <= MOST_LETTERS,
            f"longest is {self.longest}; it must be from shortest ({self.shortest}) to {MOST_LETTERS}",
        )
        require(self.chatter >= 0, f"chatter is {self.chatter}; it must not be negative")
        for name in ("num_train", "num_valid"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True, slots=True)
class Trail:
    """What a task of this world knows: all letters follow from it."""

    letters: int
    seed: int


def tasks(split: str, config: Config | None = None) -> list[Task]:
    """Every trail of a split, in a fixed order. Raises ConfigError for an unknown split."""
    config = config or Config()
    if split not in SPLITS:
        raise ConfigError(f"chain has no split {split!r}{nearest(split, SPLITS)}; its splits are {', '.join(SPLITS)}")
    num = config.num_train if split == "train" else config.num_valid
    first = 0 if split == "train" else 10**6
    return [_task(split, seed, config) for seed in range(first, first + num)]


def _task(split: str, seed: int, config: Config) -> Task:
    low, high = math.log(config.shortest), math.log(config.longest + 1)
    letters = min(int(math.exp(random.Random(seed).uniform(low, high)) + 1e-9), config.longest)
    octave = 2 ** (letters.bit_length() - 1)
    kind = f"{octave}-{2 * octave - 1} letters" if octave > 1 else "1 letter"
    difficulty = math.log(letters) / math.log(MOST_LETTERS)
    return Task("chain", f"chain-{letters}-{seed}", split, seed, kind, difficulty, Trail(letters, seed))


def trail(task: Task) -> tuple[list[str], list[int]]:
    """The boxes of a task's letters in their order, and how far each turns the counter."""
    chance = random.Random(seed_of("chain", task.data.seed))
    places = chance.sample(range(len(_COLOURS) * len(_ANIMALS) * 10), task.data.letters)
    boxes = [f"{_COLOURS[n // 10 % len(_COLOURS)]} {_ANIMALS[n // 10 // len(_COLOURS)]} {n % 10}" for n in places]
    return boxes, [chance.randrange(1, COUNTER) for _ in boxes]


def instructions(config: Config | None = None) -> str:
    """What the agent is told before it begins."""
    return (
        "Letters lie in boxes. Each letter turns a counter on, which goes from 0 to 99 and from 99 to 0, and names the"
        " box of the next letter. Say `open BOX` to read a letter. When you have read the last one, say `answer N`:"
        " what the counter shows after all letters. You may answer once."
    )


def tools(config: Config | None = None) -> list[dict[str, Any]] | None:
    """None: actions are plain text."""
    return None


def solution(task: Task) -> list[str]:
    """Actions that earn the full reward: open every box in its order, then answer."""
    boxes, turns = trail(task)
    return [*(f"open {box}" for box in boxes), f"answer {sum(turns) % COUNTER}"]


def guess(task: Task, seed: int) -> str:
    """An answer by somebody who has read nothing."""
    return f"answer {random.Random(seed).randrange(COUNTER)}"


def vocabulary() -> Vocabulary:
    """Every sentence and box of the world: what a tiny model needs to know (`--model tiny-random`)."""
    return Vocabulary(
        phrases=(
            "The first letter lies in box",
            "The next letter lies in box",
            "This is the last letter",
            "turn the counter on by",
            "I did not understand",
            "There is no such box",
        ),
        words=("open", "answer", "Letter", "Right", "Wrong", "Say", "or", "BOX", "N", "is", "it", *_WORDS),
        dropped=r"[.:`]",
    )


_WORDS = tuple(dict.fromkeys((*_COLOURS, *_ANIMALS, *_TALK, *map(str, range(COUNTER)))))


class Env:
    """One trail; its methods are coroutines, so that it runs where the runner runs, without a worker."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._boxes: list[str] = []
        self._found = False
        self._over = True

    async def reset(self, task: Task) -> Observation:
        """Begin a task's trail."""
        if not isinstance(task.data, Trail):
            raise ConfigError(f"task {task.id!r} is not one of chain's; take tasks from agentrl.envs.chain.tasks")
        self._boxes, self._turns = trail(task)
        self._place = {box: number for number, box in enumerate(self._boxes)}
        self._named = 0  # the box that was named last, by its number
        self._seed = task.data.seed
        self._found = self._over = False
        return self._observe(f"The first letter lies in box {self._boxes[0]}.")

    async def step(self, action: str) -> StepResult:
        """Open a box, or take the answer."""
        if self._over:
            raise WorldFailure("chain: step after the end of an episode; call reset first")
        said = " ".join(action.lower().split())
        answered = _ANSWER.fullmatch(said)
        if answered is not None:
            return self._judge(int(answered[1]))
        if not said.startswith("open "):
            return StepResult(self._observe(_NOT_UNDERSTOOD), valid=False)
        number = self._place.get(said.removeprefix("open "))
        if number is None:
            return StepResult(self._observe("There is no such box."), valid=False)
        self._named = number + 1
        return StepResult(self._observe(self._letter(number)))

    def outcome(self) -> Outcome:
        """Answered rightly or not, as it stands."""
        return Outcome(self._found, float(self._found))

    async def close(self) -> None:
        """Nothing is held."""

    def _judge(self, answer: int) -> StepResult:
        right = sum(self._turns) % COUNTER
        self._found, self._over = answer == right, True
        text = "Right." if self._found else f"Wrong: it is {right}."
        return StepResult(Observation(text), reward=float(self._found), terminated=True)

    def _letter(self, number: int) -> str:
        parts = [f"Letter {number + 1}: turn the counter on by {self._turns[number]}."]
        if self.config.chatter:
            chance = random.Random(seed_of("chain", self._seed, number))
            parts.append(" ".join(chance.choices(_TALK, k=self.config.chatter)) + ".")
        last = number + 1 == len(self._boxes)
        parts.append("This is the last letter." if last else f"The next letter lies in box {self._boxes[number + 1]}.")
        return " ".join(parts)

    def _observe(self, text: str) -> Observation:
        if not self.config.admissible:
            return Observation(text)
        known = (f"open {self._boxes[self._named]}",) if self._named < len(self._boxes) else ()
        return Observation(text, admissible=(*known, *(f"answer {n}" for n in range(COUNTER))))
