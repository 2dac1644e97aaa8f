"""Experts that play on the native engine: one searches and knows only what it has read, one knows where all is.

Both follow the same rules (fetch, change, bring); they differ in what they know at the start. Faults can be planted:
clumsy turns, from which they recover, and slips, which the world refuses.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from agentrl.envs.alfworld.native import ABILITY, DEVICES, STATE, Game, Simulator
from agentrl.settings import require


@dataclass(frozen=True, kw_only=True)
class Demonstrators:
    """Who demonstrates, and which faults are planted; `demonstration_settings` of a run."""

    search: Literal["order", "rounds"] = "order"
    """order: the first plausible place that was not read; rounds: the next after the last one, from one at random."""
    direct: float = 0.0
    """Share of demonstrations by an expert that knows where all is; the rest searches, as an agent must."""
    eps: float = 0.0
    """Share of clumsy turns, any command that the game accepts; they are learned."""
    slips: float = 0.0
    """Share of turns with a command that the game refuses; they are not learned."""

    def __post_init__(self) -> None:
        for name in ("direct", "eps", "slips"):
            require(0 <= getattr(self, name) <= 1, f"{name} is {getattr(self, name)}; it must be from 0 to 1")


LAMP_STANDS = frozenset({"desk", "sidetable", "dresser", "shelf"})


class Expert:
    """Decides the next command of a game in play. Plausible receptacles are gone through in the opening's order.

    privileged: it knows at the start what is in every receptacle, and goes straight there.
    first: where in that order it begins, from 0 to 1; None: it always takes the first that it has not read.
    """

    def __init__(self, play: Simulator, privileged: bool = False, first: float | None = None) -> None:
        self.play = play
        self._last = None if first is None else int(first * len(play.game.receptacles))
        game: Game = play.game
        self.known: dict[str, str] = {}  # object -> receptacle where it was last seen
        self.read: set[str] = set()  # receptacles whose contents were described
        self.target = next((r for r in game.receptacles if game.kind[r] == game.goal_target), "")
        fits = [r for r in game.receptacles if (game.kind[r], game.goal_object) in game.can_contain]
        self.plausible = fits
        if privileged:
            for receptacle in game.receptacles:
                self._learn(receptacle)

    def observe(self) -> None:
        """Take in what the newest sentence told; call it after every step, the reset included."""
        if self.play.described is not None:
            self._learn(self.play.described)
        if self.play.holding is not None:
            self.known.pop(self.play.holding, None)

    def _learn(self, receptacle: str) -> None:
        self.read.add(receptacle)
        for thing in [t for t, r in self.known.items() if r == receptacle]:
            del self.known[thing]
        for thing in sorted(self.play.contents[receptacle]):
            self.known[thing] = receptacle

    def moved(self, thing: str | None) -> None:
        """Take in that the last command may have put down what was held."""
        if thing is not None and self.play.holding is None:
            spot = next((r for r in self.play.here if thing in self.play.contents[r]), None)
            if spot is not None:
                self.known[thing] = spot

    def command(self) -> str:
        """The next command; `look` where nothing is left to try."""
        play, game = self.play, self.play.game
        if play.holding is None:
            return self._fetch()
        if game.kind[play.holding] != game.goal_object:
            return self._put_away(play.holding)
        if game.goal == "look":
            return self._light()
        if game.goal in ABILITY and play.holding not in play.states[STATE[game.goal]]:
            device = next((r for r in game.receptacles if game.kind[r] in DEVICES[game.goal]), "")
            if device in play.here:
                return f"{game.goal} {game.names[play.holding]} with {game.names[device]}"
            return self._go(device)
        return self._bring(play.holding, self._destination())

    def _destination(self) -> str:
        """The receptacle to bring to: for two objects, the one where the first of them is."""
        game = self.play.game
        if game.goal == "two":
            for thing, receptacle in self.known.items():
                if game.kind.get(thing) == game.goal_object and game.kind[receptacle] == game.goal_target:
                    return receptacle
        return self.target

    def _wanted(self) -> list[tuple[str, str]]:
        """Known objects that are worth fetching, those within reach first."""
        game, destination = self.play.game, self._destination()
        found = [
            (thing, r)
            for thing, r in self.known.items()
            if game.kind.get(thing) == game.goal_object and not (game.goal == "two" and r == destination)
        ]
        return sorted(found, key=lambda pair: pair[1] not in self.play.here)

    def _fetch(self) -> str:
        play, names = self.play, self.play.game.names
        for thing, receptacle in self._wanted():
            if receptacle not in play.here:
                return self._go(receptacle)
            if not play.is_open(receptacle):
                return f"open {names[receptacle]}"
            if f"take {names[thing]} from {names[receptacle]}" in play.commands:
                return f"take {names[thing]} from {names[receptacle]}"
        return self._search(self.plausible)

    def _bring(self, thing: str, receptacle: str) -> str:
        names = self.play.game.names
        if receptacle not in self.play.here:
            return self._go(receptacle)
        if not self.play.is_open(receptacle):
            return f"open {names[receptacle]}"
        return f"move {names[thing]} to {names[receptacle]}"

    def _put_away(self, thing: str) -> str:
        """Something that was picked up by mistake goes to the nearest place that takes it."""
        play, game = self.play, self.play.game
        takes = [r for r in game.receptacles if (game.kind[r], game.kind[thing]) in game.can_contain]
        takes.sort(key=lambda r: (r not in play.here, not play.is_open(r)))
        return self._bring(thing, takes[0]) if takes else "look"

    def _light(self) -> str:
        play, game = self.play, self.play.game
        lamps = [(t, r) for t, r in self.known.items() if game.kind.get(t) == game.goal_target]
        for lamp, receptacle in lamps:
            if receptacle in play.here:
                return f"use {game.names[lamp]}"
        if lamps:
            return self._go(lamps[0][1])
        return self._search([r for r in game.receptacles if game.kind[r] in LAMP_STANDS])

    def _search(self, first: Sequence[str]) -> str:
        """Look into the next receptacle whose contents were not read; what can be reached from here comes first."""
        play, game = self.play, self.play.game
        for candidates in (first, game.receptacles):
            unread = self._from_last([r for r in candidates if r not in self.read])
            near = [r for r in unread if r in play.here]
            for receptacle in near[:1]:
                verb = "examine" if play.is_open(receptacle) else "open"
                return f"{verb} {game.names[receptacle]}"
            for receptacle in unread[:1]:
                if self._last is not None:
                    self._last = game.receptacles.index(receptacle)
                return self._go(receptacle)
        self.read.clear()  # all was read and nothing found: what was seen has moved
        return "look"

    def _from_last(self, unread: list[str]) -> list[str]:
        """In the opening's order; going round, what stands behind the last search's place comes first."""
        if self._last is None:
            return unread
        place = {r: i for i, r in enumerate(self.play.game.receptacles)}
        return sorted(unread, key=lambda r: (place[r] <= (self._last or 0), place[r]))

    def _go(self, receptacle: str) -> str:
        if receptacle not in self.play.game.location:
            return "look"
        return f"go to {self.play.game.names[receptacle]}"


def slip(play: Simulator, rng: random.Random) -> str | None:
    """A command of the kind that a learner tries in vain; None where the draw happened to be admissible."""
    game = play.game
    spot = game.names[play.here[0]] if play.here else game.names[rng.choice(game.receptacles)]
    thing = f"{game.goal_object} {rng.randint(1, 3)}"
    command = rng.choice(
        [
            f"take {thing} from {spot}",
            f"go to {spot}",
            f"move {thing} to {spot}",
            f"open {spot}",
            f"take {thing} from {spot}",
        ]
    )
    return None if command in play.commands else command


def random_command(commands: Iterable[str], rng: random.Random) -> str:
    """Any admissible command but `help`."""
    return rng.choice([c for c in sorted(commands) if c != "help"])


class Demonstrator:
    """An expert with planted faults: `next` gives a command and whether it is to be learned."""

    def __init__(self, play: Simulator, settings: Demonstrators, rng: random.Random) -> None:
        self.play, self.rng, self.settings = play, rng, settings
        privileged = rng.random() < settings.direct
        first = rng.random() if settings.search == "rounds" else None
        self.expert = Expert(play, privileged, first)

    def next(self) -> tuple[str, bool]:
        if self.settings.slips and self.rng.random() < self.settings.slips:
            command = slip(self.play, self.rng)
            if command is not None:
                return command, False
        if self.settings.eps and self.rng.random() < self.settings.eps:
            return random_command(self.play.commands, self.rng), True
        return self.expert.command(), True

    def step(self, command: str) -> str:
        """Play a command and take in what it did; the world's sentence."""
        held = self.play.holding
        sentence = self.play.step(command)
        self.expert.observe()
        self.expert.moved(held)
        return sentence
