"""Whole runs with a critic: they learn, go on after a stop with the very same weights, and refuse what cannot be."""

import json
from pathlib import Path
from typing import Any

import pytest

import agentrl
from agentrl.errors import AgentRLError, ConfigError
from tests.trainers.test_resume import StopAfter
from tests.trainers.toy import final_weights, toy_settings


def settings(folder: Path, algo: str = "ppo", **changes: Any) -> dict[str, Any]:
    """The toy run with an algorithm that has a critic, and the parts that algorithm has."""
    toy = toy_settings(folder, algo=algo, validation={"num_tasks": 0})
    return toy | {"parts": {}, "settings": {}, **changes}


def critic_files(run: Path) -> dict[str, bytes]:
    record = json.loads((run / "checkpoints" / "last.json").read_text())
    folder = run / "checkpoints" / record["folder"] / "trainer" / "critic"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("critic", [{"updates": 2, "warmup_steps": 1}, {"backbone": "shared"}], ids=str)
def test_a_run_with_a_critic_that_is_stopped_ends_with_the_same_weights(tmp_path: Path, critic: dict[str, Any]) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    asked = settings(tmp_path, critic=critic)
    asked["trainer"] = asked["trainer"] | {"steps": 2, "epochs": 1}
    agentrl.train(asked, run_dir=str(straight))
    with pytest.raises(KeyboardInterrupt):
        agentrl.train(asked, run_dir=str(stopped), display=StopAfter(1))
    agentrl.train(resume=str(stopped))
    assert final_weights(stopped) == final_weights(straight)
    assert critic_files(stopped) == critic_files(straight)
    assert set(critic_files(straight)) == {"weights.safetensors", "optimiser.safetensors"}


@pytest.mark.parametrize("algo", ["ppo", "bilevel-ppo", "archer"])
def test_each_algorithm_with_a_critic_runs_and_shows_its_values(tmp_path: Path, algo: str) -> None:
    asked = settings(tmp_path, algo)
    asked["trainer"] = asked["trainer"] | {"steps": 1}
    run = agentrl.train(asked, run_dir=str(tmp_path / "run")).run_dir
    record = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    names = ("loss", "grad_norm", "value_mean", "target_mean", "explained_variance", "clip_fraction", "unread_ends")
    assert all(f"critic/{name}" in record for name in names)
    assert record["critic/grad_norm"] > 0 or record["critic/loss"] == 0


def test_a_checkpoint_without_its_critic_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):  # during the second step, after the first's checkpoint
        agentrl.train(settings(tmp_path), run_dir=str(run), display=StopAfter(2))
    next(run.glob("checkpoints/step-*/trainer/critic/weights.safetensors")).unlink()
    with pytest.raises(AgentRLError, match="weights.safetensors is not what was written"):
        agentrl.train(resume=str(run))


@pytest.mark.parametrize(
    ("algo", "parts", "message"),
    [
        ("grpo", {"advantage": "gae"}, "part 'gae' cannot stand in algorithm 'grpo': it reads a critic's values"),
        ("grpo", {"value_loss": "value-clip"}, "no advantage reads the critic's values; name one"),
        ("ppo", {"value_loss": None}, "there is no critic; add one, as parts.value_loss=value-clip"),
        ("ppo", {"returns": "outcome"}, "use parts.returns=turn-reward or last-turn-outcome"),
    ],
)
def test_a_critics_part_where_there_is_none_is_refused_before_anything_is_loaded(
    tmp_path: Path, algo: str, parts: dict[str, Any], message: str
) -> None:
    asked = settings(tmp_path, algo, parts=parts, model={"name": str(tmp_path / "nothing")})
    with pytest.raises(ConfigError, match=message):
        agentrl.train(asked, run_dir=str(tmp_path / "run"))
