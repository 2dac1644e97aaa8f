"""The members of the world of prompts; `agentrl.envs.prompts` shows what an agent sees, may do and is paid."""

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentrl.briefs import Brief
from agentrl.config import DataConfig
from agentrl.errors import ConfigError, WorldFailure, nearest
from agentrl.logged_data import data_files, read_examples
from agentrl.logged_groups import Prompt, task_of
from agentrl.logged_rows import Example, Talk
from agentrl.models.tiny.build import Vocabulary
from agentrl.seeds import seed_of
from agentrl.settings import require
from agentrl.types import Observation, Outcome, StepResult, Task

SPLITS = ("train", "valid")
VALIDATION = "valid"
REPEATS = "strict"
REWARDS = False
"""Episodes earn nothing by themselves, so that nothing is told by playing them without a reward function."""
_REMEMBERED = 4
_PARTS = 10**6
_WORDS = 8000
"""Of a tiny model's vocabulary; the most frequent ones."""
_WORD = re.compile(r"[A-Za-z']+|\d+|[^\w\s]")
"""What a tiny tokenizer takes as one word."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the world of prompts."""

    data: str = ""
    """A file or folder of rows, as for learning from them (agentrl data check FILE); their prompts are the tasks."""
    held_out: float = 0.1
    """Share of the prompts that are the split valid, by their hash."""
    bad_rows: Literal["refuse", "skip"] = "refuse"
    """A row that is not as it should be: refuse the data, or leave the row out."""

    def __post_init__(self) -> None:
        require(0 < self.held_out < 1, f"held_out is {self.held_out}; it must be above 0 and below 1")


def tasks(split: str, config: Config | None = None) -> list[Task]:
    """Every prompt of a split once, in the order of the data; each split has at least one, where there are two.

    Raises ConfigError for an unknown split and where no data are named, DataError for data that cannot be read.
    """
    if split not in SPLITS:
        raise ConfigError(f"prompts has no split {split!r}{nearest(split, SPLITS)}; its splits are {', '.join(SPLITS)}")
    config = config or Config()
    return list(_by_split(config, *_stamps(config))[split])


def _stamps(config: Config) -> tuple[tuple[str, int, int], ...]:
    """(path, size, time of change) of each file, so that what has changed is read anew."""
    if not config.data:
        raise ConfigError("prompts has no prompts of its own; name a file of them: --data FILE (env_settings.data)")
    stats = ((path, path.stat()) for path in data_files(config.data))
    return tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def _examples(config: Config) -> list[Example]:
    return read_examples(config.data, DataConfig(bad_rows=config.bad_rows))[1]


@functools.lru_cache(_REMEMBERED)
def _by_split(config: Config, *stamps: tuple[str, int, int]) -> dict[str, tuple[Task, ...]]:
    found = {"train": dict[str, Task](), "valid": dict[str, Task]()}
    for example in _examples(config):
        task = task_of(example, "train")
        split = "valid" if _place(task) < config.held_out * _PARTS else "train"
        found[split].setdefault(task.id, task_of(example, split))
    _fill("valid", found["valid"], found["train"])
    _fill("train", found["train"], found["valid"])
    return {split: tuple(of_split.values()) for split, of_split in found.items()}


def _place(task: Task) -> int:
    return seed_of("prompts-split", task.id) % _PARTS


def _fill(split: str, wanting: dict[str, Task], other: dict[str, Task]) -> None:
    """Of few prompts none may belong to a split: it then gets the one of the other that is nearest to it."""
    if not wanting and len(other) > 1:
        nearest_one = (min if split == "valid" else max)(other.values(), key=_place)
        del other[nearest_one.id]
        wanting[nearest_one.id] = Task(nearest_one.env, nearest_one.id, split, nearest_one.seed, data=nearest_one.data)


def _prompt(task: Task) -> Prompt:
    if isinstance(task.data, Mapping):  # of a stored episode
        earlier = tuple((role, text) for role, text in task.data.get("earlier", ()))
        return Prompt(**{**task.data, "earlier": earlier})
    if not isinstance(task.data, Prompt):
        raise ConfigError(f"task {task.id!r} is not one of prompts; take tasks from agentrl.envs.prompts.tasks")
    return task.data


def instructions(config: Config | None = None) -> str:
    """Nothing: before a prompt the agent is told its own system message, if there is one (`brief`)."""
    return ""


def brief(task: Task, config: Config) -> Brief:
    """The prompt's own system message."""
    return Brief(_prompt(task).system)


def tools(config: Config | None = None) -> list[dict[str, Any]] | None:
    """None: replies are plain text."""
    return None


def solution(task: Task) -> list[str] | None:
    """The reference, or the best answer, that the prompt's first row has; None where it has none."""
    answer = _prompt(task).answer
    return None if answer is None else [answer]


def vocabulary(config: Config | None = None) -> Vocabulary:
    """The words of the data, the most frequent ones: what a tiny model needs to know (`--model tiny-random`)."""
    if config is None or not config.data:
        return Vocabulary((), ())
    return Vocabulary((), _words(config, *_stamps(config)))


@functools.lru_cache(_REMEMBERED)
def _words(config: Config, *stamps: tuple[str, int, int]) -> tuple[str, ...]:
    count = Counter[str]()
    for example in _examples(config):
        for talk in (example.prompt, *(answer.said for answer in example.answers)):
            for text in _texts(talk):
                count.update(_WORD.findall(text))
    return tuple(sorted(word for word, _ in count.most_common(_WORDS)))


def _texts(talk: Talk) -> Sequence[str]:
    return (talk,) if isinstance(talk, str) else [text for _, text in talk]


class Env:
    """One prompt; its methods are coroutines, so that it runs where the runner runs, without a worker."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._asked: Prompt | None = None
        self._over = False

    async def reset(self, task: Task) -> Observation:
        """Show the prompt."""
        self._asked, self._over = _prompt(task), False
        return self._asked.observation

    async def step(self, action: str) -> StepResult:
        """Take the reply."""
        if self._asked is None or self._over:
            raise WorldFailure("prompts: step after the end of an episode; call reset first")
        self._over = True
        return StepResult(Observation(""), valid=bool(action.strip()), terminated=True)

    def outcome(self) -> Outcome:
        """Not judged here."""
        return Outcome(False, 0.0)

    async def close(self) -> None:
        """Nothing is held."""
