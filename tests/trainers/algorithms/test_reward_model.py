"""Reward models: the loss by hand, and training from a file of preferences to a folder that is a reward."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import agentrl
from agentrl.config import TrainerConfig, resolve
from agentrl.display import Silent
from agentrl.errors import ConfigError
from agentrl.eval.report import write_report
from agentrl.logged_data import read_data
from agentrl.memory.full import Full
from agentrl.model_reward import ModelReward
from agentrl.models.reward_model import HEAD_FILE, load_reward_model, read_ids
from agentrl.models.value_head import ValueModel
from agentrl.prompts.action import BareAction
from agentrl.trainers.algorithms.reward_model import (
    REWARD_MODEL,
    BradleyTerryConfig,
    calibration,
    correlation,
    judgement_metrics,
    pair_loss,
)
from agentrl.trainers.batch import build_batch
from agentrl.trainers.composition import compose
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.ranks import Ranks
from agentrl.trainers.reward_updater import Judgements, RewardUpdater
from agentrl.trainers.update import flat_gradient
from tests.builders import view_of
from tests.models import tiny_model
from tests.trainers.episodes import random_trajectories
from tests.trainers.test_resume import StopAfter
from tests.trainers.toy import model_folder

PROMPTS = ("I think of a number from 1 to 100. Ask.", "Higher.", "Lower.", "Higher. Lower.", "Lower. Higher.", "Ask.")


def scores(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, math.log(1 + math.exp(-1))),
        ({"margin_scale": 0.5}, math.log(1 + math.exp(-1 + 0.5 * 4))),
        ({"centre": 0.1}, math.log(1 + math.exp(-1)) + 0.1 * 9),
        ({"penalty": "l2", "penalty_weight": 0.2}, math.log(1 + math.exp(-1)) + 0.2 * (4 + 1)),
        (
            {"penalty": "log-barrier"},
            math.log(1 + math.exp(-1)) - 0.01 * (math.log(3) + math.log(7) + math.log(4) + math.log(6)),
        ),
        (
            {"loss": "focal", "gamma": 1},
            (1 - 2 * (1 / (1 + math.exp(-1)) - 0.5)) * math.log(1 + math.exp(-1)),
        ),
    ],
)
def test_what_a_pair_costs(settings: dict[str, Any], expected: float) -> None:
    config = BradleyTerryConfig(**settings)
    got = pair_loss(scores(2), scores(1), config, gap=scores(4))
    torch.testing.assert_close(got, scores(expected))


def test_scores_beyond_the_barrier_have_no_gradient_from_it() -> None:
    config = BradleyTerryConfig(penalty="log-barrier", penalty_weight=1.0)
    chosen = scores(9).requires_grad_()
    pair_loss(chosen, scores(-9), config).sum().backward()
    assert chosen.grad is not None and abs(float(chosen.grad)) < 1e-7


def test_a_pair_that_is_very_wrong_costs_a_finite_number() -> None:
    assert pair_loss(scores(-800), scores(800), BradleyTerryConfig()).item() == 1600


@pytest.mark.parametrize("settings", [{"centre": -1}, {"gamma": -0.1}, {"barrier": 0}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        BradleyTerryConfig(**settings)


def test_calibration_compares_what_is_likely_with_what_is_right() -> None:
    likely = math.log(0.75 / 0.25)  # sigma of it is 3/4: three of four are right
    error, pairs, right, expected = calibration(scores(likely, likely, likely, -likely))
    assert error == pytest.approx(0) and pairs.tolist() == [0, 0, 4, 0, 0] and right.tolist() == [0, 0, 3, 0, 0]
    assert expected.tolist() == pytest.approx([0, 0, 3, 0, 0])
    error, pairs, right, _ = calibration(scores(9, -9, 0))
    assert error == pytest.approx((abs(1 - 2 / (1 + math.exp(-9))) + abs(0 - 0.5)) / 3)
    assert pairs.tolist() == [1, 0, 0, 0, 2] and right.tolist() == [0, 0, 0, 0, 1], "a tie is not right"


def test_a_score_that_follows_the_length_is_seen() -> None:
    view = view_of([[[1], [2]], [[3], [4]]], judged=[1.0, 2.0, 3.0, 4.0], pairs=[[1, 0], [2, 3]])
    shown = judgement_metrics(view)
    assert shown["reward_model/length_correlation"] == pytest.approx(1)
    assert shown["reward_model/accuracy"] == 0.5 and shown["reward_model/margin"] == 0
    assert correlation(scores(1, 1), scores(1, 2)) == 0


@dataclass(frozen=True)
class OneOfTwo(Ranks):
    """A rank that exchanges nothing: what it adds up is its own share."""

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def add_all(self, tensors: Any) -> None:
        list(tensors)


def test_two_ranks_gradients_add_up_to_that_of_one() -> None:
    module = tiny_model(24, layers=1, hidden=16, dtype=torch.float64).module
    values = ValueModel(module)
    with torch.no_grad():
        values.head.weight.copy_(torch.linspace(-1, 1, 16)[None])
    composition, batch = compose(REWARD_MODEL), build_batch(random_trajectories(4, vocab=24, groups=8, group_size=4))
    batch = batch.with_view(composition.advantage(batch.view))
    found = []
    for ranks in (Ranks(), OneOfTwo(0, 2), OneOfTwo(1, 2)):
        optimiser = Optimiser(values, TrainerConfig())
        optimiser.zero_grad()
        RewardUpdater(module, optimiser, values=values, ranks=ranks).gradient(batch, composition)
        found.append(flat_gradient(values))
    assert found[1].abs().max() > 0 and found[2].abs().max() > 0
    torch.testing.assert_close(found[1] + found[2], found[0], rtol=1e-9, atol=1e-12)


def test_what_several_answers_begin_with_is_run_once_and_changes_nothing() -> None:
    trajectories = random_trajectories(6, vocab=24, groups=3, group_size=3)
    for trajectory in trajectories:  # a prompt that is long enough to be shared, the same in a group
        trajectory.turns[0].prompt_ids = [int(trajectory.group[-1]) + 5] * 20
    module = tiny_model(24, layers=2, hidden=16, dtype=torch.float64).module
    values, composition = ValueModel(module), compose(REWARD_MODEL)
    with torch.no_grad():
        values.head.weight.copy_(torch.linspace(-1, 1, 16)[None])
    batch = build_batch(trajectories)
    batch = batch.with_view(composition.advantage(batch.view))
    found = []
    for one_by_one in (True, False):
        updater = RewardUpdater(module, Optimiser(values, TrainerConfig()), values=values, one_by_one=one_by_one)
        updater.optimiser.zero_grad()
        update = updater.gradient(batch, composition)
        assert isinstance(update.numbers, Judgements)
        found.append((update.numbers.judged, flat_gradient(values)))
    for alone, shared in zip(*found, strict=True):
        torch.testing.assert_close(alone, shared, rtol=1e-9, atol=1e-12)


def preferences(folder: Path, raw: bool = False) -> Path:
    """A file in which `give up` is never the better answer.   raw: texts, not messages."""

    def said(role: str, text: str) -> Any:
        return text if raw and role == "user" else f" {text}" if raw else [{"role": role, "content": text}]

    rows = [
        {
            "prompt": said("user", prompt),
            "chosen": said("assistant", f"ask {n}"),
            "rejected": said("assistant", "give up"),
        }
        for n, prompt in enumerate(PROMPTS, 3)
    ]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "algo": "reward-model",
        "data": str(preferences(folder)),
        "model": {"name": str(model_folder(folder))},
        "rollout": {"tasks_per_step": 2},
        "trainer": {"steps": 6, "lr": 1e-2, "checkpoint_every": 1, "minibatches": 2, "epochs": 2},
        "threads": 1,
        **changes,
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged")
    return agentrl.train(settings(folder), run_dir=str(folder / "run")).run_dir


def records(run: Path, kind: str = "train") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record for record in found if record["kind"] == kind]


def test_a_file_of_preferences_makes_a_folder_that_tells_good_from_bad(run: Path) -> None:
    first, *_, last = records(run)
    assert first["loss"] < 0.75 and last["loss"] < 0.1 and last["reward_model/accuracy"] == 1
    assert last["reward_model/margin"] > 2 and last["reward_model/length_correlation"] <= 1
    assert records(run, "validation")[-1]["pair_accuracy"] == 1
    assert not any(parameter.requires_grad for parameter in load_reward_model(run).values.parameters())


@pytest.mark.parametrize("raw", [False, True])
def test_what_is_scored_later_is_read_as_it_was_learned(tmp_path: Path, raw: bool) -> None:
    file = str(preferences(tmp_path, raw))
    once = settings(tmp_path, data=file, trainer={"steps": 1})
    done = agentrl.train(once, run_dir=str(tmp_path / "run"))
    reward = ModelReward(str(done.run_dir), resolve({"env": "prompts", "env_settings": {"data": file}}))
    learned = read_data(file, memory=Full(), format=BareAction(), renderer=reward._model.model.renderer)
    assert len(learned) == 2 * len(PROMPTS)
    for trajectory in learned:
        assert read_ids(reward._written(trajectory)) == read_ids(trajectory)


def test_a_stopped_run_ends_with_the_same_reward_model(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        agentrl.train(settings(tmp_path), run_dir=str(again), display=StopAfter(3))
    agentrl.train(resume=str(again))
    one, two = (sorted((path / "checkpoints").glob("step-*"))[-1] for path in (run, again))
    for file in (HEAD_FILE, "model.safetensors"):
        assert (one / file).read_bytes() == (two / file).read_bytes()


def test_any_cut_of_the_batch_gives_the_same_run(run: Path, tmp_path: Path) -> None:
    cut = settings(tmp_path)
    cut["trainer"] = {**cut["trainer"], "micro_batch_tokens": 8, "passes": "two"}
    other = agentrl.train(cut, run_dir=str(tmp_path / "run")).run_dir
    for a, b in zip(records(run), records(other), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-3)


def test_it_goes_on_from_a_reward_model_with_its_head(run: Path, tmp_path: Path) -> None:
    on = settings(tmp_path, model={"name": str(run)})
    on["trainer"] = {"steps": 1, "lr": 0.0}
    other = agentrl.train(on, run_dir=str(tmp_path / "run")).run_dir
    assert records(other)[0]["loss"] < 0.2
    assert torch.equal(load_reward_model(other).values.head.weight, load_reward_model(run).values.head.weight)


def test_its_report_is_written(run: Path) -> None:
    assert "Calibration" in write_report(run).read_text()


def test_policies_learn_from_it_by_any_algorithm_and_both_scores_are_logged(run: Path, tmp_path: Path) -> None:
    base = {
        "env": "guess",
        "format": "action",
        "model": {"name": str(model_folder(tmp_path))},
        "rollout": {"tasks_per_step": 2, "group_size": 3, "max_turns": 2, "max_new_tokens": 3},
        "trainer": {"steps": 2, "lr": 1e-3},
        "validation": {"num_tasks": 2, "greedy": False},
        "reward": f"model:{run}",
        "threads": 1,
    }
    filtered = {"algo": "pf-ppo", "settings": {"pf-ppo": {"truth": "world"}, "kl": {"coef": 0.1}}}
    for number, algo in enumerate((filtered, {"algo": "dpo"})):
        done = agentrl.train({**base, **algo}, run_dir=str(tmp_path / f"run-{number}"), display=Silent())
        last = records(done.run_dir)[-1]
        assert last["reward/proxy"] == last["score"] and last["reward/world"] == last["success"] == 0
        assert records(done.run_dir, "validation")[-1]["reward/world"] == 0
