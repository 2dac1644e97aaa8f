"""A run's own episodes keep the log-probs that they were played with, where the model that learns has the same ids."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import agentrl
from agentrl.briefs import briefs_of
from agentrl.envs import guess
from agentrl.errors import ConfigError
from agentrl.foreign import tokenised
from agentrl.memory.full import Full
from agentrl.models.load import ModelConfig, load_model
from agentrl.prompts.action import BareAction
from agentrl.records import read_trajectories
from tests.trainers.toy import model_folder, toy_settings


def plain(folder: Path, algo: str, **changes: Any) -> dict[str, Any]:
    """The toy run of an algorithm as it stands, without validation."""
    settings = toy_settings(folder, algo=algo, validation={"num_tasks": 0}, **changes)
    return {name: value for name, value in settings.items() if name not in ("parts", "settings")}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps; the folder of its model is beside it."""
    folder = tmp_path_factory.mktemp("played")
    settings = plain(folder, "grpo", trainer={"steps": 2, "checkpoint_every": 2, "epochs": 1, "minibatches": 1})
    agentrl.train(settings, run_dir=str(folder / "run"))
    return folder


def entered(played: Path, **options: Any) -> tuple[list[Any], list[Any]]:
    """What was stored, and what is learned from."""
    renderer = load_model(ModelConfig(name=str(model_folder(played)))).renderer
    stored = [t for file in sorted((played / "run" / "trajectories").glob("*")) for t in read_trajectories(file)]
    return stored, tokenised(stored, Full(), BareAction(), renderer, briefs_of(guess, guess.Config()), **options)


def test_an_episode_stays_as_it_was_played_where_the_model_is_shown_the_same(played: Path) -> None:
    stored, kept = entered(played, as_sampled=True)
    assert kept == stored and all(turn.completion.logprobs is not None for t in kept for turn in t.turns)
    assert all(turn.completion.logprobs is None for t in entered(played)[1] for turn in t.turns)


def test_an_episode_that_this_model_would_be_shown_otherwise_has_no_log_probs(played: Path) -> None:
    renderer, briefs = (
        load_model(ModelConfig(name=str(model_folder(played)))).renderer,
        briefs_of(guess, guess.Config()),
    )
    stored, _ = entered(played)
    other = dataclasses.replace(stored[0].turns[0], prompt_ids=[*stored[0].turns[0].prompt_ids, 1])
    changed = dataclasses.replace(stored[0], turns=[other, *stored[0].turns[1:]])
    (after,) = tokenised([changed], Full(), BareAction(), renderer, briefs, as_sampled=True)
    assert [turn.completion.logprobs for turn in after.turns] == [None] * len(after.turns)


def test_mdpo_learns_off_policy_from_a_runs_episodes_and_refuses_text_from_elsewhere(played: Path) -> None:
    settings = plain(played, "mdpo-off-policy", trainer={"steps": 2, "checkpoint_every": 2})
    settings |= {"data": str(played / "run"), "parts": {"rewrites": []}}
    result = agentrl.train(settings, run_dir=str(played / "off-policy"))
    lines = (Path(result.run_dir) / "metrics.jsonl").read_text().splitlines()
    first = next(record for record in map(json.loads, lines) if record["kind"] == "train")
    assert 0 < first["mdpo/age_weight"] <= 2 and first["trained_trajectories"] > 0
    written = played / "pairs.jsonl"
    rows = [{"prompt": f"ask {number}", "chosen": "Yes.", "rejected": "Higher."} for number in range(20)]
    written.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = {"algo": "mdpo-off-policy", "data": str(written), "model": settings["model"], "trainer": {"steps": 1}}
    with pytest.raises(ConfigError, match="a run's own episodes keep theirs"):
        agentrl.train(told, run_dir=str(played / "refused"))
