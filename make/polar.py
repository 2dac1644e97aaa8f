"""POLAR in miniature: does a reward model that learned to tell policies apart, from no label at all, teach a policy?

    python make/polar.py --out runs/polar

A pool of tiny policies at different stages of training plays generated games of ALFWorld. A discriminator learns from
their episodes which two are of one policy (`polar`, pre-training), is judged on games that neither it nor the pool has
met, is tuned by preferences (`polar`, fine-tuning; with and without the pre-training), and becomes the reward of the
packaged policy: what it compares with is what the best policy of the pool did in that game. What is finished is not
done again: a second call goes on. `--scale 0.1` does a tenth of everything, to try it.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

import agentrl
from agentrl.display import Display, Silent
from agentrl.eval.report_measures import values_of_task
from agentrl.eval.statistics import bootstrap_interval, paired_difference_interval, wilson_interval
from agentrl.models.polar_form import PolarWriter
from agentrl.models.reward_model import RewardModel, load_reward_model
from agentrl.records import read_trajectories, write_trajectories
from agentrl.run_directory import write_json
from agentrl.seeds import seed_of
from agentrl.trainers.algorithms.polar import beside_reference, contrasts
from agentrl.types import Trajectory

Group = list[Trajectory]

FORM: Mapping[str, Any] = {
    "separator": "<bos>",
    "end": "<end>",
    "between": "<act>",
    "max_length": 760,
    "max_answer": 320,
    "cut": "left",
}
"""In the tiny model's own words: <bos> game <act> one episode <bos> game <act> another <end>; the last turns."""
PLAYED: Mapping[str, Any] = {
    "env": "alfworld",
    "env_settings": {"data": "generated"},
    "memory": "full",
    "format": "action",
    "threads": 1,
    "rollout": {
        "concurrency": 64,
        "max_turns": 30,
        "max_context": 1024,
        "max_new_tokens": 8,
        "constrain": "admissible",
    },
}
"""How every policy plays."""
RECIPE = Path(agentrl.__file__).parent / "models" / "tiny" / "alfworld.yaml"
"""How the packaged model learned to imitate."""
GROUPS: Mapping[str, Any] = {"tasks_per_step": 16, "group_size": 8}
LEARNING: Mapping[str, Any] = {
    "betas": [0.9, 0.95],
    "schedule": "linear",
    "warmup_steps": 3,
    "final_lr": 0.1,
    "checkpoint_every": 1000,
    "save_trajectories": False,
}
NO_VALIDATION: Mapping[str, Any] = {"num_tasks": 0}
STAGES = (20, 60, 180)
"""Steps of imitation after which a policy joins the pool."""
GAMES = 200
"""Games of training: the pool's episodes of them are what is learned from and compared with."""
LEARNER, REFERENCES = "packaged", "reinforced"
"""The policy that learns from the discriminator, and the one whose episodes are its references."""
JUDGED = "valid_unseen"
UNMET = 7
"""Panel of the games that are judged on, which nothing learns from."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", default="runs/polar", help="folder of the runs and their results")
    parser.add_argument("--seed", type=int, default=0, help="everything random follows from it")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the games and steps")
    parser.add_argument("--verbose", action="store_true", help="show each run as it trains")
    return parser.parse_args()


@dataclass(frozen=True)
class Study:
    """One call of this script."""

    out: Path
    seed: int
    scale: float
    verbose: bool

    def some(self, number: int, least: int = 2) -> int:
        return max(least, round(self.scale * number))

    def train(self, name: str, **settings: Any) -> Path:
        """A run by its name, trained to its end; one that is finished is left as it is."""
        folder = self.out / name
        if not (folder / "finished.json").is_file():
            display = Display() if self.verbose else Silent()
            if (folder / "config.yaml").is_file():
                agentrl.train(resume=folder, display=display)
            else:
                rollout = {**PLAYED["rollout"], **settings.pop("rollout", {})}
                config = {**PLAYED, "seed": self.seed, **settings, "rollout": rollout}
                agentrl.train(config, run_dir=folder, display=display)
            write_json(folder / "finished.json", {})
        return folder

    def kept(self, name: str, make: Callable[[], Sequence[Trajectory]]) -> list[Trajectory]:
        """Episodes by the name of their file; made where it is not there."""
        path = self.out / f"{name}.jsonl.gz"
        if not path.is_file():
            write_trajectories(path, make())
        return read_trajectories(path)


def pool_of(study: Study) -> dict[str, Path]:
    """Name -> folder of each policy: stages of imitation, the packaged one, and that one after reinforcement."""
    least = study.some(STAGES[0])
    steps = {f"imitation-{stage}": least * stage // STAGES[0] for stage in STAGES}
    recipe = yaml.safe_load(RECIPE.read_text())
    kept = {"steps": max(steps.values()), "checkpoint_every": least, "keep_checkpoints": 99, "save_trajectories": False}
    apprentice = study.train("imitation", **recipe | {"trainer": recipe["trainer"] | kept, "validation": NO_VALIDATION})
    found = {name: apprentice / "checkpoints" / f"step-{number:06d}" for name, number in steps.items()}
    reinforced = study.train(
        "reinforced",
        algo="grpo",
        model={"name": "tiny"},
        rollout=GROUPS,
        trainer=LEARNING | {"steps": study.some(40), "lr": 3e-3},
        validation=NO_VALIDATION,
    )
    return found | {"packaged": Path("tiny"), "reinforced": next(reinforced.glob("checkpoints/step-*"))}


def games(split: str, study: Study) -> dict[str, Any]:
    """How a split is played: other games than those of training where it is for judging."""
    own = {"num_train": study.some(GAMES, 40)} if split == "train" else {"panel": UNMET}
    return {**PLAYED, "env_settings": PLAYED["env_settings"] | own}


def answers(study: Study, pool: Mapping[str, Path], split: str, num: int, repeats: int) -> dict[str, list[Trajectory]]:
    """Each policy's sampled episodes of the same games."""

    def play(folder: Path) -> list[Trajectory]:
        played = agentrl.evaluate(
            games(split, study), policy=str(folder), split=split, episodes=num, repeats=repeats, seed=study.seed
        )
        return list(played.trajectories)

    return {name: study.kept(f"answers/{split}-{name}", lambda f=folder: play(f)) for name, folder in pool.items()}


