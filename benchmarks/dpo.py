"""One step of DPO: ours against TRL's `DPOTrainer`, on the same model, pairs and thread, in one process. Ratios.

    python benchmarks/dpo.py                          a vocabulary of 2,048, then of 32,000; peak memory of the first
    python benchmarks/dpo.py --vocabulary 2048 --no-memory

Pairs have prompts of 64 to 192 tokens and answers of log-normal length (mean 128), so that padding costs what it costs.
Both sides run the policy and a frozen reference at every step; timed is a step without the optimiser's own, which
is the same for both. Their losses and gradients are compared before anything is printed; with `--double` in double
precision, where little but the mathematics can differ. The two take turns, and the ratio is the median of those of the
steps, by processor time. `compact` is TRL with its head over the answers' positions alone, which it does by itself on a
GPU.

Peak memory is measured in a process a side: growth of the resident set over two steps (Linux).
Goals: 4 times as fast as TRL ships on a CPU, 2.7 times with `compact` at a vocabulary of 32,000.
"""

import argparse
import copy
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}

import torch
from random_model import CLEAR, peak, random_model, resident
from transformers import PreTrainedTokenizerFast, TrainerCallback

from agentrl.config import TrainerConfig
from agentrl.registry import load
from agentrl.trainers.batch import build_batch
from agentrl.trainers.composition import compose
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.update import Updater, flat_gradient
from agentrl.types import Completion, Observation, Outcome, Task, Trajectory, Turn

END, PROMPT, ANSWER, BETA = 2, 128, 128, 0.1
Pair = tuple[list[int], list[int], list[int]]
"""Ids of a prompt, of the chosen and of the rejected answer, ends included."""


def dpo_model(vocabulary: int, arguments: argparse.Namespace) -> torch.nn.Module:
    """What both sides train."""
    ends = {"eos_token_id": END, "pad_token_id": 0}
    module = random_model(vocabulary, arguments.layers, arguments.hidden, initializer_range=0.05, **ends)
    return module.double() if arguments.double else module


