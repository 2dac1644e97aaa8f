"""Where questions come from: files and folders of the user's, a function of theirs, reasoning-gym; and their splits.

A question belongs to the split that its row or its file's name says. What says none is split by a hash of the question:
eight tenths train, one valid, one test; and a split that the data do not have takes its tenth of train's. Data without
any question to train on are for judging: valid and test are then whatever there is. A question is asked once, and
never in train where it is judged on.
"""

import functools
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from agentrl.envs.rlvr.questions import Question
from agentrl.envs.rlvr.readers import Row, files_of, rows_of
from agentrl.envs.rlvr.rows import Asked, asked_of, difficulty_scale
from agentrl.envs.rlvr.settings import Config
from agentrl.envs.rlvr.verifiers_gym import PREFIX, generators_of, questions_of
from agentrl.errors import AgentRLError, ConfigError, DataError
from agentrl.registry import load
from agentrl.seeds import seed_of
from agentrl.types import Task

TENTHS = {"train": range(8), "valid": (8,), "test": (9,)}
"""Which tenths of all questions belong to a split, by their hash."""
_ALIASES = {
    "train": "train", "training": "train",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid", "eval": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
_NUMBERS = {"train": 2000, "valid": 200, "test": 200}
"""Questions of a split of a source that has no end."""
_REMEMBERED = 8


def tenth_of(text: str) -> str:
    """The split to which a question belongs by its hash."""
    tenth = seed_of("rlvr-split", text) % 10
    return next(split for split, tenths in TENTHS.items() if tenth in tenths)


def data_tasks(split: str, config: Config) -> list[Task]:
    """The tasks of a split, in the order of the data.

    Raises DataError for what cannot be read, with file and line; ConfigError where the split has no question.
    """
    found = _endless(config) if config.data.startswith(PREFIX) else _by_split(config, *_stamps(config.data))
    tasks = found[split]
    if not tasks:
        raise ConfigError(f"data: {config.data} has no question to train on; it holds {len(found['test'])} to judge on")
    wanted = config.num_train if split == "train" else config.num_valid
    return list(tasks[:wanted])


def _stamps(data: str) -> tuple[tuple[str, str, int, int], ...]:
    """(name, path, size, time of change) of each file, so that what has changed is read anew; none for a function."""
    if ":" in data and not Path(data).expanduser().exists():
        return ()
    stats = ((name, path, path.stat()) for name, path in files_of(data))
    return tuple((name, str(path), stat.st_size, stat.st_mtime_ns) for name, path, stat in stats)


@functools.lru_cache(_REMEMBERED)
def _by_split(config: Config, *stamps: tuple[str, str, int, int]) -> dict[str, tuple[Task, ...]]:
    read = list(_read(config, stamps))
    if not read:
        raise DataError(f"data: {config.data} holds no question")
    difficulties = difficulty_scale([asked.difficulty for asked, _ in read])
    split_of = _splits(read)
    tasks: dict[str, dict[str, Task]] = {split: {} for split in TENTHS}
    for (asked, name), difficulty, split in zip(read, difficulties, split_of, strict=True):
        tasks[split].setdefault(asked.question.text, _task(asked.question, name, split, difficulty))
    judged = {**tasks["valid"], **tasks["test"]}
    for text in judged:
        tasks["train"].pop(text, None)
    for text in tasks["test"]:
        tasks["valid"].pop(text, None)
    if not tasks["train"]:
        for split in ("valid", "test"):
            tasks[split] = tasks[split] or judged
    return {split: tuple(of_split.values()) for split, of_split in tasks.items()}


def _read(config: Config, stamps: tuple[tuple[str, str, int, int], ...]) -> Iterator[tuple[Asked, str]]:
    """What every row asks, with the task's name."""
    names: set[str] = set()
    for stem, kind, number, row, split in _rows(config, stamps):
        try:
            asked = asked_of(row, kind, config)
        except DataError as error:
            if config.bad_rows == "refuse":
                hint = "" if "env_settings." in str(error) else " (env_settings.bad_rows=skip leaves such rows out)"
                raise DataError(f"{error}{hint}") from None
            continue
        said = asked.split or split or config.split
        if said and said.lower() not in _ALIASES:
            raise DataError(f"data: {row.place} has the split {said!r}; known: {', '.join(_ALIASES)}")
        name = asked.name if asked.name and asked.name not in names else f"{stem}-{number}"
        names.add(name)
        yield Asked(asked.question, name, _ALIASES.get(said.lower(), ""), asked.difficulty), name


def _rows(config: Config, stamps: tuple[tuple[str, str, int, int], ...]) -> Iterator[tuple[str, str, int, Row, str]]:
    """(name of the source, kind, number, row, split by the file's name) of every row."""
    if not stamps:
        for number, columns in enumerate(_called(config.data), 1):
            yield config.data.replace(":", "."), "", number, Row(f"{config.data}, row {number}", columns), ""
    for stem, path, *_ in stamps:
        words = [word for word in re.split(r"[^A-Za-z0-9]+", stem) if word]
        split = next((word for word in words if word.lower() in _ALIASES), "")
        kind = "-".join(w for w in words if w != split and not re.fullmatch(r"\d{3,}|of", w)) or "questions"
        for number, row in enumerate(rows_of(Path(path)), 1):
            yield stem, kind, number, row, split


def _called(name: str) -> Iterator[dict[str, object]]:
    """The rows of a function of the user's."""
    function = load("data", name)
    try:
        rows = list(function())
    except AgentRLError:
        raise
    except Exception as error:
        raise DataError(f"data: {name} failed: {type(error).__name__}: {error}") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"data: {name}, row {number} is a {type(row).__name__}; it must be a dict of columns")
        yield row


def _splits(read: list[tuple[Asked, str]]) -> list[str]:
    """The split of each row; see the top of this file."""
    said = [asked.split or "train" for asked, _ in read]
    lacking = [split for split in ("valid", "test") if split not in said] if "train" in said else []
    return [
        own if split == "train" and (own := tenth_of(asked.question.text)) in lacking else split
        for (asked, _), split in zip(read, said, strict=True)
    ]


def _task(question: Question, name: str, split: str, difficulty: float | None) -> Task:
    return Task(
        "rlvr",
        name,
        split,
        seed_of("rlvr-task", question.text),
        kind=question.kind,
        difficulty=difficulty,
        data=question,
    )


@functools.lru_cache(_REMEMBERED)
def _endless(config: Config) -> "_Endless":
    return _Endless(config)


class _Endless(dict[str, tuple[Task, ...]]):
    """The splits of reasoning-gym's generators, each made when it is asked for; generators take turns."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._generators = generators_of(config.data)
        self._wanted = {split: config.num_train if split == "train" else config.num_valid for split in TENTHS}

    def __missing__(self, split: str) -> tuple[Task, ...]:
        sources = [_of_split(name, split) for name in self._generators]
        turns = itertools.chain.from_iterable(itertools.zip_longest(*sources))
        made = itertools.islice((q for q in turns if q is not None), self._wanted[split] or _NUMBERS[split])
        self[split] = tuple(_task(q, f"{q.kind}-{q.row['number']}", split, None) for q in made)
        return self[split]


def _of_split(generator: str, split: str) -> Iterator[Question]:
    return (question for question in questions_of(generator) if tenth_of(question.text) == split)
