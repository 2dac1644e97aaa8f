"""The members of the world; `agentrl.envs.textworld` shows them, with what an agent sees, may do and is paid."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agentrl.envs.textworld.challenges import LEVELS, at_levels, read
from agentrl.envs.textworld.demonstrators import Demonstrators, Searcher, can_search, clumsy
from agentrl.envs.textworld.games import GameRef, list_files, load
from agentrl.envs.textworld.text import NOT_A_VERB, room_of, shown
from agentrl.errors import ConfigError, WorldFailure, nearest
from agentrl.seeds import seed_of
from agentrl.settings import from_mapping, require
from agentrl.types import Demonstration, Observation, Outcome, StepResult, Task

SPLITS = ("train", "valid", "test")
VALIDATION = "valid"
REPEATS = "strict"
_MOST = 10**6
"""Games of a split."""

INSTRUCTIONS = """You play a text game. Reach its goal by short text commands, one a turn.
Commands:
  look
  inventory
  go north, east, south or west
  examine THING
  take THING, or take THING from PLACE
  drop THING
  put THING on PLACE, or insert THING into PLACE
  open PLACE, close PLACE
  lock PLACE with KEY, unlock PLACE with KEY
  eat THING{cooking}
Things are named as the game names them."""
COOKING = """
  cook THING with DEVICE: the stove fries, the oven roasts, the BBQ grills; cook nothing twice
  chop, slice or dice THING with knife
  prepare meal, in the kitchen with all ingredients of the cookbook's recipe, ready as it says"""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the text games."""

    challenges: tuple[str, ...] = ("coin-collector", "treasure-hunter", "cooking")
    """Which games are generated, also `simple` and `custom`; one may carry its own settings: `coin-collector:105`."""
    levels: tuple[int, ...] = (1, 2, 3)
    """How hard they are, from 1 to 5: every challenge without settings of its own has as many of each."""
    games: str = ""
    """A file or a folder of your own games, in place of generated ones; a folder may have one for each split in it."""
    objective: Literal["goal", "steps"] = "goal"
    """What a generated game tells at the start: what is to be reached, or every step that leads there."""
    admissible: bool = True
    """Tell the agent which commands the game takes."""
    intermediate: bool = True
    """Pay every gain of the score; else the win alone."""
    num_train: int = 500
    """Generated games of the training split."""
    num_valid: int = 100
    """Generated games of each of the other splits."""
    panel: int = 0
    """Another number gives other generated games."""
    max_steps: int = 50
    """An episode is cut after this many commands."""
    cache: str = ""
    """Folder for compiled games, about 150 kB each; empty: $AGENTRL_CACHE, or ~/.cache/agentrl."""

    def __post_init__(self) -> None:
        for level in self.levels:
            require(level in LEVELS, f"levels has {level}; it must be from {LEVELS[0]} to {LEVELS[-1]}")
        require(bool(self.challenges and self.levels), "challenges and levels must not be empty")
        at_levels(self.challenges, self.levels)
        for name in ("num_train", "num_valid", "max_steps"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("num_train", "num_valid"):
            require(getattr(self, name) <= _MOST, f"{name} is {getattr(self, name)}; it must be at most {_MOST}")


def tasks(split: str, config: Config | None = None) -> list[Task]:
    """Every game of a split, in a fixed order, challenges and levels in turn; none is generated yet.

    Raises ConfigError for an unknown split, DataError where the user's games are missing.
    """
    config = config or Config()
    if split not in SPLITS:
        raise ConfigError(
            f"textworld has no split {split!r}{nearest(split, SPLITS)}; its splits are {', '.join(SPLITS)}"
        )
    if config.games:
        return [_own(file, split, Path(config.games)) for file in list_files(config.games, split)]
    wanted = config.num_train if split == "train" else config.num_valid
    challenges = itertools.cycle(at_levels(config.challenges, config.levels).items())
    found: dict[str, Task] = {}
    for number in itertools.count():
        word, difficulty = next(challenges)
        task = _generated(word, difficulty, split, number, config)
        found.setdefault(task.id, task)
        if len(found) == wanted:
            return list(found.values())
    raise AssertionError


def _generated(word: str, difficulty: float | None, split: str, number: int, config: Config) -> Task:
    """A seed's remainder by four is its split's, so that no seed is in two of them."""
    drawn = seed_of("textworld", word, split, number, config.panel) % 2**29
    seed = 4 * drawn + SPLITS.index(split)
    steps = config.objective == "steps"
    ref = GameRef(word, seed, split, steps, config.cache)
    told = "/steps" if steps else ""
    name = read(word).name
    return Task("textworld", f"{word}{told}/{split}/{seed:08x}", split, seed, name, difficulty, data=ref)


def _own(file: Path, split: str, place: Path) -> Task:
    root = place.expanduser().absolute()
    name = file.name if root.is_file() else file.relative_to(root).as_posix()
    name = name.removeprefix(f"{split}/")
    return Task("textworld", f"{split}/{name}", split, seed_of("textworld", name), "own", data=GameRef(path=str(file)))


def instructions(config: Config | None = None) -> str:
    """What the agent is told before the game; of cooking only where there is any."""
    config = config or Config()
    cooks = bool(config.games) or any(word.partition(":")[0] == "cooking" for word in config.challenges)
    return INSTRUCTIONS.format(cooking=COOKING if cooks else "")


def tools(config: Config | None = None) -> list[dict[str, Any]] | None:
    """None: actions are plain commands."""
    return None


def solution(task: Task) -> list[str] | None:
    """The game's walkthrough; None where it has none. A generated game is generated for it."""
    return list(load(_ref(task)).walkthrough) or None


def _ref(task: Task) -> GameRef:
    if not isinstance(task.data, GameRef):
        raise ConfigError(f"task {task.id!r} is not one of textworld's; take tasks from agentrl.envs.textworld.tasks")
    return task.data


class Env:
    """One game at a time; synchronous."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._player: Any = None
        self._spelled: dict[str, str] = {}
        self._steps = 0
        self._paid = 0.0
        self._room: str | None = None
        self._over = True

    @staticmethod
    def preload(config: Config | None = None) -> tuple[str, ...]:
        """Modules that worker processes should find imported: the engine takes a second."""
        return ("agentrl.envs.textworld.engine", "agentrl.envs.textworld.generator")

    def reset(self, task: Task) -> Observation:
        """Begin a task's game; one that was never played is generated. Raises DataError where it cannot be had."""
        ref = _ref(task)
        if self._player is None:
            from agentrl.envs.textworld.engine import Player  # heavy: only where a game is played

            self._player = Player()
        self._over = True
        text = self._player.start(ref, 1 + task.seed % 30_000)
        self._steps, self._paid, self._room, self._over = 0, 0.0, None, False
        return self._observe(text)

    def step(self, action: str) -> StepResult:
        """Play one command; what is no command to the game is refused in its own words and costs the turn."""
        player = self._player
        if player is None or self._over:
            raise WorldFailure("textworld: step after the end of an episode; call reset first")
        typed = " ".join(action.split())
        command = self._spelled.get(typed.lower(), typed)
        listed = typed.lower() in self._spelled
        played = listed or player.takes(action.strip())
        text = player.play(command) if played else NOT_A_VERB
        valid = listed or (played and player.acted)
        self._steps += 1
        ended = player.won or player.lost
        truncated = not ended and self._steps >= self.config.max_steps
        self._over = ended or truncated
        reward = self._share() - self._paid
        self._paid += reward
        return StepResult(self._observe(text), reward, valid, terminated=ended, truncated=truncated)

    def outcome(self) -> Outcome:
        """Won or not, and what was paid, as it stands."""
        won = self._player is not None and self._player.won
        return Outcome(won, self._paid)

    def close(self) -> None:
        """Let the engine go; a later reset takes a new one."""
        if self._player is not None:
            self._player.close()
        self._player, self._over = None, True

    def _share(self) -> float:
        """What the episode has earned by now, of 1."""
        player = self._player
        if not self.config.intermediate or player.max_score <= 0:
            return float(player.won)
        return float(player.score / player.max_score)

    def _observe(self, text: str) -> Observation:
        accepted = self._player.admissible()
        self._spelled = {command.lower(): command for command in accepted or ()}
        self._room = room_of(text) or self._room
        tell = self.config.admissible and accepted is not None
        visited = (self._room,) if self._room else ()
        return Observation(shown(text), admissible=accepted if tell else None, visited=visited)


def demonstrations(
    split: str, config: Config | None = None, num: int = 0, seed: int = 0, **settings: Any
) -> Iterator[Demonstration]:
    """Episodes of an expert, of the panel's games in an order that the seed shuffles, each once before any again.

    num: how many; 0: as many as the panel has.   settings: fields of `Demonstrators`.
    A search that does not succeed, and a game without a walkthrough, is no demonstration and is passed over; a
    challenge that cannot be searched is shown by its walkthrough.
    """
    config = config or Config()
    demonstrators = from_mapping(Demonstrators, settings, "demonstration_settings")
    panel = tasks(split, config)
    shown_all = (
        demonstrate(task, config, demonstrators, random.Random(seed_of("textworld-demonstration", seed, lap, task.id)))
        for lap, task in _shuffled(panel, seed, num or len(panel))
    )
    yield from itertools.islice((d for d in shown_all if d is not None), num or len(panel))


def _shuffled(panel: list[Task], seed: int, num: int) -> Iterator[tuple[int, Task]]:
    """(lap, task); twice as many laps as `num` needs, so that an expert that always fails comes to an end."""
    for lap in range(2 * -(-num // max(len(panel), 1))):
        order = list(panel)
        random.Random(seed_of("textworld-order", seed, lap)).shuffle(order)
        yield from ((lap, task) for task in order)


def demonstrate(task: Task, config: Config, demonstrators: Demonstrators, rng: random.Random) -> Demonstration | None:
    """One episode of an expert with planted faults; None where it does not win within the step limit."""
    ref = _ref(task)
    walks = rng.random() < demonstrators.direct or not ref.word or not can_search(read(ref.word))
    if walks:
        return _played(task, config, iter(load(ref).walkthrough), demonstrators, rng)
    return _played(task, config, Searcher(read(ref.word)), demonstrators, rng)


def _played(
    task: Task, config: Config, expert: "Searcher | Iterator[str]", demonstrators: Demonstrators, rng: random.Random
) -> Demonstration | None:
    env = Env(config)
    observation = env.reset(task)
    steps: list[tuple[Observation, str, bool]] = []
    ended = False
    try:
        while not ended:
            seeing = env._player.admissible() or ()
            if isinstance(expert, Searcher):
                stray = clumsy(seeing, demonstrators, rng)
                command = expert.next(observation.text, seeing, observation.visited, stray)
            else:
                command = next(expert, None)
            if command is None:
                return None
            result = env.step(command)
            steps.append((observation, command, True))
            observation, ended = result.observation, result.terminated or result.truncated
        outcome = env.outcome()
    finally:
        env.close()
    return Demonstration(task, tuple(steps), observation, outcome) if outcome.success else None
