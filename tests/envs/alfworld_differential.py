"""Plays ALFWorld games on the native engine and on TextWorld's side by side: any text that differs is a fault.

    python -m tests.envs.alfworld_differential FOLDER --out FILE [--engine stock] [--generated 3827] [--shard 0/4]

FOLDER holds official games ($ALFWORLD_DATA by default). Each game is played by its walkthrough and by a random walk in
which the game refuses some commands. FILE gets a JSON line a game and says at a later start which games are done. A
game's `digest` is of all that the real engine said: with it `replay` tells in a millisecond whether the native engine
still says the same.
"""

import argparse
import hashlib
import json
import os
import random
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agentrl.envs import alfworld
from agentrl.envs.alfworld.engine import TextWorldPlayer
from agentrl.envs.alfworld.native import Simulator
from agentrl.envs.alfworld.sources import load_game, load_walkthrough
from agentrl.panels import spread
from agentrl.types import Task

STEPS = 50
"""Of the random walk."""
DIGITS = 10
"""Of a digest, hexadecimal."""
INVALID = ("go to nowhere 1", "", "take", "GO TO FRIDGE 1", "put x in/on y", "take apple 1 from fridge 1 please")


def walk(admissible: Sequence[str], rng: random.Random) -> str:
    """Any command: its verb first, so that rare ones come; now and then one that the game refuses."""
    chance = rng.random()
    if chance < 0.06:
        return rng.choice(INVALID)
    verb = rng.choice(sorted({command.split()[0] for command in admissible}))
    command = rng.choice([command for command in admissible if command.split()[0] == verb])
    if chance < 0.12:  # nearly right: another number, a word too many, another case, white space around
        return rng.choice((command[:-1] + "9", command + " now", command.upper(), f" {command}\n"))
    return command


@dataclass
class Played:
    """What came of a game. `differences`: each in a line, with the turn and both texts."""

    id: str
    steps: int = 0
    refused: int = 0
    walkthrough_wins: bool = False
    verbs: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    digest: str = ""
    seconds: float = 0.0

    def count(self, game: Simulator, command: str) -> None:
        """Tally a command that is about to be played."""
        if command in game.commands:
            verb = command.split()[0]
            self.verbs[verb] = self.verbs.get(verb, 0) + 1
        else:
            self.refused += 1


class Native:
    """A game on the native engine alone. `heard`: the digest of all that was said so far."""

    def __init__(self, task: Task, heard: Any) -> None:
        self.game, self.heard, self.turn = Simulator(load_game(task.data)), heard, 0
        self._hear("", self.game.opening, self.game.admissible, self.game.won)

    def step(self, command: str) -> None:
        self.turn += 1
        text = self.game.step(command)
        self._hear(command, text, self.game.admissible, self.game.won)

    def _hear(self, *said: Any) -> None:
        self.heard.update(json.dumps(said).encode())


class Pair(Native):
    """A game on both engines; what is heard is the real one. `found`: where they differ."""

    def __init__(self, player: TextWorldPlayer, task: Task, heard: Any) -> None:
        self.player, self.found = player, list[str]()
        self._real = player.start(task.data)
        super().__init__(task, heard)

    def step(self, command: str) -> None:
        self._real = self.player.play(command)
        super().step(command)
        paid = {name: self.player.state[name] for name in ("score", "done", "won", "lost")}
        won = self.game.won
        self._same("score and end", paid, {"score": int(won), "done": won, "won": won, "lost": False})

    def _hear(self, *said: Any) -> None:
        command, text, admissible, won = said
        self._same(command, self._real, text)
        self._same("admissible", self.player.admissible(), admissible)
        self._same("won", self.player.won, won)
        super()._hear(command, self._real, self.player.admissible(), self.player.won)

    def _same(self, what: str, real: Any, native: Any) -> None:
        if real != native:
            self.found.append(f"turn {self.turn}, {what!r}: real {real!r}, native {native!r}")


def play_twice(start: Callable[[], Native], task: Task, steps: int, seed: int, played: Played) -> tuple[Native, Native]:
    """A game by its walkthrough, then by a random walk of `steps` commands that takes a step of the plan now and then,
    so that it comes to states which chance alone would not find."""
    rng = random.Random(zlib.crc32(f"{seed}/{task.id}".encode()))
    plan = list(load_walkthrough(task.data))
    straight = start()
    for command in plan:
        played.count(straight.game, command)
        straight.step(command)
    played.walkthrough_wins = straight.game.won
    wandering = start()
    while wandering.turn < steps and not wandering.game.won:
        command = plan.pop(0) if plan and rng.random() < 0.15 else walk(wandering.game.admissible, rng)
        played.count(wandering.game, command)
        wandering.step(command)
    played.steps = straight.turn + wandering.turn
    return straight, wandering


def compare(player: TextWorldPlayer, task: Task, steps: int = STEPS, seed: int = 0) -> Played:
    """A game on both engines."""
    begin = time.perf_counter()
    played, heard = Played(task.id), hashlib.sha256()
    for pair in play_twice(lambda: Pair(player, task, heard), task, steps, seed, played):
        assert isinstance(pair, Pair)
        played.differences += pair.found
    played.digest = heard.hexdigest()[:DIGITS]
    played.seconds = round(time.perf_counter() - begin, 3)
    return played


