"""One run of the study of preferences: trained from the base by `agentrl.train`, judged on prompts it has not met."""

import json
import math
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import agentrl
from agentrl.models.load import load_model
from agentrl.prompts.action import BareAction
from agentrl.records import read_trajectories, write_trajectories
from agentrl.run_directory import write_json
from agentrl.seeds import seed_of
from agentrl.segments import sum_by
from agentrl.settings import merge
from agentrl.types import Trajectory, View
from make import letters

WORLD = "make.letters:"
COMMON: Mapping[str, Any] = {
    "format": "action",
    "threads": 1,
    "validation": {"num_tasks": 0},
    "rollout": {"max_turns": 1, "max_context": 64, "max_new_tokens": 8},
    "trainer": {"checkpoint_every": 1000, "save_trajectories": False},
}
BASE: Mapping[str, Any] = {
    "env": WORLD,
    "algo": "sft",
    "model": {"name": "tiny-random"},
    "rollout": {"tasks_per_step": 128},
    "trainer": {"steps": 150, "optimiser": "muon", "muon_lr": 0.03, "lr": 0.003},
}
OFFLINE: Mapping[str, Any] = {"rollout": {"tasks_per_step": 16}, "trainer": {"steps": 40, "lr": 5e-4}}
ON_POLICY: Mapping[str, Any] = {
    "rollout": {"tasks_per_step": 8, "group_size": 8},
    "trainer": {"steps": 30, "lr": 5e-4, "minibatches": 2},
}
SAMPLES = 4
"""Of the base for every training prompt: two pairs."""
JUDGED = 2
"""Replies to every held-out prompt by which a policy is judged."""
TEMPERATURE = 0.1
"""Of labels with noise: a is preferred to b with probability sigmoid((R_a - R_b) / TEMPERATURE)."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is trained, and where its result stands."""

    part: str
    label: str
    algo: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What it has beside OFFLINE or ON_POLICY."""
    data: str = ""
    """Name of the data that it learns from; empty: it plays."""
    seed: int = 0
    strength: float | None = None
    """Of its regulariser, where the part varies it."""
    note: str = ""
    """What is set otherwise than the algorithm's default, and why."""

    @property
    def name(self) -> str:
        strength = "" if self.strength is None else f"-{self.strength:g}"
        return f"{self.label.replace(' ', '-')}{strength}-{self.seed}"


