"""TextWorld's engine: a compiled game in the interpreter, and beside it the state of its world, which tells what may
be done. The same texts, commands and scores as `textworld.start`, and a test that holds it to that, step by step.

What the stock engine does again is kept for the game: what can be done in a state of the world (a function of its
facts, so that the episodes of a group, and every look around, find it) and the interpreter's memory at the start. What
remains is the interpreter itself, about a millisecond a command.

Importing this file imports TextWorld.
"""

import collections
import os
import re
import tempfile
import threading
import warnings
from typing import Any

from agentrl.envs.textworld.games import GameRef, StoredGame, load
from agentrl.errors import DataError, WorldFailure, missing_package

try:
    import jericho
    from textworld.generator.game import Game
    from textworld.generator.inform7 import Inform7Game
except ModuleNotFoundError as error:
    raise missing_package("the textworld environment", str(error.name), "pip install textworld") from error

_LOCK = threading.RLock()
"""Knowledge bases are shared by the games of a process; threads take turns."""
_KEPT_GAMES = 32
_KEPT_MOMENTS = 512
_LONGEST = 190
"""Bytes of a command; the interpreter reads no more than 198."""
_WON, _LOST, _WON_ELSEWHERE = "*** The End ***", "*** You lost! ***", "*** You have won ***"
_EVENT = re.compile(r"\[[^]]+\]\n?")
_TOLD = {name: re.compile(rf"<{name}>\n(.*)</{name}>", re.DOTALL) for name in ("moves", "score")}
_SEVERAL = re.compile(r"[.,;:\"\[\]<>]|\bthen\b")
_VERBS = frozenset(
    """go walk run n s e w u d ne nw se sw north south east west up down northeast northwest southeast southwest in out
    enter exit look l inventory inv i examine x watch describe check take get pick carry hold drop discard throw put
    insert place open close shut lock unlock eat drink cook fry roast grill cut chop slice dice prepare make read search
    wear remove push pull turn wait z goal help jump smell listen touch taste""".split()
)
"""First words of commands that are given to a game of TextWorld's. Others are unknown to it, or do what no player
should: save and write files, restart, show the whole state, switch the engine's own reports on."""
_INTERPRETER = frozenset(
    """quit q restart restore save script unscript noscript transcript record recording unrecord replay undo oops again
    g verify version notify superbrief superverbose brief verbose normal long short #record #random #comm""".split()
)
"""First words that are not given to any other game: they talk to the interpreter, and not about the story."""


class _Moment:
    """What can be done in one state of a game's world."""

    def __init__(self, game: "_Opened", actions: list[Any]) -> None:
        self.actions = sorted(actions, key=lambda action: len(action.preconditions), reverse=True)
        self.commands = tuple(sorted(set(game.inform7.gen_commands_from_actions(actions))))
        self._game = game
        self._by_event: dict[str, Any] | None = None

    def action_of(self, event: str) -> Any:
        """The action that an event of the interpreter tells of; None where it changes nothing."""
        if self._by_event is None:
            inform7 = self._game.inform7
            self._by_event = {}
            for action in self.actions:
                told = inform7.kb.inform7_events[action.name].format(**inform7._get_name_mapping(action))
                self._by_event.setdefault(told.lower(), action)
        return self._by_event.get(event.lower())


class _Opened:
    """A game that TextWorld made, read once for all its episodes in this process."""

    def __init__(self, ref: GameRef, stored: StoredGame) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            file.write(stored.about)
            file.flush()
            try:
                self.game = Game.load(file.name)
                self.inform7 = Inform7Game(self.game)
                self._rules = list(self.game.kb.rules.values())
                self._constants = self.game.kb.types.constants_mapping
                self.max_score = float(self.game.max_score)
            except Exception as error:  # KeyError, AttributeError, ... : whatever a damaged description leads to
                place = ref.path or ref.word
                raise DataError(
                    f"the description of the game {place} cannot be read ({type(error).__name__})"
                ) from error
        self.start: tuple[Any, str] | None = None
        """The interpreter's memory when the agent is to move first, and what it has said until then."""
        self._moments: collections.OrderedDict[frozenset[Any], _Moment] = collections.OrderedDict()

    def moment(self, state: Any) -> _Moment:
        """What can be done in a state; known states are looked up."""
        facts = frozenset(state.facts)
        found = self._moments.get(facts)
        if found is None:
            found = _Moment(self, list(state.all_applicable_actions(self._rules, self._constants)))
            self._moments[facts] = found
            if len(self._moments) > _KEPT_MOMENTS:
                self._moments.popitem(last=False)
        return found


_OPENED: collections.OrderedDict[GameRef, _Opened] = collections.OrderedDict()
_IDLE: list[tuple[GameRef, Any]] = []
"""Interpreters that were let go, with the game in them; each is a copy of a library, which takes long to load."""


def _opened(ref: GameRef, stored: StoredGame) -> _Opened:
    if ref.path:  # it may change
        return _Opened(ref, stored)
    found = _OPENED.pop(ref, None) or _Opened(ref, stored)
    _OPENED[ref] = found
    while len(_OPENED) > _KEPT_GAMES:
        _OPENED.popitem(last=False)
    return found


