"""Gold paths: what the package's own agent does to fulfil a task, and what came of it, made once and kept on disk.

To find one takes the simulator 0.3 to 3 seconds of processor time, for three kinds of task much longer, so nothing in
training waits for it but the first demonstration of a task.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from agentrl.envs.scienceworld.cache import cache_file, read_json, write_json
from agentrl.envs.scienceworld.machine import shared_machine
from agentrl.envs.scienceworld.simulation import Simulation

HEAP = 1024
"""MiB that the search for a gold path may take."""
_FORM = 1
"""Of what is kept on disk."""
_NAMES = (
    (re.compile(r"(?: containing [\w ]+?)? in inventory"), ""),
    (re.compile(r"baby baby "), "baby "),
    (re.compile(r"^(focus on|pick up|move|look at) egg ([\w ]+?)(?: egg)?( to .+|)$"), r"\1 \2 egg\3"),
)
_WALK = re.compile(r"(open door|go) to (.+)")


@dataclass(frozen=True, slots=True)
class Path:
    """Commands and what they were answered, to the end of the task."""

    opening: str
    """The first observation."""
    commands: tuple[str, ...]
    texts: tuple[str, ...]
    """The answer to each command."""
    score: int
    """In the end, from -100 to 100."""


def opening_of(simulation: Simulation) -> str:
    """What an agent reads first: its task, and the room in which it stands."""
    look, _, _ = simulation.step("look around")
    return f"{simulation.description()}\n\n{look}"


def follow(kind: str, variation: int, simplifications: str, commands: Sequence[str]) -> Path:
    """Play commands until the task is done, has failed, or there are no more."""
    simulation = Simulation(kind, variation, simplifications, heap=HEAP)
    try:
        opening, texts, score = opening_of(simulation), [], 0
        for command in commands:
            text, score, done = simulation.step(command)
            texts.append(text)
            if done or score < 0:
                break
    finally:
        simulation.close()
    return Path(opening, tuple(commands[: len(texts)]), tuple(texts), score)


def gold_path(kind: str, variation: int, simplifications: str) -> Path:
    """The package's gold path as it is."""
    return _kept(kind, variation, simplifications, "gold")


def short_path(kind: str, variation: int, simplifications: str) -> Path:
    """The gold path without what is of no use in easy mode, or as it is where it then does not come to the same."""
    return _kept(kind, variation, simplifications, "short")


@functools.lru_cache(maxsize=8192)
def _kept(kind: str, variation: int, simplifications: str, form: str) -> Path:
    folder = simplifications.replace(",", "-") or "plain"
    file = cache_file(version("scienceworld"), folder, kind, f"{variation}-{form}.json")
    kept = read_json(file)
    if isinstance(kept, dict) and kept.get("form") == _FORM:
        return Path(kept["opening"], tuple(kept["commands"]), tuple(kept["texts"]), kept["score"])
    found = _found(kind, variation, simplifications, form)
    write_json(
        file,
        {
            "form": _FORM,
            "opening": found.opening,
            "commands": found.commands,
            "texts": found.texts,
            "score": found.score,
        },
    )
    return found


def _found(kind: str, variation: int, simplifications: str, form: str) -> Path:
    if form == "gold":
        return follow(kind, variation, simplifications, _searched(kind, variation, simplifications))
    gold = gold_path(kind, variation, simplifications)
    short = shortened(gold.commands)
    for commands in (tuple(map(as_it_reads, short)), short):
        found = follow(kind, variation, simplifications, commands)
        if found.score >= gold.score:
            return found
    return gold


def _searched(kind: str, variation: int, simplifications: str) -> list[str]:
    machine = shared_machine(HEAP)
    place = machine.take()
    machine.load(place, kind, variation, simplifications, gold=True)
    commands = machine.gold(place)
    machine.give_back(place)
    return commands


def shortened(gold: Sequence[str]) -> tuple[str, ...]:
    """A gold path with one teleport for every walk, and with one look at a room, before something there is chosen.

    The package's agent walks from door to door whether it may teleport or not, and knows what it has not seen.
    """
    commands: list[str] = []
    room, seen = "", True
    for command in gold:
        walk = _WALK.fullmatch(command)
        if walk is not None:
            room = walk[2] if walk[1] == "go" else room
            continue
        if room:
            commands.append(f"teleport to {room}")
            room, seen = "", False
        looks = command == "look around"
        if not seen and not looks and command.startswith("focus on "):
            commands.append("look around")
            seen = True
        if not looks or not seen:
            commands.append(command)
        seen = seen or looks
    return tuple(commands)


def as_it_reads(command: str) -> str:
    """A command that names a thing as observations do: `parrot egg` for `egg parrot egg`, no `baby baby`."""
    for pattern, plain in _NAMES:
        command = pattern.sub(plain, command)
    return command
