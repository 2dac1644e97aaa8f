"""Sampler and trainer say the same log-probs of the same weights (R4): at any temperature, masked, after updates."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import agentrl
from agentrl.config import RolloutConfig, TrainerConfig
from agentrl.envs import guess
from agentrl.memory.full import Full
from agentrl.models.load import Model
from agentrl.policies.transformers_policy import TransformersPolicy
from agentrl.prompts.action import BareAction
from agentrl.registry import load
from agentrl.runner import Job, Runner
from agentrl.trainers.batch import Batch, build_batch
from agentrl.trainers.composition import compose
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.update import Updater
from agentrl.types import Trajectory
from tests.models import tiny_model
from tests.trainers.toy import WORDS, final_weights, model_folder, toy_settings

BOUNDS = {torch.float32: (1e-6, 1e-4), torch.float64: (1e-9, 1e-9)}
"""dtype -> largest mean and largest single difference, nats."""


def rollouts(model: Model, policy: TransformersPolicy, temperature: float, constrain: str, step: int) -> Batch:
    """The batch of six episodes of `guess`, decoded together, of several turns each."""
    world = guess.Config(highest=30, admissible=True)
    rollout = RolloutConfig(
        max_turns=4, max_new_tokens=4, max_context=1024, temperature=temperature, constrain=constrain, concurrency=4
    )  # type: ignore[arg-type]

    async def run() -> list[Trajectory]:
        runner = Runner(
            guess,
            policy,
            memory=Full(),
            format=BareAction(),
            renderer=model.renderer,
            rollout=rollout,
            config=world,
            seed=1,
        )
        return await runner.run([Job(t, t.id, n, step) for t in guess.tasks("train", world)[:2] for n in range(3)])

    trajectories = asyncio.run(run())
    assert {t.source for t in trajectories} == {"sampled"} and max(len(t.turns) for t in trajectories) > 2
    assert all(turn.continues for t in trajectories for turn in t.turns[1:]), "keys and values were used again"
    return build_batch(trajectories)


def difference(updater: Updater, batch: Batch) -> tuple[float, float]:
    """Mean and largest |sampled - trainer's|, over every token that was sampled."""
    assert batch.view.sampled is not None and batch.view.num_tokens > 20
    apart = (updater.evaluate(batch, with_entropy=False).logprob - batch.view.sampled).abs()
    return float(apart.mean()), float(apart.max())


@pytest.mark.parametrize("constrain", ["none", "admissible"])
@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_sampler_and_trainer_agree_before_and_right_after_an_update(
    dtype: torch.dtype, temperature: float, constrain: str
) -> None:
    model = tiny_model(WORDS, hidden=32, dtype=dtype)
    policy = TransformersPolicy(model, slots=4, max_context=1024)
    mean, largest = BOUNDS[dtype]
    try:
        updater = Updater(model.module, Optimiser(model.module, TrainerConfig(lr=1e-2)), temperature=temperature)
        batch = rollouts(model, policy, temperature, constrain, step=0)
        assert (batch.allowed is not None) == (constrain == "admissible")
        found = difference(updater, batch)
        assert found[0] <= mean and found[1] <= largest

        composition = compose(load("algorithm", "grpo"), {"advantage": "raw-return"}, {})
        view = batch.view.with_fields(score=torch.ones_like(batch.view.score))
        updater.step(batch.with_view(composition.advantage(view)), composition, 1.0)
        stale = difference(updater, batch)
        assert stale[1] > 1e-3, "the update changed the policy"
        model.version += 1
        policy.new_weights(model.version)
        later = rollouts(model, policy, temperature, constrain, step=1)
        found = difference(updater, later)
        assert found[0] <= mean and found[1] <= largest
    finally:
        asyncio.run(policy.close())


def still_run(folder: Path, steps: int, **changes: Any) -> Path:
    """The toy run at learning rate 0, decoded in a batch."""
    settings = toy_settings(folder, trainer={"steps": steps, "lr": 0.0, "checkpoint_every": steps})
    settings["rollout"] |= {"deterministic": False, "temperature": 1.3}
    settings["validation"] = {"num_tasks": 0}
    return agentrl.train(settings | changes, run_dir=str(folder / "run")).run_dir


def hold_still(folder: Path, steps: int) -> None:
    """At learning rate 0 no weight moves by a bit, and the sampler agrees with the trainer at every step."""
    before = (model_folder(folder) / "model.safetensors").read_bytes()
    run = still_run(folder, steps)
    assert final_weights(run) == before
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == list(range(1, steps + 1))
    assert all(r["grad_norm"] > 0 for r in records), "there was something to be learned"
    assert max(r["sampler_difference/mean"] for r in records) <= 1e-6
    assert max(r["sampler_difference/max"] for r in records) <= 1e-4


def test_at_learning_rate_zero_weights_stay_and_sampler_and_trainer_agree(tmp_path: Path) -> None:
    hold_still(tmp_path, 5)


@pytest.mark.slow
def test_through_fifty_steps_at_learning_rate_zero_sampler_and_trainer_agree(tmp_path: Path) -> None:
    hold_still(tmp_path, 50)
