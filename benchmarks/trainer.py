"""One update of a multi-turn episode: a packed sequence an episode (ours) against a padded sample a turn. Ratios.

    python benchmarks/trainer.py                      10, 20 and 40 turns; peak memory at 20
    python benchmarks/trainer.py --turns 10 --repeats 1 --no-memory

Both sides get the same episodes, model, loss (GRPO's clipped surrogate, mean over tokens) and thread, and take turns in
one process; their gradients are compared before anything is printed. What is timed is everything from the episodes to
the gradient; the optimiser's step is the same for both and is left out. The least time of each side counts: processor
time on one thread, so that what else the machine does matters less, wall time on several.

The other side is what trainers of turn-level samples do, done well: prompts padded on the left, replies on the right,
samples of like length together, transformers' own forward with its scaled-dot-product attention, and logits of the
reply's positions alone. Its tokens grow with the square of the turns, ours in proportion: the ratio follows.

Peak memory is measured in a process a side: growth of the resident set from before the first update (Linux).
Goals: 10, 16 and 30 times faster at 10, 20 and 40 turns; 5 times less memory at 20.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from random_model import CLEAR, peak, random_model, resident
from torch import Tensor

from agentrl.config import TrainerConfig
from agentrl.registry import load
from agentrl.trainers.batch import build_batch
from agentrl.trainers.composition import compose
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.update import Updater, flat_gradient
from agentrl.types import Completion, Observation, Outcome, Task, Trajectory, Turn

PROMPT, SEEN, REPLY = 200, 40, 24
"""Tokens of the first prompt, and on average of an observation and of a reply: half to one and a half times as many."""
CLIP = 0.2


def random_episode(num_turns: int, vocabulary: int, seed: int) -> Trajectory:
    """An append-only episode: every prompt is the previous one, the reply, and an observation."""
    chance = random.Random(seed)

    def words(mean: int) -> list[int]:
        return [chance.randrange(3, vocabulary) for _ in range(chance.randrange(mean // 2, mean * 3 // 2))]

    turns = []
    for position in range(num_turns):
        prompt = words(SEEN) if position else [chance.randrange(3, vocabulary) for _ in range(PROMPT + SEEN)]
        reply = words(REPLY)
        completion = Completion("", reply, [-1.0] * len(reply), versions=[0] * len(reply))
        turns.append(Turn(position, Observation(""), prompt, position > 0, completion, "", True, True, 0.0))
    task = Task("none", str(seed), "train", seed)
    return Trajectory(task, str(seed), 0, turns, None, Outcome(True, 1.0), "done")


def advantage_of(turn: int) -> float:
    """Any number that differs from turn to turn."""
    return (-1.0) ** turn * (1 + turn % 5)


class Ours:
    """The trainer's own update."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.updater = Updater(module, Optimiser(module, TrainerConfig()))
        self.objective = compose(load("algorithm", "grpo"), {}, {})

    def gradient(self, episodes: list[Trajectory]) -> float:
        batch = build_batch(episodes)
        by_turn = torch.tensor([advantage_of(p) for p in batch.view.turn_position.tolist()], dtype=torch.float64)
        view = batch.view.with_fields(advantage=by_turn[batch.view.turn_of_token])
        return self.updater.gradient(batch.with_view(view), self.objective).loss


