"""POLAR: what is compared with what, and training from triples to a reward that compares."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import agentrl
from agentrl.models.polar_form import PolarForm, PolarWriter
from agentrl.models.reward_model import load_reward_model, read_ids
from agentrl.records import write_trajectories
from agentrl.trainers.algorithms.polar import beside_reference, contrasts
from agentrl.types import Outcome
from tests.core.test_reward_model import episode
from tests.models import tiny_model
from tests.trainers.algorithms.test_reward_model import PROMPTS, records
from tests.trainers.toy import WORDS, model_folder

FORM = PolarForm(separator="<act>", end="<end>", between=" ")
SEPARATORS = {"separator": "<act>", "end": "<end>"}


@pytest.fixture(scope="module")
def writer() -> PolarWriter:
    return PolarWriter(tiny_model(WORDS, hidden=32).tokenizer, FORM)


def scored(said: str, score: float, **fields: Any) -> Any:
    return replace(episode(("Ask.", said)), outcome=Outcome(False, score), **fields)


def texts(writer: PolarWriter, group: list[Any]) -> list[str]:
    return [writer.tokenizer.decode(read_ids(trajectory)) for trajectory in group]


def test_the_best_of_a_group_is_the_reference_of_the_others(writer: PolarWriter) -> None:
    group = [scored("ask 1", 0.0), scored("ask 3", 2.0), scored("ask 2", 1.0)]
    assert texts(writer, beside_reference(group, writer)) == [
        "Ask. ask 3 <act> Ask. ask 1 <end>",
        "Ask. ask 3 <act> Ask. ask 2 <end>",
    ]
    assert [t.outcome.score for t in beside_reference(group, writer)] == [0.0, 1.0]


def test_a_demonstration_comes_before_the_best_and_a_reference_of_the_data_before_all(writer: PolarWriter) -> None:
    group = [
        scored("ask 3", 2.0),
        scored("ask 4", 0.0, source="demonstration"),
        scored("ask 1", 0.0, reference="ask 9"),
    ]
    assert texts(writer, beside_reference(group, writer)) == [
        "Ask. ask 9 <act> Ask. ask 1 <end>",
        "Ask. ask 4 <act> Ask. ask 3 <end>",
    ]


def test_a_group_of_one_has_no_candidate(writer: PolarWriter) -> None:
    assert beside_reference([scored("ask 1", 1.0)], writer) == []
    assert beside_reference([], writer) == []


def test_pre_training_takes_two_answers_of_one_policy_and_one_of_another() -> None:
    pool = {
        name: [replace(episode(("Ask.", f"{name} {n}"), task=task), rollout=n) for task in ("s", "t") for n in range(3)]
        for name in ("ask", "give", "think")
    }
    pool["alone"] = [episode(("Ask.", "once"), task="s"), episode(("Ask.", "other"), task="nobody else's")]
    groups = contrasts(pool, seed=1)
    assert len(groups) == 6 and len({group[0].group for group in groups}) == 6
    for group in groups:
        said = [t.turns[0].completion.text for t in group]
        policies = [text.split()[0] for text in said]
        assert policies[0] == policies[1] != policies[2] and said[0] != said[1]
        assert [t.outcome.score for t in group] == [2.0, 1.0, 0.0]
        assert len({t.task.id for t in group}) == 1 and {t.source for t in group} == {"logged"}
    assert groups == contrasts(pool, seed=1) and groups != contrasts(pool, seed=2)


def test_candidates_that_say_the_same_tell_nothing() -> None:
    pool = {name: [episode(("Ask.", "ask 1")), episode(("Ask.", "ask 1"))] for name in ("one", "other")}
    assert contrasts(pool) == []


def triples(folder: Path) -> Path:
    rows = [
        {"prompt": prompt, "reference": f"ask {n}", "chosen": f" ask {n + 1}", "rejected": " give up"}
        for n, prompt in enumerate(PROMPTS, 3)
    ]
    path = folder / "triples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(folder: Path, data: Path, **changes: Any) -> dict[str, Any]:
    return {
        "algo": "polar",
        "data": str(data),
        "model": {"name": str(model_folder(folder))},
        "rollout": {"tasks_per_step": 3},
        "trainer": {"steps": 8, "lr": 1e-2, "minibatches": 2},
        "settings": {"polar": SEPARATORS},
        "threads": 1,
        **changes,
    }


def test_rows_with_a_reference_make_a_reward_that_compares(tmp_path: Path) -> None:
    run = agentrl.train(settings(tmp_path, triples(tmp_path)), run_dir=str(tmp_path / "run")).run_dir
    last = records(run)[-1]
    assert last["reward_model/accuracy"] == 1 and last["loss"] < 0.3
    assert records(run, "validation")[-1]["pair_accuracy"] == 1
    form = load_reward_model(run).form
    assert form.form == "polar" and form.polar.separator == "<act>"
    policy = {
        "env": "guess",
        "format": "action",
        "model": {"name": str(model_folder(tmp_path))},
        "rollout": {"tasks_per_step": 2, "group_size": 2, "max_turns": 2, "max_new_tokens": 3},
        "trainer": {"steps": 1},
        "validation": {"num_tasks": 0},
        "reward": f"model:{run}",
        "threads": 1,
    }
    done = agentrl.train(policy, run_dir=str(tmp_path / "policy"))
    assert math.isfinite(records(done.run_dir)[-1]["reward/proxy"])
    assert records(done.run_dir)[-1]["infrastructure_failures"] == 0


def test_groups_of_three_make_pairs_of_two_beside_the_best(tmp_path: Path) -> None:
    """As a pool's contrasts are stored: the best is nobody's candidate, so that each group gives one pair."""
    from agentrl.envs import guess

    tasks = guess.tasks("train")[:4]
    pool = {
        name: [
            replace(episode(("Ask.", said)), task=task, group=task.id, rollout=n) for task in tasks for n in range(2)
        ]
        for name, said in (("good", "ask 50"), ("bad", "give up"))
    }
    groups = contrasts(pool)
    write_trajectories(tmp_path / "contrasts.jsonl.gz", [t for group in groups for t in group])
    run = settings(tmp_path, tmp_path / "contrasts.jsonl.gz", env="guess", format="action")
    run["trainer"] = {"steps": 1}
    run["rollout"] = {"tasks_per_step": 4}
    shown = records(agentrl.train(run, run_dir=str(tmp_path / "run")).run_dir)[-1]
    assert shown["pairs/per_group"] == 1 and shown["pairs/groups_without_pair"] == 0
    assert shown["loss"] == pytest.approx(math.log(2))
