"""The members of the world; `agentrl.envs.alfworld` shows them, with what an agent sees, may do and is paid."""

import functools
import itertools
import logging
import random
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from agentrl.envs.alfworld.demonstrators import Demonstrator, Demonstrators
from agentrl.envs.alfworld.generator import SPLITS, TASK_TYPES, kind_of
from agentrl.envs.alfworld.native import BANNER, NOTHING, Simulator, UnknownGame
from agentrl.envs.alfworld.sources import (
    GameRef,
    Listed,
    find_source,
    generated_game,
    list_games,
    load_game,
    load_walkthrough,
    why_not_native,
)
from agentrl.errors import ConfigError, WorldFailure, nearest
from agentrl.seeds import seed_of
from agentrl.settings import from_mapping, require
from agentrl.types import Demonstration, Observation, Outcome, StepResult, Task

NEW_GAMES = 10**9
"""Demonstrations of generated games have numbers from here on; panels are below."""
VALIDATION = "valid_unseen"
REPEATS = "strict"
OFFICIAL_SIZES = {"valid_seen": 140, "valid_unseen": 134}
"""Games of the official validation splits."""
DIFFICULTY = {
    "look_at_obj_in_light": 0.16,
    "pick_and_place_simple": 0.19,
    "pick_clean_then_place_in_recep": 0.30,
    "pick_two_obj_and_place": 0.32,
    "pick_heat_then_place_in_recep": 0.34,
    "pick_cool_then_place_in_recep": 0.40,
}
"""Task type -> mean turns of the searching expert in the official training games, over its limit of 50."""

_log = logging.getLogger("agentrl")

INSTRUCTIONS = """You are in a room of a household and do one task there by short text commands, one a turn.
Commands:
  go to RECEPTACLE
  open RECEPTACLE
  close RECEPTACLE
  take OBJECT from RECEPTACLE
  move OBJECT to RECEPTACLE
  clean OBJECT with RECEPTACLE
  heat OBJECT with RECEPTACLE
  cool OBJECT with RECEPTACLE
  use LAMP
  slice OBJECT with KNIFE
  examine OBJECT or RECEPTACLE
  inventory
  look
Things are named with their number, as in `cabinet 3`. You carry one object at a time, and you see what a receptacle
holds when you are there and it is open. A command that cannot be done is answered "Nothing happens."."""