class Padded:
    """A sample a turn: its whole prompt, padded on the left, and its reply, padded on the right."""

    def __init__(self, module: torch.nn.Module, micro_batch: int) -> None:
        self.module, self.micro_batch = module, micro_batch

    def gradient(self, episodes: list[Trajectory]) -> float:
        samples = [sample for episode in episodes for sample in _samples(episode)]
        samples.sort(key=lambda sample: len(sample[0]))
        num_tokens = sum(len(reply) for _, reply, _ in samples)
        total = 0.0
        for i in range(0, len(samples), self.micro_batch):
            prompts, replies, advantages = zip(*samples[i : i + self.micro_batch], strict=True)
            loss = self._loss(prompts, replies, torch.tensor(advantages)[:, None]) / num_tokens
            loss.backward()
            total += float(loss.detach())
        return total

    def _loss(self, prompts: tuple[list[int], ...], replies: tuple[list[int], ...], advantage: Tensor) -> Tensor:
        before, after = max(map(len, prompts)), max(map(len, replies))
        ids = torch.zeros(len(prompts), before + after, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
            begin, end = before - len(prompt), before + len(reply)
            ids[row, begin:end] = torch.tensor(prompt + reply)
            mask[row, begin:end] = 1
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        output = self.module(
            ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=after + 1
        )
        logp = output.logits[:, :-1].log_softmax(-1).gather(2, ids[:, before:, None])[..., 0]
        ratio = (logp - logp.detach()).exp()
        gained = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
        return -(gained * mask[:, before:]).sum()


def _samples(episode: Trajectory) -> list[tuple[list[int], list[int], float]]:
    """Of each turn its whole prompt, its reply, and its advantage."""
    said: list[int] = []
    found = []
    for turn in episode.turns:
        said = said + turn.prompt_ids
        found.append((said, turn.completion.token_ids, advantage_of(turn.position)))
        said = said + turn.completion.token_ids
    return found


def compared(arguments: argparse.Namespace, num_turns: int) -> dict[str, Any]:
    """Both sides on the same episodes, turn and turn about.   Raises RuntimeError where their gradients differ."""
    module = random_model(arguments.vocabulary, arguments.layers, arguments.hidden, initializer_range=0.05)
    sides: dict[str, Callable[[list[Trajectory]], float]] = {
        "ours": Ours(module).gradient,
        "padded": Padded(module, arguments.micro_batch).gradient,
    }
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    warm = [random_episode(2, arguments.vocabulary, 0)]
    episodes = [random_episode(num_turns, arguments.vocabulary, seed) for seed in range(arguments.episodes)]
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    gradients = {}
    for gradient in sides.values():
        gradient(warm)
    for _ in range(arguments.repeats):
        for name, gradient in sides.items():
            module.zero_grad(set_to_none=True)
            begin = clock()
            gradient(episodes)
            seconds[name].append(clock() - begin)
            gradients[name] = flat_gradient(module)
    difference = float((gradients["ours"] - gradients["padded"]).norm() / gradients["padded"].norm())
    if not difference < 1e-4:
        raise RuntimeError(f"the gradients differ by {difference:.1e}: nothing can be compared")
    ours, padded = min(seconds["ours"]), min(seconds["padded"])
    lengths = [len(prompt) + len(reply) for episode in episodes for prompt, reply, _ in _samples(episode)]
    return {
        "turns": num_turns,
        "tokens": sum(len(turn.prompt_ids) + len(turn.completion.token_ids) for e in episodes for turn in e.turns),
        "tokens_of_samples": sum(lengths),
        "gradients_differ_by": float(f"{difference:.1e}"),
        "ours_seconds": round(ours, 3),
        "padded_seconds": round(padded, 3),
        "ratio": round(padded / ours, 1),
    }


def peak_growth(arguments: argparse.Namespace, side: str, num_turns: int) -> float:
    """MiB by which a process of its own grows in two updates of one side."""
    command = [sys.executable, __file__, "--grow", side, "--turns", str(num_turns)]
    for name in ("episodes", "vocabulary", "layers", "hidden", "micro_batch", "threads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def grow(arguments: argparse.Namespace) -> float:
    """What the process that `peak_growth` starts does."""
    module = random_model(arguments.vocabulary, arguments.layers, arguments.hidden, initializer_range=0.05)
    side = Ours(module) if arguments.grow == "ours" else Padded(module, arguments.micro_batch)
    episodes = [random_episode(arguments.turns[0], arguments.vocabulary, s) for s in range(arguments.episodes)]
    before = resident()
    for _ in range(2):
        module.zero_grad(set_to_none=True)
        side.gradient(episodes)
    return peak() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--episodes", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2, help="timed updates of each side, of which the least counts")
    parser.add_argument("--micro-batch", type=int, default=8, help="padded samples of a forward pass")
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory")
    parser.add_argument("--grow", choices=["ours", "padded"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    if arguments.grow:
        print(grow(arguments))
        return
    for num_turns in arguments.turns:
        print(json.dumps(compared(arguments, num_turns)), flush=True)
    if not arguments.no_memory and CLEAR.exists():
        num_turns = 20 if 20 in arguments.turns else arguments.turns[-1]
        ours, padded = (peak_growth(arguments, side, num_turns) for side in ("ours", "padded"))
        print(
            json.dumps(
                {
                    "turns": num_turns,
                    "ours_peak_mib": round(ours),
                    "padded_peak_mib": round(padded),
                    "ratio": round(padded / ours, 1),
                }
            )
        )


if __name__ == "__main__":
    main()
