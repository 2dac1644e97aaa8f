"""The members of the world; `agentrl.envs.scienceworld` shows them, with what an agent sees, may do and is paid."""

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentrl.envs.scienceworld.benchmark import KINDS, SPLITS, selection
from agentrl.envs.scienceworld.demonstrators import ROOMS, Demonstrators, demonstrated
from agentrl.envs.scienceworld.gold import gold_path, opening_of
from agentrl.envs.scienceworld.simulation import Simulation
from agentrl.envs.scienceworld.variation import Variation
from agentrl.errors import ConfigError, WorldFailure, nearest
from agentrl.seeds import seed_of
from agentrl.settings import from_mapping, require
from agentrl.types import Demonstration, Observation, Outcome, StepResult, Task

VALIDATION = "dev"
REPEATS = "strict"
SIMPLIFICATIONS = (
    *("easy", "teleportAction", "openDoors", "openContainers"),
    *("selfWateringFlowerPots", "noElectricalAction"),
)
UNKNOWN = "No known action matches that input."
"""What the simulator answers to what it does not understand; we answer it to `reset task`."""
_LONGEST_COMMAND = 400
"""Characters; no command comes near it, and the simulator takes seconds for pages of text."""
_STOP_WORDS = {"a", "an", "the"}
_MEANINGLESS = (UNKNOWN, "Unknown action.", "ERROR:", "<ERROR>", "<unknown catch>")
_MOVED = re.compile(r"You (?:move|teleport) to the ([\w ]+)\.")