def preferences(pool: Mapping[str, Sequence[Trajectory]], seed: int) -> list[Group]:
    """Groups for fine-tuning: of each game two won episodes and a lost one.

    Scores are the world's, and the reference's one more; games without two won and a lost episode give none.
    """
    of_task: dict[str, list[Trajectory]] = {}
    for episodes in pool.values():
        for trajectory in episodes:
            of_task.setdefault(trajectory.task.id, []).append(trajectory)
    groups = []
    for task, found in of_task.items():
        rng = random.Random(seed_of("polar-preferences", seed, task))
        right = [t for t in found if t.outcome.success]
        wrong = [t for t in found if not t.outcome.success and t.turns]
        if len(right) >= 2 and wrong:
            chosen = [*rng.sample(right, 2), rng.choice(wrong)]
            scores = (2.0, 1.0, 0.0)
            groups.append(
                [
                    replace(
                        t,
                        group=f"preference/{seed}/{task}",
                        rollout=n,
                        outcome=replace(t.outcome, score=s),
                        source="logged",
                    )
                    for n, (t, s) in enumerate(zip(chosen, scores, strict=True))
                ]
            )
    return groups


def discriminator(study: Study, name: str, groups: Sequence[Group], model: Path, laps: float) -> Path:
    """A run of `polar` on groups of three, so many times each."""
    data = f"data/{name}"
    study.kept(data, lambda: [trajectory for group in groups for trajectory in group])
    per_step = 24
    return study.train(
        name,
        algo="polar",
        data=str(study.out / f"{data}.jsonl.gz"),
        model={"name": str(model)},
        rollout={"tasks_per_step": per_step},
        trainer=LEARNING | {"steps": max(2, round(laps * len(groups) / per_step)), "lr": 5e-4},
        settings={"polar": FORM},
        validation=NO_VALIDATION,
    )


def right_of(model: RewardModel, groups: Sequence[Group]) -> dict[str, list[float]]:
    """Task -> of each of its groups whether the better candidate beside the reference has the higher score."""
    writer = PolarWriter(model.model.tokenizer, model.form.polar)
    written = [beside_reference(group, writer) for group in groups]
    scores = model.score([trajectory for group in written for trajectory in group]).reshape(-1, 2)
    found: dict[str, list[float]] = {}
    for group, (chosen, rejected) in zip(groups, scores.tolist(), strict=True):
        found.setdefault(group[0].task.id, []).append(float(chosen > rejected))
    return found


def nearer_in_turns(groups: Sequence[Group]) -> dict[str, list[float]]:
    """The same of a rule that needs no model: the candidate whose number of turns is nearer to the reference's."""
    found: dict[str, list[float]] = {}
    for reference, chosen, rejected in groups:
        near, far = (abs(len(other.turns) - len(reference.turns)) for other in (chosen, rejected))
        found.setdefault(reference.task.id, []).append(0.5 if near == far else float(near < far))
    return found


