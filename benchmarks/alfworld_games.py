"""Generated against official ALFWorld games: what they are made of, and how far simple players get in them.

    python benchmarks/alfworld_games.py FOLDER [--num 500] [--train 500]
    python benchmarks/alfworld_games.py FOLDER --by-type [--policy tiny]

FOLDER holds official games (json_2.1.1/... or <split>.jsonl.xz). Every official game that is read is also checked: its
walkthrough must replay on the native engine, each command admissible, the game won at its end and not before.
`--by-type` is the other table: who wins how many of all validation games, by task type, at 30 and at 50 turns.
"""

import argparse
import random
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence

from agentrl.api import evaluate_several, policy_layer, resolve_layers
from agentrl.envs import alfworld
from agentrl.envs.alfworld.demonstrators import Expert, random_command
from agentrl.envs.alfworld.generator import SPLITS, TASK_TYPES, solves
from agentrl.envs.alfworld.native import Game, Simulator
from agentrl.envs.alfworld.sources import load_game, load_walkthrough
from agentrl.eval.evaluate import EvalResult
from agentrl.panels import spread
from agentrl.statistics import wilson_interval
from agentrl.types import Task

LIMITS = (30, 50)
"""Turns of a player: of a run by default, and of the benchmark."""
SHORT = dict(zip(TASK_TYPES, ("simple", "look", "clean", "heat", "cool", "two"), strict=True))


def random_player(play: Simulator, rng: random.Random, limit: int) -> int:
    """Any admissible command; turns it took, or 0 where it did not win."""
    for turn in range(limit):
        play.step(random_command(play.commands, rng))
        if play.won:
            return turn + 1
    return 0


def searching_player(play: Simulator, limit: int) -> int:
    """The searching expert; turns it took, or 0 where it did not win."""
    expert = Expert(play)
    for turn in range(limit):
        held = play.holding
        play.step(expert.command())
        expert.observe()
        expert.moved(held)
        if play.won:
            return turn + 1
    return 0


def share(part: int, whole: int) -> str:
    """A percentage with its 95 % Wilson interval."""
    if not whole:
        return "-"
    low, high = wilson_interval(part, whole)
    return f"{100 * part / whole:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def things(game: Game) -> int:
    """Objects that stand in a receptacle."""
    return len({thing for thing, _ in game.inside})


def measure(panel: Sequence[Task], limit: int) -> tuple[dict[str, str], int]:
    """A row of the table, and how many walkthroughs did not replay."""
    numbers: dict[str, list[int]] = defaultdict(list)
    solved: dict[str, list[int]] = defaultdict(list)
    broken = randomly = 0
    for number, task in enumerate(panel):
        game, walkthrough = load_game(task.data), load_walkthrough(task.data)
        if not solves(game, walkthrough):
            broken += 1
            sys.stdout.write(f"does not replay: {task.id}\n")
        numbers["receptacles"].append(len(game.receptacles))
        numbers["objects"].append(things(game))
        numbers["closed"].append(sum(r in game.openable for _, r in game.inside))
        numbers["goal objects"].append(sum(game.kind.get(t) == game.goal_object for t, _ in game.inside))
        numbers["walkthrough"].append(len(walkthrough))
        numbers["admissible"].append(len(Simulator(game).admissible) - 1)  # but help
        randomly += random_player(Simulator(game), random.Random(number), limit) > 0
        solved[SHORT[task.kind]].append(searching_player(Simulator(game), limit))
    row = {"games": str(len(panel)), "walkthroughs that replay": str(len(panel) - broken)}
    kinds = Counter(SHORT[task.kind] for task in panel)
    row["task types"] = " ".join(f"{kind} {100 * kinds[kind] / len(panel):.0f}%" for kind in SHORT.values())
    for name, values in numbers.items():
        row[name] = f"{statistics.mean(values):.1f} ({min(values)}-{max(values)})"
    row["random wins, %"] = share(randomly, len(panel))
    turns = [t for taken in solved.values() for t in taken]
    row["search wins, %"] = share(sum(t > 0 for t in turns), len(turns))
    row["its turns"] = f"{statistics.mean([t or limit for t in turns]):.1f}"
    row["wins by type, %"] = " ".join(
        f"{kind} {100 * sum(t > 0 for t in solved[kind]) / len(solved[kind]):.0f}"
        for kind in SHORT.values()
        if solved[kind]
    )
    return row, broken