def random_pairs(num: int, vocabulary: int, seed: int) -> list[Pair]:
    """Pairs of uneven length."""
    chance = random.Random(seed)

    def words(num: int) -> list[int]:
        return [chance.randrange(3, vocabulary) for _ in range(num)]

    def answer() -> list[int]:
        return [*words(max(4, min(4 * ANSWER, int(ANSWER * chance.lognormvariate(-0.32, 0.8))))), END]

    return [(words(chance.randrange(PROMPT // 2, PROMPT * 3 // 2)), answer(), answer()) for _ in range(num)]


class Ours:
    """A step as the trainer makes it, the reference's pass included."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.updater = Updater(module, Optimiser(module, TrainerConfig(max_grad_norm=0)))
        self.frozen = replace(self.updater, module=copy.deepcopy(module).requires_grad_(False))
        self.dpo = compose(load("algorithm", "dpo"), {}, {"preference": {"beta": BETA}})

    def gradient(self, pairs: list[Pair]) -> float:
        batch = build_batch([t for number, pair in enumerate(pairs) for t in _trajectories(number, pair)])
        reference = self.frozen.evaluate(batch, with_entropy=False).logprob
        view = self.dpo.advantage(batch.view.with_fields(reference=reference))
        return self.updater.gradient(batch.with_view(view), self.dpo).loss


def _trajectories(number: int, pair: Pair) -> list[Trajectory]:
    """The two sides of a pair as a group."""
    prompt, *answers = pair
    task, found = Task("none", str(number), "train", number), []
    for side, ids in enumerate(answers):
        turn = Turn(0, Observation(""), prompt, False, Completion("", ids), "", True, True, 0.0)
        outcome = Outcome(side == 0, 1.0 - side)
        found.append(Trajectory(task, str(number), side, [turn], None, outcome, "done", source="logged"))
    return found


class Clock(TrainerCallback):
    """Times TRL's steps up to the optimiser's own, keeps its gradients, and lets another side go in between."""

    def __init__(self, between: Callable[[], None]) -> None:
        self.between, self.seconds = between, list[float]()
        self.gradient = torch.zeros(0)
        self.losses: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.begin = time.process_time()

    def on_pre_optimizer_step(self, *_: Any, model: torch.nn.Module, **__: Any) -> None:
        self.seconds.append(time.process_time() - self.begin)
        self.gradient = flat_gradient(model)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.between()

    def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])


def trl_trainer(module: torch.nn.Module, steps: list[list[Pair]], clock: Clock, compact: bool) -> Any:
    """TRL's trainer over these batches in their order, as it ships but for what would make the two sides differ."""
    import trl
    import trl.trainer.utils
    from datasets import Dataset
    from torch.utils.data import SequentialSampler

    trl.trainer.utils._use_triton = lambda device: compact or device.type == "cuda"
    rows = [_as_text(pair) for batch in steps for pair in batch]
    config = trl.DPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=len(steps[0]),
        max_steps=len(steps),
        learning_rate=0.0,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        beta=BETA,
        max_length=None,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
    )
    trainer = trl.DPOTrainer(
        model=module,
        ref_model=copy.deepcopy(module),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=_tokenizer(module),
        callbacks=[clock],
    )
    trainer._get_train_sampler = lambda dataset=None: SequentialSampler(trainer.train_dataset)
    trainer.log = lambda logs, *_: clock.on_log(logs=logs)  # nothing is printed
    return trainer


def _as_text(pair: Pair) -> dict[str, str]:
    """TRL adds the end itself."""
    prompt, chosen, rejected = (" ".join(f"w{i}" for i in ids if i != END) for ids in pair)
    return {"prompt": prompt + " ", "chosen": chosen, "rejected": rejected}


def _tokenizer(module: Any) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<pad>": 0, "<unk>": 1, "<end>": END} | {f"w{i}": i for i in range(3, module.config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")


def compared(arguments: argparse.Namespace, vocabulary: int, num: int, compact: bool) -> dict[str, Any]:
    """Both sides on the same pairs, turn and turn about.   Raises RuntimeError where they do not agree."""
    module = dpo_model(vocabulary, arguments)
    ours, batches = Ours(copy.deepcopy(module)), _batches(arguments, vocabulary, num)
    seconds: list[float] = []
    apart: list[tuple[float, float]] = []

    def between() -> None:
        ours.updater.optimiser.zero_grad()
        begin = time.process_time()
        loss = ours.gradient(batches[len(seconds)])
        seconds.append(time.process_time() - begin)
        own, other = flat_gradient(ours.updater.module), clock.gradient
        apart.append((loss, float((own - other).norm() / other.norm())))

    clock = Clock(between)
    trl_trainer(module, batches, clock, compact).train()
    by_gradient = max(gradient for _, gradient in apart)
    by_loss = max(abs(loss - other) for (loss, _), other in zip(apart, clock.losses, strict=False))
    if not (by_gradient < 1e-4 and by_loss < 1e-4):
        raise RuntimeError(f"losses differ by {by_loss:.1e}, gradients by {by_gradient:.1e}: nothing can be compared")
    timed = [(other, own) for other, own in zip(clock.seconds, seconds, strict=True)][1:]
    return {
        "vocabulary": vocabulary,
        "pairs": num,
        "precision": "double" if arguments.double else "single",
        "peer": "trl, compact head" if compact else "trl as it ships",
        "losses_differ_by": float(f"{by_loss:.1e}"),
        "gradients_differ_by": float(f"{by_gradient:.1e}"),
        "ours_seconds": round(statistics.median(own for _, own in timed), 3),
        "trl_seconds": round(statistics.median(other for other, _ in timed), 3),
        "ratio": round(statistics.median(other / own for other, own in timed), 1),
    }


def _batches(arguments: argparse.Namespace, vocabulary: int, num: int) -> list[list[Pair]]:
    """One to warm up, and those that are timed."""
    return [random_pairs(num, vocabulary, seed) for seed in range(arguments.repeats + 1)]


def peak_growth(arguments: argparse.Namespace, side: str, vocabulary: int, num: int) -> float:
    """MiB by which a process of its own grows in two steps of one side."""
    command = [sys.executable, __file__, "--grow", side, "--vocabulary", str(vocabulary), "--pairs", str(num)]
    for name in ("layers", "hidden", "threads"):
        command += [f"--{name}", str(getattr(arguments, name))]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return float(lines[-1])


def grow(arguments: argparse.Namespace) -> float:
    """What the process that `peak_growth` starts does."""
    module = dpo_model(arguments.vocabulary[0], arguments)
    batches = [random_pairs(arguments.pairs, arguments.vocabulary[0], seed) for seed in range(2)]
    if arguments.grow == "ours":
        ours = Ours(module)
        before = resident()
        for batch in batches:
            ours.updater.optimiser.zero_grad()
            ours.gradient(batch)
    else:
        trainer = trl_trainer(module, batches, Clock(lambda: None), compact=False)
        before = resident()
        trainer.train()
    return peak() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[2048, 32000])
    parser.add_argument("--pairs", type=int, default=0, help="a step; 0: 8, and 4 where the vocabulary is large")
    parser.add_argument("--repeats", type=int, default=3, help="timed steps of each side")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--double", action="store_true", help="compare in double precision; times tell little then")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory")
    parser.add_argument("--grow", choices=["ours", "trl"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    if arguments.grow:
        print(grow(arguments))
        return
    for vocabulary in arguments.vocabulary:
        num = arguments.pairs or (8 if vocabulary < 10_000 else 4)
        for compact in (False, True):
            print(json.dumps(compared(arguments, vocabulary, num, compact)), flush=True)
    if not arguments.no_memory and CLEAR.exists():
        vocabulary, num = arguments.vocabulary[0], arguments.pairs or 8
        ours, other = (peak_growth(arguments, side, vocabulary, num) for side in ("ours", "trl"))
        row = {"vocabulary": vocabulary, "ours_peak_mib": round(ours), "trl_peak_mib": round(other)}
        print(json.dumps(row | {"ratio": round(other / ours, 1)}))


if __name__ == "__main__":
    main()