def replay(task: Task, steps: int = STEPS, seed: int = 0) -> Played:
    """The same on the native engine alone: its digest is the real engine's if they agree on every text."""
    played, heard = Played(task.id), hashlib.sha256()
    play_twice(lambda: Native(task, heard), task, steps, seed, played)
    played.digest = heard.hexdigest()[:DIGITS]
    return played


def panel(data: str, generated: int) -> list[Task]:
    """Every official game of a folder, and `generated` others spread over the splits likewise; small splits first."""
    valid = generated // 28
    sizes = {"valid_unseen": valid, "valid_seen": valid, "train": generated - 2 * valid}
    found: list[Task] = []
    for split, size in sizes.items():
        if data:
            found += alfworld.tasks(split, alfworld.Config(data=data))
        made = alfworld.Config(data="generated", num_train=max(size, 1), num_valid=max(size, 1))
        found += alfworld.tasks(split, made)[:size]
    return found


def done_before(out: Path) -> list[Played]:
    """What an earlier start wrote; a last line that was cut short is left out."""
    found = []
    for line in out.read_text().splitlines() if out.is_file() else ():
        try:
            found.append(Played(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


def summary(played: Iterable[Played]) -> str:
    """Games, steps and differences so far, in a few lines."""
    games = list(played)
    verbs = Counter[str]()
    for game in games:
        verbs.update(game.verbs)
    lost = [game.id for game in games if not game.walkthrough_wins]
    differ = [(game.id, text) for game in games for text in game.differences]
    lines = [
        f"{len(games)} games, {sum(g.steps for g in games)} steps, {sum(g.refused for g in games)} of them refused,"
        f" {sum(g.seconds for g in games):.0f} s",
        "commands: " + ", ".join(f"{verb} {count}" for verb, count in verbs.most_common()),
        f"walkthroughs that do not win: {len(lost)} {lost[:5] or ''}",
        f"differences: {len(differ)} in {len({game for game, _ in differ})} games",
    ]
    return "\n".join(lines + [f"  {game}: {text[:400]}" for game, text in differ[:20]])


def run(tasks: Sequence[Task], out: Path, engine: str, steps: int, seed: int) -> Iterator[Played]:
    """Play what `out` does not hold yet, a line a game; yields the games that it held too."""
    known = done_before(out)
    yield from known
    ids = {game.id for game in known}
    player = TextWorldPlayer(engine)
    with out.open("a") as file:
        for task in tasks:
            if task.id in ids:
                continue
            played = compare(player, task, steps, seed)
            file.write(json.dumps(asdict(played)) + "\n")
            file.flush()
            yield played
    player.close()


def in_order(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """`official/train` and the like -> its games: official ones by their ids, generated ones by their numbers."""
    found: dict[str, list[Task]] = {}
    for task in sorted(tasks, key=lambda task: (task.data.index if task.data.source == "generated" else 0, task.id)):
        source = "generated" if task.data.source == "generated" else "official"
        found.setdefault(f"{source}/{task.split}", []).append(task)
    return found


def write_digests(file: Path, tasks: Sequence[Task], played: Iterable[Played]) -> None:
    """What the real engine said of each game, as a string of digests a panel; dashes for a game that was not played."""
    digests = {game.id: game.digest for game in played if not game.differences}
    found = {
        "about": f"Of each game the first {DIGITS} digits of the SHA-256 of what TextWorld's engine said when"
        " tests/envs/alfworld_differential.py played it; official games in the order of their ids."
    }
    for name, panel_tasks in in_order(tasks).items():
        found[name] = "".join(digests.get(task.id, "-" * DIGITS) for task in panel_tasks)
    file.write_text(json.dumps(found, indent=1) + "\n")


def read_digests(file: Path, name: str) -> list[str]:
    """A panel's digests, in its order."""
    text = json.loads(file.read_text())[name]
    return [text[start : start + DIGITS] for start in range(0, len(text), DIGITS)]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=os.environ.get("ALFWORLD_DATA", ""), help="official games")
    parser.add_argument("--out", type=Path, required=True, help="a JSON line a game; read at the start, added to")
    parser.add_argument("--engine", choices=("textworld", "stock"), default="textworld", help="the real one")
    parser.add_argument("--generated", type=int, default=0, help="generated games besides; default 0")
    parser.add_argument("--num", type=int, default=0, help="only so many games, spread over all; 0: all")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="every N-th game from the I-th on")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of the random walk; default {STEPS}")
    parser.add_argument("--digests", type=Path, help="write what the real engine said, in short, to this file")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    first, every = map(int, args.shard.split("/"))
    everything = panel(args.data, args.generated)
    tasks = spread(everything, args.num)[first::every]
    games = []
    for played in run(tasks, args.out, args.engine, args.steps, args.seed):
        games.append(played)
        for difference in played.differences:
            sys.stdout.write(f"{played.id}: {difference[:400]}\n")
    sys.stdout.write(summary(games) + "\n")
    if args.digests:
        write_digests(args.digests, everything, games)
    return 1 if any(game.differences or not game.walkthrough_wins for game in games) else 0


if __name__ == "__main__":
    sys.exit(main())