_PUT = re.compile(r"put (.+?) (?:in/on|into|onto|in|on) (.+)")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the household world."""

    data: str = ""
    """Where games come from: a folder of official games, `generated`, or empty: $ALFWORLD_DATA if it holds any."""
    engine: Literal["native", "textworld", "stock"] = "native"
    """native: plain Python, the same texts; textworld: the benchmark's engine, made quick; stock: that as it is."""
    admissible: bool = True
    """Tell the agent which commands the game accepts."""
    num_train: int = 3553
    """Games of the generated training split."""
    num_valid: int = 0
    """Games of each generated validation split; 0: as many as the official one has, 140 and 134."""
    panel: int = 0
    """Another number gives other generated games."""
    task_types: tuple[str, ...] = ()
    """Only these task types; empty: all six."""
    max_steps: int = 50
    """An episode is cut after this many commands."""

    def __post_init__(self) -> None:
        for name, least in (("num_train", 1), ("num_valid", 0), ("max_steps", 1)):
            require(getattr(self, name) >= least, f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("num_train", "num_valid"):
            require(getattr(self, name) < NEW_GAMES, f"{name} is {getattr(self, name)}; it must be below {NEW_GAMES}")
        for kind in self.task_types:
            require(
                kind in TASK_TYPES, f"unknown task type {kind!r}{nearest(kind, TASK_TYPES)}; the types are {TASK_TYPES}"
            )


def tasks(split: str, config: Config | None = None) -> list[Task]:
    """Every game of a split, in a fixed order. Raises ConfigError for an unknown split, DataError for missing data."""
    config = config or Config()
    if split not in SPLITS:
        raise ConfigError(
            f"alfworld has no split {split!r}{nearest(split, SPLITS)}; its splits are {', '.join(SPLITS)}"
        )
    count = config.num_train if split == "train" else config.num_valid or OFFICIAL_SIZES[split]
    listed = list_games(config.data, split, count, config.panel, config.task_types or TASK_TYPES)
    if config.engine == "native" and listed and (reason := why_not_native(listed[0].ref)):
        _note(reason)  # here, as what a worker process logs is not seen
    return [_task(game, split) for game in listed]


@functools.cache
def _note(reason: str) -> None:
    """Say once a process that games are played on the real engine."""
    _log.warning("alfworld: %s; the real engine plays such games, at about 3 ms a step", reason)


def _task(game: Listed, split: str) -> Task:
    seed = seed_of("alfworld", game.id)
    return Task("alfworld", game.id, split, seed, game.kind, DIFFICULTY[game.kind], data=game.ref)


def instructions(config: Config | None = None) -> str:
    """What the agent is told before the game."""
    return INSTRUCTIONS


def tools(config: Config | None = None) -> list[dict[str, Any]] | None:
    """None: actions are plain commands."""
    return None


def solution(task: Task) -> list[str] | None:
    """The game's walkthrough; None where its file has none."""
    return list(load_walkthrough(_ref(task))) or None


def _ref(task: Task) -> GameRef:
    if not isinstance(task.data, GameRef):
        raise ConfigError(f"task {task.id!r} is not one of alfworld's; take tasks from agentrl.envs.alfworld.tasks")
    return task.data


class _Player(Protocol):
    """What the two engines have in common."""

    won: bool

    def start(self, ref: GameRef) -> str: ...
    def play(self, command: str) -> str: ...
    def admissible(self) -> list[str]: ...
    def close(self) -> None: ...


class NativePlayer:
    """The native engine, by reference to a game."""

    won = False

    def start(self, ref: GameRef) -> str:
        self.game = Simulator(load_game(ref))
        self.won = self.game.won
        return self.game.opening

    def play(self, command: str) -> str:
        feedback = self.game.step(command)
        self.won = self.game.won
        return feedback

    def admissible(self) -> list[str]:
        return self.game.admissible

    def close(self) -> None:
        pass


def readable(action: str, accepted: Collection[str] = ()) -> str:
    """A command as the game spells it: lower case, single spaces, `move X to Y` for the older `put X in/on Y`.

    accepted: what the game takes now; games of older releases take `put`, and keep it.
    """
    plain = " ".join(action.lower().split())
    older = _PUT.fullmatch(plain) if plain not in accepted else None
    return f"move {older[1]} to {older[2]}" if older else plain


def shown(text: str) -> str:
    """What the agent reads of an engine's sentence: all but the banner of the opening."""
    return text.removeprefix(BANNER)


class Env:
    """One game at a time, on the engine that the settings name; synchronous. What the native engine does not know goes
    to the real one."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._player: _Player | None = None
        self._engine = ""
        self._steps = 0
        self._over = True

    @staticmethod
    def preload(config: Config | None = None) -> tuple[str, ...]:
        """Modules that worker processes should find imported: the engine takes a second."""
        native = (config or Config()).engine == "native"
        return () if native else ("agentrl.envs.alfworld.engine",)

    def reset(self, task: Task) -> Observation:
        """Begin a task's game. Raises DataError where the game cannot be read."""
        ref = _ref(task)
        engine = _engine_for(ref, self.config.engine)
        if self._player is None or self._engine != engine:
            self.close()
            self._player, self._engine = _player(engine), engine
        text = self._player.start(ref)
        self._steps, self._over = 0, False
        return self._observe(self._player, text, ())

    def step(self, action: str) -> StepResult:
        """Play one command; whatever the game refuses is answered `Nothing happens.` and costs the turn."""
        player = self._player
        if player is None or self._over:
            raise WorldFailure("alfworld: step after the end of an episode; call reset first")
        command = readable(action, self._accepted)
        valid = command in self._accepted
        text = player.play(command) if valid else NOTHING
        self._steps += 1
        won = player.won
        truncated = not won and self._steps >= self.config.max_steps
        self._over = won or truncated
        visited = _touched(command) if valid else ()
        observation = self._observe(player, text, visited)
        return StepResult(observation, float(won), valid, terminated=won, truncated=truncated)

    def outcome(self) -> Outcome:
        """Won or not, as it stands."""
        won = self._player is not None and self._player.won
        return Outcome(won, float(won))

    def close(self) -> None:
        """Let the engine go; a later reset takes a new one."""
        if self._player is not None:
            self._player.close()
        self._player, self._over = None, True

    def _observe(self, player: _Player, text: str, visited: tuple[str, ...]) -> Observation:
        accepted = player.admissible()
        self._accepted = frozenset(accepted)
        return _observation(text, accepted, visited, self.config.admissible)


def _observation(text: str, accepted: Sequence[str], visited: tuple[str, ...], tell: bool) -> Observation:
    admissible = tuple(c for c in accepted if c != "help") if tell else None
    return Observation(shown(text), admissible=admissible, visited=visited)


def _touched(command: str) -> tuple[str, ...]:
    """The receptacle or object whose inside a command showed."""
    for verb in ("go to ", "open ", "examine "):
        if command.startswith(verb):
            return (command.removeprefix(verb),)
    return ()


def _engine_for(ref: GameRef, engine: str) -> str:
    """The engine that is meant, or the real one for a game that the native one does not know."""
    if engine != "native":
        return engine
    try:
        load_game(ref)  # kept: the player takes it from there
    except UnknownGame as reason:
        _note(str(reason).rpartition(": ")[2])  # without the name of the game: once is enough
        return "textworld"
    return engine


def _player(engine: str) -> _Player:
    if engine == "native":
        return NativePlayer()
    from agentrl.envs.alfworld.engine import TextWorldPlayer  # heavy: only where it is played on

    return TextWorldPlayer(engine)


def demonstrations(
    split: str, config: Config | None = None, num: int = 0, seed: int = 0, **settings: Any
) -> Iterator[Demonstration]:
    """Episodes of the expert that the settings describe, on the native engine (the texts are the same).

    num: how many; 0: as many as the panel has.   settings: fields of `Demonstrators`.
    Official games come in an order that the seed shuffles, each once before any again. Generated games are new ones,
    outside the panels.
    """
    config = config or Config()
    demonstrators = from_mapping(Demonstrators, settings, "demonstration_settings")
    generated = find_source(config.data)[0] == "generated"
    panel = [] if generated and num else tasks(split, config)
    games = _new_games(split, config, seed) if generated else _shuffled(panel, seed)
    for number, task in enumerate(itertools.islice(games, num or len(panel))):
        rng = random.Random(seed_of("alfworld-demonstration", seed, number, task.id))
        yield demonstrate(task, config, demonstrators, rng)


def _new_games(split: str, config: Config, seed: int) -> Iterator[Task]:
    """Games of a split's kind that no panel has, without end."""
    kinds = config.task_types or TASK_TYPES
    for number in itertools.count():
        index = NEW_GAMES + seed_of("alfworld-new", seed, number) % NEW_GAMES
        if kind_of(split, index, config.panel) in kinds:
            yield _task(generated_game(split, index, config.panel), split)


def _shuffled(panel: list[Task], seed: int) -> Iterator[Task]:
    for lap in itertools.count():
        order = list(panel)
        random.Random(seed_of("alfworld-order", seed, lap)).shuffle(order)
        yield from order
        if not order:
            return


def demonstrate(task: Task, config: Config, demonstrators: Demonstrators, rng: random.Random) -> Demonstration:
    """One episode of an expert with planted faults; it ends when it is won or at the step limit."""
    play = Simulator(load_game(_ref(task)))
    expert = Demonstrator(play, demonstrators, rng)
    tell = config.admissible

    def observe(text: str, visited: tuple[str, ...]) -> Observation:
        return _observation(text, play.admissible if tell else (), visited, tell)

    observation = observe(play.opening, ())
    steps: list[tuple[Observation, str, bool]] = []
    while not play.won and len(steps) < config.max_steps:
        command, learn = expert.next()
        steps.append((observation, command, learn))
        visited = _touched(command) if command in play.commands else ()
        observation = observe(expert.step(command), visited)
    return Demonstration(task, tuple(steps), observation, Outcome(play.won, float(play.won)))