def by_type(data: str, split: str, policy: str) -> tuple[list[str], dict[str, list[str]]]:
    """(players, task type -> a cell for each): success on a whole validation split with its 95 % interval."""
    panel = alfworld.tasks(split, alfworld.Config(data=data))
    players: dict[str, list[bool]] = {}
    for limit in LIMITS:
        players[f"walkthrough, {limit}"] = [
            solves(load_game(task.data), load_walkthrough(task.data)[:limit]) for task in panel
        ]
        players[f"search, {limit}"] = [searching_player(Simulator(load_game(t.data)), limit) > 0 for t in panel]
        players[f"random, {limit}"] = [
            random_player(Simulator(load_game(task.data)), random.Random(number), limit) > 0
            for number, task in enumerate(panel)
        ]
        if policy:
            for result in judged(data, split, policy, limit):
                assert [t.task.id for t in result.trajectories] == [task.id for task in panel]
                won = [t.outcome.success for t in result.trajectories]
                players[f"{policy} {result.decoding}, {limit}"] = won
    rows: dict[str, list[str]] = {}
    for kind in ("all", *TASK_TYPES):
        of_kind = [kind in ("all", task.kind) for task in panel]
        name = f"{SHORT.get(kind, kind)} ({sum(of_kind)})"
        rows[name] = [
            share(sum(w for w, counts in zip(won, of_kind, strict=True) if counts), sum(of_kind))
            for won in players.values()
        ]
    return list(players), rows


def judged(data: str, split: str, policy: str, limit: int) -> Sequence[EvalResult]:
    """A policy on a whole split, sampled and greedy."""
    config = resolve_layers(
        {"env": "alfworld", "env_settings": {"data": data}, "rollout": {"max_turns": limit}}, policy_layer(policy)
    )
    return evaluate_several(config, policy=policy, splits=(split,), decodings=(False, True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="official games; absent: generated ones alone")
    parser.add_argument("--num", type=int, default=500, help="generated games a split; default 500")
    parser.add_argument("--train", type=int, default=500, help="official training games; default 500")
    parser.add_argument("--limit", type=int, default=50, help="turns of a player; default 50")
    parser.add_argument("--by-type", action="store_true", help="success of players on all validation games")
    parser.add_argument("--policy", default="", help="for --by-type: a model besides, sampled and greedy")
    args = parser.parse_args()
    if args.by_type:
        for split in SPLITS[1:]:
            players, cells = by_type(args.folder or "generated", split, args.policy)
            sys.stdout.write(f"\n| {split}, % | {' | '.join(cells)} |\n|{'---|' * (len(cells) + 1)}\n")
            for number, player in enumerate(players):
                sys.stdout.write(f"| {player} | {' | '.join(cell[number] for cell in cells.values())} |\n")
        return 0
    broken = 0
    rows: dict[str, dict[str, str]] = {}
    for split in SPLITS:
        made = alfworld.Config(data="generated", num_train=args.num, num_valid=args.num)
        rows[f"generated {split}"], bad = measure(alfworld.tasks(split, made), args.limit)
        broken += bad
        if args.folder is None:
            continue
        official = alfworld.tasks(split, alfworld.Config(data=args.folder))
        if split == "train":
            official = spread(official, args.train)
        rows[f"official {split}"], bad = measure(official, args.limit)
        broken += bad
    for name, row in rows.items():
        sys.stdout.write(f"\n{name}\n")
        for column, value in row.items():
            sys.stdout.write(f"  {column:25} {value}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
