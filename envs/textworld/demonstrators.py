"""Experts that know only what they have read: they walk through the rooms, open what is closed, and remember.

A walkthrough goes straight to what no one could know at the start; learning from it alone teaches to guess. The
searching expert goes through exits in a fixed order, one step back at a dead end, so that what it does follows from
what it has seen. Clumsy turns can be planted, from which it recovers.
"""

import collections
import random
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from agentrl.envs.textworld.challenges import Challenge
from agentrl.settings import require

DIRECTIONS = {"north": "south", "east": "west", "south": "north", "west": "east"}
"""Direction -> the way back."""
_DEVICES = {"fry": "stove", "roast": "oven", "grill": "BBQ"}
_DONE = {"fry": "fried", "roast": "roasted", "grill": "grilled", "chop": "chopped", "slice": "sliced", "dice": "diced"}
_HARMLESS = ("go ", "look", "inventory", "examine ", "open ", "close ")
_RECIPE = re.compile(r"Ingredients:\n(?P<ingredients>.*?)\n?Directions:\n(?P<directions>.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Demonstrators:
    """Who demonstrates, and which faults are planted; `demonstration_settings` of a run."""

    direct: float = 0.0
    """Share of demonstrations by the walkthrough, which knows where all is; the rest searches, as an agent must."""
    eps: float = 0.0
    """Share of clumsy turns, any command that does no harm; they are learned."""

    def __post_init__(self) -> None:
        for name in ("direct", "eps"):
            require(0 <= getattr(self, name) <= 1, f"{name} is {getattr(self, name)}; it must be from 0 to 1")


def can_search(challenge: Challenge) -> bool:
    """Is the goal told so that a search can find it."""
    if challenge.name == "cooking":
        return not challenge.settings["drop"]  # what can be carried is limited there
    return challenge.name in ("coin-collector", "treasure-hunter")


def clumsy(commands: Sequence[str], settings: Demonstrators, rng: random.Random) -> str | None:
    """A planted fault, or None for a turn as the expert means it."""
    if not settings.eps or rng.random() >= settings.eps:
        return None
    return rng.choice([command for command in commands if command.startswith(_HARMLESS)])


class Searcher:
    """Decides the next command of a game from what was said so far."""

    def __init__(self, challenge: Challenge) -> None:
        self._cooks = challenge.name == "cooking"
        self._goal = ""
        self._room = ""
        self._left: tuple[str, str] | None = None  # the room and the direction of the last move
        self._exits: dict[str, dict[str, str]] = collections.defaultdict(dict)  # room -> direction -> room, or ""
        self._seen: dict[str, str] = {}  # thing -> the room where it was last within reach
        self._opened: set[tuple[str, str]] = set()
        self._recipe = _Recipe() if self._cooks else None

    def next(
        self, text: str, commands: Sequence[str], visited: Collection[str] | None, stray: str | None
    ) -> str | None:
        """The command that answers an observation; None where nothing is left to try.   stray: one to play instead."""
        self._goal = self._goal or text
        self._take_in(text, commands, next(iter(visited or ()), self._room))
        command = stray or self._wanted(commands) or self._explore(commands)
        if command is not None and command.startswith("go "):
            self._left = (self._room, command.removeprefix("go "))
        return command

    def _take_in(self, text: str, commands: Sequence[str], room: str) -> None:
        if self._left is not None and room != self._room:
            before, way = self._left
            self._exits[before][way] = room
            self._exits[room][DIRECTIONS[way]] = before
        self._room, self._left = room, None
        for command in commands:
            if command.startswith("go "):
                self._exits[room].setdefault(command.removeprefix("go "), "")
            elif command.startswith("examine "):
                self._seen[command.removeprefix("examine ")] = room
        if self._recipe is not None:
            self._recipe.take_in(text)

    def _wanted(self, commands: Sequence[str]) -> str | None:
        """What the goal asks for, where it can be had now."""
        if self._recipe is not None:
            found, place = self._recipe.next(commands, self._seen)
            if found is None and place and place != self._room:
                return self._towards({place})
            return found
        named = self._goal.partition("-=")[0]
        for command in commands:
            if command.startswith("take "):
                thing = command.removeprefix("take ").partition(" from ")[0]
                if re.search(rf"\b{re.escape(thing)}\b", named):
                    return command
        return None

    def _explore(self, commands: Sequence[str]) -> str | None:
        """Open what is closed here, then go where it was not; back, where all here is known."""
        for command in commands:
            verb, _, thing = command.partition(" ")
            if verb in ("unlock", "open") and (verb, thing) not in self._opened:
                self._opened.add((verb, thing))
                return command
        for way in DIRECTIONS:
            if self._exits[self._room].get(way) == "" and f"go {way}" in commands:
                return f"go {way}"
        open_ended = {room for room, exits in self._exits.items() if "" in exits.values() and room != self._room}
        return self._towards(open_ended)

    def _towards(self, places: Collection[str]) -> str | None:
        """The first step of a shortest known way to one of some rooms; None where none is known."""
        first: dict[str, str] = {self._room: ""}
        queue = collections.deque([self._room])
        while queue:
            room = queue.popleft()
            if room in places:
                return first[room]
            for way in DIRECTIONS:
                there = self._exits[room].get(way, "")
                if there and there not in first:
                    first[there] = first[room] or f"go {way}"
                    queue.append(there)
        return None


class _Recipe:
    """The state of a meal: what the cookbook says, and how far it is done."""

    def __init__(self) -> None:
        self.ingredients: list[str] = []
        self.directions: list[tuple[str, str]] = []  # (verb, ingredient)
        self._read = self._looked = False
        self._carried = ""

    def take_in(self, text: str) -> None:
        """Learn from an answer: the recipe, or what is carried."""
        found = _RECIPE.search(text)
        if found is not None:
            self.ingredients = found["ingredients"].splitlines()
            lines = (line.partition(" the ") for line in found["directions"].splitlines())
            self.directions = [(verb, thing) for verb, _, thing in lines if thing]
        if text.startswith("You are carrying"):
            self._carried, self._looked = text, True

    def next(self, commands: Sequence[str], seen: dict[str, str]) -> tuple[str | None, str]:
        """(a command, "") or (None, the room to go to; empty where it is not known yet)."""
        if "eat meal" in commands:
            return "eat meal", ""
        if not self.ingredients:
            if "examine cookbook" in commands and not self._read:
                self._read = True
                return "examine cookbook", ""
            return None, ""
        for thing in self.ingredients:
            if not self._held(thing, commands):
                take = self._take(thing, commands)
                return (take, "") if take else (None, seen.get(thing, ""))
        if not self._looked:
            return "inventory", ""
        while self.directions:
            verb, thing = self.directions[0]
            command, place = self._prepare(verb, thing, commands, seen)
            if command is None and place is not None:
                return None, place
            if command is None or not command.startswith("take "):
                self.directions.pop(0)
            if command is not None:
                return command, ""
        return ("prepare meal", "") if "prepare meal" in commands else (None, seen.get("stove", ""))

    @staticmethod
    def _held(thing: str, commands: Sequence[str]) -> bool:
        return f"drop {thing}" in commands

    @staticmethod
    def _take(thing: str, commands: Sequence[str]) -> str | None:
        return next((c for c in commands if c == f"take {thing}" or c.startswith(f"take {thing} from ")), None)

    def _prepare(
        self, verb: str, thing: str, commands: Sequence[str], seen: dict[str, str]
    ) -> tuple[str | None, str | None]:
        """(command, None), or (None, the room to go to), or (None, None) where it is done already."""
        if re.search(rf"\b{_DONE.get(verb, verb)} (?:\w+ )?{re.escape(thing)}\b", self._carried):
            return None, None
        device = _DEVICES.get(verb)
        if device is not None:
            command = f"cook {thing} with {device}"
            return (command, None) if command in commands else (None, seen.get(device, ""))
        command = f"{verb} {thing} with knife"
        if command in commands:
            return command, None
        if self._held("knife", commands):
            return None, None
        take = self._take("knife", commands)
        return (take, None) if take else (None, seen.get("knife", ""))