def _started(ref: GameRef, stored: StoredGame, game: _Opened | None, seed: int) -> tuple[Any, str]:
    """An interpreter at the start of a game, and what it says first; one that has the game in it, if there is one."""
    if game is not None and game.start is not None:
        for place, (had, interpreter) in enumerate(_IDLE):
            if had == ref:
                del _IDLE[place]
                return interpreter, _begin(interpreter, game)
    suffix = os.path.splitext(ref.path)[1].lower() or ".z8"
    with tempfile.NamedTemporaryFile(suffix=suffix, delete=False) as file:
        file.write(stored.story)
    try:  # without its file an interpreter ends the process when it is reset
        interpreter = _loaded(file.name, seed)
        return interpreter, _begin(interpreter, game)
    finally:
        os.unlink(file.name)


def _loaded(file: str, seed: int) -> Any:
    """An interpreter with a story in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it knows no score of a game which is not among its own
        if not _IDLE:
            return jericho.FrotzEnv(file, seed)
        _, interpreter = _IDLE.pop(0)
        interpreter.close()
        interpreter._cache.clear()  # of every story that it had
        interpreter.load(file, seed)
        return interpreter


def _begin(interpreter: Any, game: _Opened | None) -> str:
    """Put an interpreter at the start of the game that is in it, with TextWorld's reports; what it says first."""
    if game is None:
        return str(interpreter.reset()[0])
    if game.start is not None:
        memory, opening = game.start
        interpreter.set_state(memory)
        return opening
    opening = str(interpreter.reset()[0])
    for report in ("tw-extra-infos moves", "tw-extra-infos score", "tw-trace-actions"):
        interpreter.step(report)
    game.start = (interpreter.get_state(), opening)
    return opening


class Player:
    """One game in play, by reference to it; threads take turns."""

    def __init__(self) -> None:
        self.score = 0.0
        self.max_score = 0.0
        self.won = self.lost = False
        self.acted = True
        """Did the last command do anything that the game knows."""
        self._ref = GameRef()
        self._interpreter: Any = None
        self._game: _Opened | None = None
        self._state: Any = None
        self._moment: _Moment | None = None

    def start(self, ref: GameRef, seed: int) -> str:
        """The opening, as the engine writes it. Raises DataError where the game cannot be read."""
        stored = load(ref)
        with _LOCK:
            self.close()
            self._game = _opened(ref, stored) if stored.about else None
            self._ref = ref
            self._interpreter, opening = _started(ref, stored, self._game, seed)
            self.score, self.won, self.lost, self.acted = 0.0, False, False, True
            if self._game is None:
                self.max_score = float(max(self._interpreter.get_max_score(), 0)) if self._known else 0.0
                return opening
            self.max_score = self._game.max_score
            self._state = self._game.game.world.state.copy()
            self._moment = self._game.moment(self._state)
        return opening

    @property
    def _known(self) -> bool:
        return bool(self._interpreter.is_fully_supported)

    def takes(self, command: str) -> bool:
        """May it be given to the game: one command of printable letters, about the story."""
        words = command.split()
        if not words or not command.isascii() or not command.isprintable() or len(command) > _LONGEST:
            return False
        if _SEVERAL.search(command.lower()):
            return False
        first = words[0].lower()
        return first in _VERBS if self._game is not None else first not in _INTERPRETER

    def play(self, command: str) -> str:
        """What the engine answers to a command that `takes` takes."""
        if self._interpreter is None:
            raise WorldFailure("textworld: no game was started")
        with _LOCK:
            text = str(self._interpreter.step(command)[0])
            return self._plain(text) if self._game is None else self._followed(text, self._game)

    def _plain(self, text: str) -> str:
        """A game that TextWorld did not make: its score is known where the interpreter knows the game."""
        interpreter = self._interpreter
        self.won = _WON in text or _WON_ELSEWHERE in text or (self._known and bool(interpreter.victory()))
        self.lost = not self.won and (_LOST in text or (self._known and bool(interpreter.game_over())))
        if self._known:
            self.score = float(interpreter.get_score())
        return text

    def _followed(self, text: str, game: _Opened) -> str:
        """The answer without the engine's reports, which say what happened and the score."""
        for name, pattern in _TOLD.items():
            found = pattern.search(text)
            if found is None:
                continue
            if name == "score":
                self.score = float(int(_EVENT.sub("", found[1]).strip().split("\n")[0]))
            text = pattern.sub("", text)
        events = [event.strip()[1:-1] for event in _EVENT.findall(text)]
        done = [event[: event.index(" - succeeded")] for event in events if " - succeeded" in event]
        done = [event for event in done if "(" not in event and ")" not in event]  # what is in brackets is a rule
        self.acted = bool(done)
        for event in done:
            assert self._moment is not None
            action = self._moment.action_of(event)
            if action is not None:
                self._state.apply(action)
                self._moment = game.moment(self._state)
        text = _EVENT.sub("", text)
        self.won, self.lost = _WON in text, _LOST in text
        return text

    def admissible(self) -> tuple[str, ...] | None:
        """What the game takes now, sorted; None for a game that TextWorld did not make."""
        return self._moment.commands if self._moment is not None else None

    def close(self) -> None:
        """Leave the interpreter to the next game of this process."""
        with _LOCK:
            if self._interpreter is not None:
                _IDLE.append((self._ref, self._interpreter))
            self._interpreter = self._game = self._state = self._moment = None