def share(of_task: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Share that is right, with a 95 % bootstrap interval over games."""
    low, high = bootstrap_interval(of_task)
    flat = [value for own in of_task.values() for value in own]
    right = sum(flat) / max(len(flat), 1)
    return {"right": right, "low": low, "high": high, "pairs": len(flat), "games": len(of_task)}


def success(policy: Path, study: Study) -> dict[str, float]:
    """Of a policy on the games that nothing has met."""
    tally = agentrl.evaluate(games(JUDGED, study), policy=str(policy), split=JUDGED, seed=study.seed).all
    low, high = wilson_interval(tally.successes, tally.episodes)
    return {"success": tally.success, "low": low, "high": high, "episodes": tally.episodes}


def won(policy: Path, study: Study) -> dict[str, list[float]]:
    """Game -> success of each of a policy's four episodes, on the games that nothing has met."""
    played = agentrl.evaluate(games(JUDGED, study), policy=str(policy), split=JUDGED, seed=study.seed + 1, repeats=4)
    return values_of_task((trajectory, float(trajectory.outcome.success)) for trajectory in played.trajectories)


def gain(before: Mapping[str, list[float]], after: Mapping[str, list[float]]) -> dict[str, float]:
    """Success, and what it is more than before, with the 95 % interval over games."""
    difference, low, high = paired_difference_interval(before, after)
    flat = [value for own in after.values() for value in own]
    return {"success": sum(flat) / len(flat), "gain": difference, "low": low, "high": high}


def taught(study: Study, name: str, policy: Path, reward: str) -> Path:
    """The learner after GRPO on a reward; empty: the world's own."""
    run = study.train(
        name,
        algo="grpo",
        env_settings=games("train", study)["env_settings"],
        model={"name": str(policy)},
        rollout=GROUPS,
        trainer=LEARNING | {"steps": study.some(30), "lr": 2e-3},
        validation=NO_VALIDATION,
        reward=reward,
        reward_settings={"references": str(study.out / f"answers/train-{REFERENCES}.jsonl.gz")} if reward else {},
    )
    return next(run.glob("checkpoints/step-*"))


def last_steps(run: Path, names: Sequence[str], of: int = 5) -> dict[str, list[float]]:
    """Means of a run's metrics over its first steps and its last ones."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    train = [record for record in records if record["kind"] == "train"]
    ends = (train[:of], train[-of:])
    return {n: [sum(r[n] for r in end) / len(end) for end in ends] for n in names if n in train[-1]}


def main() -> int:
    asked = arguments()
    study = Study(Path(asked.out), asked.seed, asked.scale, asked.verbose)
    started, seconds = time.perf_counter(), {}

    def lap(name: str) -> None:
        seconds[name] = time.perf_counter() - started - sum(seconds.values())
        print(f"{name}: {seconds[name]:.0f} s", flush=True)

    pool = pool_of(study)
    lap("pool")
    train = answers(study, pool, "train", study.some(GAMES, 40), 3)
    held = answers(study, pool, JUDGED, study.some(134, 40), 2)
    lap("answers")
    contrasted = [group for seed in range(2) for group in contrasts(train, study.seed + seed)]
    pre_trained = discriminator(study, "pre-trained", contrasted, Path("tiny"), 2)
    lap("pre-training")
    preferred = [group for seed in range(4) for group in preferences(train, study.seed + seed)]
    tuned = discriminator(study, "tuned", preferred, pre_trained, 3)
    tuned_alone = discriminator(study, "tuned-alone", preferred, Path("tiny"), 3)
    lap("fine-tuning")
    result: dict[str, Any] = {
        "pool": {name: success(folder, study) for name, folder in pool.items()},
        "groups": {"contrasts": len(contrasted), "preferences": len(preferred)},
        "told_apart": {}, "preferred": {},
    }  # fmt: skip
    unmet, unmet_preferred = contrasts(held, study.seed), preferences(held, study.seed)
    for name, run in (("pre-trained", pre_trained), ("tuned", tuned), ("tuned-alone", tuned_alone)):
        model = load_reward_model(run)
        result["told_apart"][name] = share(right_of(model, unmet))
        result["preferred"][name] = share(right_of(model, unmet_preferred))
    model = load_reward_model(pre_trained)
    of_policy = {n: [g for g in unmet if g[0].group.endswith(f"/{n}")] for n in pool}
    result["told_apart_of"] = {n: share(right_of(model, own)) for n, own in of_policy.items() if own}
    for name, groups in (("told_apart", unmet), ("preferred", unmet_preferred)):
        result[name]["nearer in turns"] = share(nearer_in_turns(groups))
    lap("judging the discriminators")
    rewards = {"pre-trained": pre_trained, "tuned": tuned}
    before = won(pool[LEARNER], study)
    result["taught"] = {"before": gain(before, before)}
    for name, reward in {**{n: f"model:{run}" for n, run in rewards.items()}, "world": ""}.items():
        policy = taught(study, f"taught-{name}", pool[LEARNER], reward)
        logged = last_steps(policy.parents[1], ("reward/proxy", "reward/world", "success", "kl/from_reference"))
        result["taught"][name] = gain(before, won(policy, study)) | {"logged": logged}
    lap("teaching")
    result["seconds"] = seconds
    write_json(study.out / "result.json", result)
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