@dataclass(frozen=True)
class Study:
    """One folder of results, and what all its runs begin with."""

    out: Path
    scale: float = 1.0
    """Share of the steps and of the prompts: below 1 to try it."""

    def some(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        steps = max(1, round(self.scale * settings["trainer"]["steps"]))
        return merge(settings, {"trainer": {"steps": steps}})

    @property
    def base(self) -> Path:
        """The model that all runs start from, trained once."""
        folder = self.out / "base"
        if not folder.is_dir():
            _train(merge(COMMON, self.some(BASE)), self.out / "base-run", folder)
        return folder

    def play(self, policy: Path, split: str, repeats: int, seed: int) -> list[Trajectory]:
        """Sampled replies of a policy to the prompts of a split."""
        num = 0 if self.scale >= 1 else max(1, round(self.scale * len(letters.tasks(split))))
        asked = {"split": split, "episodes": num, "repeats": repeats, "seed": seed}
        return list(agentrl.evaluate(COMMON, env=WORLD, policy=str(policy), **asked).trajectories)

    def played(self, split: str, repeats: int) -> list[Trajectory]:
        """Samples of the base on every prompt of a split; kept."""
        file = self.out / f"{split}.jsonl.gz"
        if not file.is_file():
            write_trajectories(file, grouped(self.play(self.base, split, repeats, seed=1)))
        return read_trajectories(file)

    def data(self, name: str) -> str:
        """The file of a kind of data, made where it is not there: `true` and `proxy` are pairs, `episodes` the rest."""
        train = self.played("train", SAMPLES)
        if name == "episodes":
            return str(self.out / "train.jsonl.gz")
        file = self.out / f"{name}.jsonl"
        if not file.is_file():
            rows = scored_rows(train) if name == "true" else noisy_rows(train, "proxy")
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(file)

    def before(self) -> dict[str, Any]:
        """The base, judged as what comes of it."""
        file = self.out / "before.json"
        if not file.is_file():
            write_json(file, judged(self, self.base))
        return dict(json.loads(file.read_text(encoding="utf-8")))

    def config(self, run: Run) -> dict[str, Any]:
        """All that a run is told."""
        layers: list[Mapping[str, Any]] = [
            COMMON,
            self.some(OFFLINE if run.data else ON_POLICY),
            {"algo": run.algo, "seed": run.seed, "model": {"name": str(self.base)}},
            {"data": self.data(run.data)} if run.data else {},
            {"env": WORLD} if run.data in ("", "episodes") else {},
            {"guidance": str(self.out / "guidance")} if run.algo == "tgdpo" else {},
            run.settings,
        ]
        config: dict[str, Any] = {}
        for layer in layers:
            config = merge(config, layer)
        return config

    def result(self, run: Run) -> dict[str, Any]:
        """What a run came to: from its file where it is there."""
        file = self.out / run.part / f"{run.name}.json"
        if file.is_file():
            return dict(json.loads(file.read_text(encoding="utf-8")))
        started = time.process_time()
        folder, model = self.out / run.part / "running", self.out / run.part / "trained"
        _train(self.config(run), folder, model)
        found = judged(self, model) | {"seconds": time.process_time() - started, **described(run)}
        if run.algo == "dpo" and run.part == "objectives" and run.seed == 0:
            shutil.copytree(model, self.out / "guidance", dirs_exist_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, found)
        return found


def described(run: Run) -> dict[str, Any]:
    names = ("part", "label", "algo", "seed", "strength", "note")
    return {name: getattr(run, name) for name in names}


def _train(config: Mapping[str, Any], folder: Path, model: Path) -> None:
    """Train in `folder`, which does not stay, and leave the last weights at `model`."""
    for old in (folder, model):
        shutil.rmtree(old, ignore_errors=True)
    agentrl.train(config, run_dir=folder)
    checkpoint = next((folder / "checkpoints").glob("step-*"))
    model.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(checkpoint, model, ignore=shutil.ignore_patterns("trainer*", "optimi*"))
    shutil.rmtree(folder)


def grouped(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """The replies to a prompt as one group, numbered."""
    seen: dict[str, int] = {}
    found = []
    for trajectory in trajectories:
        number = seen[trajectory.task.id] = seen.get(trajectory.task.id, -1) + 1
        found.append(replace(trajectory, group=trajectory.task.id, rollout=number))
    return found


def pairs_of(trajectories: Sequence[Trajectory]) -> list[tuple[Trajectory, Trajectory]]:
    """First and second reply to a prompt, third and fourth, ...; those that say the same make none.

    Nor do those of which one is not six letters long, a few in a thousand: a policy that learns to say such a reply
    less unlearns to end any, which the rewards do not see.
    """
    by_task: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        by_task.setdefault(trajectory.task.id, []).append(trajectory)
    pairs = [pair for own in by_task.values() for pair in zip(own[::2], own[1::2], strict=False)]
    whole = [pair for pair in pairs if all(len(said(t).split()) == letters.LENGTH for t in pair)]
    return [(a, b) for a, b in whole if said(a) != said(b)]


def said(trajectory: Trajectory) -> str:
    return trajectory.turns[0].completion.text.strip()


def row(chosen: Trajectory, rejected: Trajectory) -> dict[str, Any]:
    """A preference as `data` reads it, its prompt written as the run writes it."""
    view = View(chosen.task, letters.instructions(), chosen.turns[0].observation)
    sides = {"chosen": chosen, "rejected": rejected}
    return {
        "prompt": BareAction().messages(view),
        **{side: [{"role": "assistant", "content": said(t)}] for side, t in sides.items()},
    }


def scored_rows(trajectories: Sequence[Trajectory], reward: str = "true") -> list[dict[str, Any]]:
    """The better of two by a reward, with both scores; ties are left out."""
    rows = []
    for pair in pairs_of(trajectories):
        worse, better = sorted(pair, key=lambda t: t.outcome.components[reward])
        low, high = (t.outcome.components[reward] for t in (worse, better))
        if low < high:
            rows.append(row(better, worse) | {"score_chosen": high, "score_rejected": low})
    return rows


def noisy_rows(trajectories: Sequence[Trajectory], reward: str) -> list[dict[str, Any]]:
    """Pairs in the order of a Bradley-Terry judge who sees a reward; the scores are 1 and 0."""
    rows = []
    for a, b in pairs_of(trajectories):
        gap = (a.outcome.components[reward] - b.outcome.components[reward]) / TEMPERATURE
        drawn = random.Random(seed_of("label", a.task.id, a.rollout)).random()
        rows.append(row(a, b) if drawn < 1 / (1 + math.exp(-gap)) else row(b, a))
    return rows


def log_probs(policy: Path, trajectories: Sequence[Trajectory]) -> list[float]:
    """Summed log-prob of each reply under a policy, nats."""
    from agentrl.config import ModelConfig, TrainerConfig
    from agentrl.trainers.batch import build_batch
    from agentrl.trainers.optimiser import Optimiser
    from agentrl.trainers.update import Updater

    module = load_model(ModelConfig(name=str(policy))).module
    batch = build_batch(list(trajectories), overlong="keep")
    numbers = Updater(module, Optimiser(module, TrainerConfig())).evaluate(batch, with_entropy=False)
    summed: list[float] = sum_by(numbers.logprob, batch.view.trajectory_of_token, len(trajectories)).tolist()
    return summed


def judged(study: Study, model: Path) -> dict[str, Any]:
    """Rewards and log-ratios to the base of sampled replies, by prompt; and whether pairs of the base are in order."""
    played, held = study.play(model, "test", JUDGED, seed=2), study.played("test", SAMPLES)
    own, base = log_probs(model, played), log_probs(study.base, played)
    found: dict[str, Any] = {"true": {}, "proxy": {}, "kl": {}}
    for trajectory, log_ratio in zip(played, (a - b for a, b in zip(own, base, strict=True)), strict=True):
        for name, value in {**trajectory.outcome.components, "kl": log_ratio}.items():
            found[name].setdefault(trajectory.task.id, []).append(value)
    worth = [a - b for a, b in zip(log_probs(model, held), log_probs(study.base, held), strict=True)]
    return found | {"in_order": in_order(held, worth)}


def in_order(trajectories: Sequence[Trajectory], worth: Sequence[float]) -> dict[str, list[float]]:
    """Prompt -> of each of its pairs that differ in true reward whether the better one is worth more."""
    of = {id(t): w for t, w in zip(trajectories, worth, strict=True)}
    found: dict[str, list[float]] = {}
    for a, b in pairs_of(trajectories):
        gap = a.outcome.components["true"] - b.outcome.components["true"]
        if gap:
            found.setdefault(a.task.id, []).append(float((of[id(a)] - of[id(b)]) * gap > 0))
    return found