INSTRUCTIONS = """You are in a house with rooms, devices, substances, plants and animals, and do one task of
elementary science there by short text commands, one a turn.
Commands:
  look around | look at OBJECT | look in OBJECT | examine OBJECT | read OBJECT | inventory | task
  go to LOCATION | teleport to LOCATION | open OBJECT | close OBJECT
  pick up OBJECT | put down OBJECT | move OBJECT to OBJECT
  pour OBJECT into OBJECT | dunk OBJECT into OBJECT | mix OBJECT
  activate OBJECT | deactivate OBJECT | use OBJECT | use OBJECT on OBJECT
  connect OBJECT to OBJECT | disconnect OBJECT | eat OBJECT | flush OBJECT
  focus on OBJECT | wait | wait1
`focus on` tells what the task is about: a wrong one ends it at once. `wait` lets ten moments pass, `wait1` one. Where
a command can be read in several ways you are shown a numbered list: answer with the number."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the science world."""

    selection: Literal["short", "all", "epo", "epo-unseen"] = "short"
    """short: tasks of few commands; all: the thirty; epo, epo-unseen: as EPO has them (L0 and L1; L2)."""
    tasks: tuple[str, ...] = ()
    """Only these of the selection, by name; empty: all of it."""
    num_train: int = 0
    """Training variations of each task, spread over what there is; 0: all."""
    num_valid: int = 0
    """The same of dev and of test."""
    simplifications: str = "easy"
    """Of the simulator, with commas between; `easy`: teleporting, open doors and more; empty: none."""
    admissible: Literal["none", "few", "all"] = "few"
    """Commands that the agent is told. none: that is quicker; few: nothing done to the air, to doors or rooms, and with
    two things only what it carries, or into a box."""
    max_steps: int = 100
    """An episode is cut after this many commands."""
    strict: bool = False
    """Start a Java machine for each episode; they repeat without it too, and it takes a second more."""
    java_heap: int = 384
    """MiB that a Java machine may take for its objects; a worker has one for all its episodes."""

    def __post_init__(self) -> None:
        known = tuple(dict.fromkeys(kind for split in SPLITS for kind in selection(self.selection, split)))
        for kind in self.tasks:
            require(kind in KINDS, f"unknown task {kind!r}{nearest(kind, KINDS)}; the tasks are {', '.join(KINDS)}")
            require(kind in known, f"task {kind!r} is not in selection {self.selection!r} (selection=all has it)")
        for name in filter(None, self.simplifications.split(",")):
            require(
                name in SIMPLIFICATIONS,
                f"unknown simplification {name!r}{nearest(name, SIMPLIFICATIONS)}; there are {SIMPLIFICATIONS}",
            )
        for name in ("num_train", "num_valid"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")
        require(self.max_steps >= 1, f"max_steps is {self.max_steps}; it must be at least 1")
        require(self.java_heap >= 64, f"java_heap is {self.java_heap}; it must be at least 64")


def tasks(split: str, config: Config | None = None) -> list[Task]:
    """Every variation of a split, in a fixed order. Raises ConfigError for an unknown split, or an empty one."""
    config = config or Config()
    if split not in SPLITS:
        raise ConfigError(
            f"scienceworld has no split {split!r}{nearest(split, SPLITS)}; its splits are {', '.join(SPLITS)}"
        )
    kinds = [kind for kind in selection(config.selection, split) if not config.tasks or kind in config.tasks]
    most = config.num_train if split == "train" else config.num_valid
    return [_task(kind, number, split, config) for kind in kinds for number in _some(kind, split, most)]


def _some(kind: str, split: str, most: int) -> list[int]:
    numbers = KINDS[kind].variations(split)
    if not most or most >= len(numbers):
        return list(numbers)
    return [numbers[i * len(numbers) // most] for i in range(most)]


def _task(kind: str, number: int, split: str, config: Config) -> Task:
    name = f"{config.simplifications or 'plain'}/{kind}/{number}"
    difficulty = min(1.0, KINDS[kind].gold / 100)
    data = Variation(kind, number, config.simplifications)
    return Task("scienceworld", name, split, seed_of("scienceworld", name), kind, difficulty, data)


def instructions(config: Config | None = None) -> str:
    """What the agent is told before the task."""
    if "teleportAction" in _simplified(config or Config()):
        return INSTRUCTIONS
    return INSTRUCTIONS.replace(" | teleport to LOCATION", "")


def _simplified(config: Config) -> tuple[str, ...]:
    names = config.simplifications.split(",")
    return SIMPLIFICATIONS if "easy" in names else tuple(names)


def tools(config: Config | None = None) -> list[dict[str, Any]] | None:
    """None: actions are plain commands."""
    return None


def solution(task: Task) -> list[str] | None:
    """The package's gold path; None where it does not reach the full score. To find one takes a second or more."""
    variation = _variation(task)
    path = gold_path(variation.kind, variation.number, variation.simplifications)
    return list(path.commands) if path.score == 100 else None


def _variation(task: Task) -> Variation:
    """Raises ConfigError for what is no task of this world, or one that does not exist."""
    if not isinstance(task.data, Variation):
        raise ConfigError(
            f"task {task.id!r} is not one of scienceworld's; take tasks from agentrl.envs.scienceworld.tasks"
        )
    kind, number = task.data.kind, task.data.number
    if kind not in KINDS:
        raise ConfigError(f"unknown task {kind!r}{nearest(kind, KINDS)}; the tasks are {', '.join(KINDS)}")
    most = KINDS[kind].num_variations
    if not 0 <= number < most:
        raise ConfigError(f"{kind} has no variation {number}; it has {most}, from 0 to {most - 1}")
    return task.data


class Env:
    """One episode at a time; synchronous, as the simulator is."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._simulation: Simulation | None = None
        self._over = True
        self._outcome = Outcome(False, 0.0)
        self._steps = self._score = 0
        self._doors = False

    @staticmethod
    def preload(config: Config | None = None) -> tuple[str, ...]:
        """Modules that worker processes should find imported."""
        return ("py4j.java_gateway", "scienceworld.constants")

    def reset(self, task: Task) -> Observation:
        """Begin a task.   Raises ConfigError for one that there is not, MissingDependency without Java."""
        variation = _variation(task)
        self.close()
        self._simulation = Simulation(
            variation.kind,
            variation.number,
            variation.simplifications,
            heap=self.config.java_heap,
            own=self.config.strict,
        )
        self._outcome, self._steps, self._score, self._over = _outcome(0, failed=False), 0, 0, False
        simplified = variation.simplifications.split(",")
        self._doors = not {"easy", "openDoors"} & set(simplified)
        return self._observe(opening_of(self._simulation), ())

    def step(self, action: str) -> StepResult:
        """Play one command. What the simulator does not understand it says, and it costs the turn."""
        if self._simulation is None or self._over:
            raise WorldFailure("scienceworld: step after the end of an episode; call reset first")
        command = " ".join(action.split())
        if _resets(command) or len(command) > _LONGEST_COMMAND:
            text, score, done = UNKNOWN, self._score, False
        else:
            text, score, done = self._simulation.step(command)
        self._steps += 1
        failed = score < 0
        score = max(score, 0)
        reward, self._score = (score - self._score) / 100, score
        self._outcome = _outcome(score, failed=failed)
        terminated = done or failed
        truncated = not terminated and self._steps >= self.config.max_steps
        self._over = terminated or truncated
        moved = _MOVED.match(text)
        observation = self._observe(text, (moved[1],) if moved else ())
        return StepResult(observation, reward, not text.startswith(_MEANINGLESS), terminated, truncated)

    def outcome(self) -> Outcome:
        """The score so far; success is 100 of 100. `failed`: focused on the wrong thing."""
        return self._outcome

    def close(self) -> None:
        """Let the simulator go; a later reset takes one again."""
        simulation, self._simulation, self._over = self._simulation, None, True
        if simulation is not None:
            simulation.close()

    def _observe(self, text: str, visited: tuple[str, ...]) -> Observation:
        admissible = None
        if self.config.admissible != "none" and self._simulation is not None:
            found = [command for command in self._simulation.valid() if not _resets(command)]
            admissible = tuple(found if self.config.admissible == "all" else few(found, doors=self._doors))
        return Observation(text, admissible=admissible, visited=visited)


def _outcome(score: int, *, failed: bool) -> Outcome:
    return Outcome(score >= 100, score / 100, components={"progress": score / 100, "failed": float(failed)})


def _resets(command: str) -> bool:
    """Is it `reset task`, which would make a failure undone."""
    return [word for word in command.lower().split() if word not in _STOP_WORDS] == ["reset", "task"]


_ROOMS = "|".join(ROOMS)
_WAY = re.compile(rf"(?:go|teleport) to (?:{_ROOMS})")
_DOOR = re.compile(rf"(?:open|close) door to (?:{_ROOMS})")
_HIDDEN = re.compile(r"\bsewer\b")
_HIDDEN_BEES = re.compile(r"\b(?:sewer|bee \d+)\b")
_PAIR = re.compile(r"(?:move|pour|dunk|connect) (.+) (?:to|into) (?:.+)|use (.+) on (?:.+)")
_NO_THING = rf"(?:agent|air|door to (?:{_ROOMS})|inventory|{_ROOMS})"
_POINTLESS = re.compile(rf"(?<! in)(?<! containing) {_NO_THING}(?= to | into | on |$)|^look in {_NO_THING}$")


def few(commands: Sequence[str], *, doors: bool) -> list[str]:
    """Those that are not done to the agent, the air, a door, the inventory or a whole room; with two things, those of
    what is carried, and those that put something in a box.

    doors: keep opening and closing doors. What the package lists though it does not understand it is left out too: the
    sewer, and bees in their closed hive.
    """
    carried = tuple(c.removeprefix("put down ") for c in commands if c.startswith("put down "))

    hidden = _HIDDEN_BEES if "open bee hive" in commands else _HIDDEN

    def kept(command: str) -> bool:
        if command == "inventory" or _WAY.fullmatch(command) or (doors and _DOOR.fullmatch(command)):
            return True
        pair = _PAIR.fullmatch(command)
        if pair is not None and not command.endswith(" box") and not (pair[1] or pair[2]).startswith(carried):
            return False
        return not (_POINTLESS.search(command) or hidden.search(command))

    return [command for command in commands if kept(command)]


def demonstrations(
    split: str, config: Config | None = None, num: int = 0, seed: int = 0, **settings: Any
) -> Iterator[Demonstration]:
    """Episodes of the expert that the settings describe: the gold paths of a split, in an order that the seed shuffles.

    num: how many; 0: as many as the panel has.   settings: fields of `Demonstrators`.
    Each task comes once before any again; one whose gold path does not reach the full score is left out.
    """
    config = config or Config()
    demonstrators = from_mapping(Demonstrators, settings, "demonstration_settings")
    panel = tasks(split, config)
    wanted, given = num or len(panel), 0
    for lap in itertools.count():
        before = given
        order = list(panel)
        random.Random(seed_of("scienceworld-order", seed, lap)).shuffle(order)
        for task in order:
            if given == wanted:
                return
            rng = random.Random(seed_of("scienceworld-demonstration", seed, lap, task.id))
            shown = demonstrated(
                task,
                Env(config),
                _variation(task),
                demonstrators,
                rng,
                max_steps=config.max_steps,
                tell=config.admissible != "none",
            )
            if shown is not None:
                given += 1
                yield shown
        if given == before or not num:
            return
