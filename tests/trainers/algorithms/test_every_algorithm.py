"""Every registered algorithm on a small real model: what must hold of any of them, for any batch (R7, R9).

An algorithm that is registered later, by an installed package too, is tested here without a line of its own, as are
those that the environment variable AGENTRL_ALGORITHMS names as `module:ATTRIBUTE`.
"""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from agentrl.config import TrainerConfig
from agentrl.models.head import Probe
from agentrl.registry import load, names
from agentrl.trainers.batch import Batch, build_batch
from agentrl.trainers.composition import Composition, compose
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.parts.chance import token_chance, trajectory_chance, turn_chance
from agentrl.trainers.step_view import StepView
from agentrl.trainers.update import Updater, flat_gradient
from agentrl.types import Completion, Observation, Outcome, Trajectory, Turn
from tests.models import tiny_model
from tests.trainers.episodes import random_trajectories

VOCAB = 24
ALGORITHMS = (*names("algorithm"), *os.environ.get("AGENTRL_ALGORITHMS", "").split())
CUTS: Mapping[str, Mapping[str, Any]] = {
    "a sequence a pass": {"micro_batch_tokens": 1},
    "two passes": {"two_passes": True, "micro_batch_tokens": 30},
    "not packed": {"one_by_one": True},
}


@cache
def module() -> torch.nn.Module:
    return tiny_model(VOCAB, layers=1, hidden=16, dtype=torch.float64).module


def updater(**settings: Any) -> Updater:
    module().zero_grad()
    return Updater(module(), Optimiser(module(), TrainerConfig()), **settings)


def episodes(algo: str, seed: int) -> list[Trajectory]:
    """As the algorithm meets them: of demonstrators where it learns from those, or one of them where it does both."""
    needs = compose(load("algorithm", algo)).needs
    played = random_trajectories(seed, vocab=VOCAB, groups=3, group_size=3, max_turns=3, ends=("done", "turn_limit"))
    shown = played if "demonstrations" in needs else played[:1] if "solutions" in needs else []
    for trajectory in shown:
        trajectory.source = "demonstration"
    return played[:1] + played[3:] if "solutions" in needs else played


def batch_of(algo: str, trajectories: Sequence[Trajectory], step: int = 2, **settings: Any) -> Batch:
    by_rollout = {(t.group, t.rollout): i for i, t in enumerate(trajectories)}
    pairs = [(a, by_rollout[g, r + 1]) for (g, r), a in sorted(by_rollout.items()) if (g, r + 1) in by_rollout]
    paired = "pairs" in compose(load("algorithm", algo)).needs
    batch = build_batch(
        trajectories, step=step, num_steps=9, learning_rate=5e-4, pairs=pairs if paired else None, **settings
    )
    return batch.with_view(critic_of(batch.view))


def critic_of(view: StepView) -> StepView:
    """Values as a critic might give: numbers that belong to a token, turn or trajectory, wherever it stands."""
    ends = trajectory_chance(view, "after") * view.bootstraps
    start, token = turn_chance(view, "start"), token_chance(view, "value")
    return view.with_fields(
        value=token, value_at_start=start, value_at_end=turn_chance(view, "end"), value_after=ends, current_value=token
    ).with_fields(current_value_at_start=start)


def prepared(composition: Composition, batch: Batch, updater: Updater) -> Batch:
    """As the loop does it, a little off-policy: log-probs of the rollout differ by what belongs to the token."""
    now = updater.evaluate(batch, True, composition.every_probe)
    apart = 0.5 * (token_chance(batch.view, "old") - 0.5)
    view = batch.view.with_fields(
        old=now.logprob + apart,
        reference=now.logprob + token_chance(batch.view, "reference") - 0.5,
        sampled_entropy=now.entropy,
        sampled_probes=now.probes,
    )

    def measure(view: StepView, late: Sequence[Probe]) -> Mapping[str, Tensor]:
        return updater.evaluate(batch.with_view(view), False, late).probes

    return batch.with_view(composition.advantage(view, measure))


def remembering(algo: str) -> Composition:
    """The algorithm after a step, so that what it remembers is not empty."""
    composition = compose(load("algorithm", algo))
    before = prepared(composition, batch_of(algo, episodes(algo, 8), step=1), updater())
    composition.update(before.view.with_fields(current=None, entropy=before.view.sampled_entropy))
    return composition


def gradient(algo: str, trajectories: Sequence[Trajectory], layout: str = "episode", **settings: Any) -> Tensor:
    composition, own = remembering(algo), updater(**settings)
    batch = prepared(composition, batch_of(algo, trajectories, layout=layout), own)
    own.gradient(batch, composition)
    return flat_gradient(own.module)


def relative_difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / a.abs().max().clamp(min=1e-12))


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_its_gradient_is_the_same_for_any_cut_any_packing_any_layout_and_any_order(algo: str) -> None:
    trajectories = episodes(algo, 4)
    whole = gradient(algo, trajectories)
    assert whole.isfinite().all() and whole.abs().max() > 0
    for name, settings in CUTS.items():
        assert relative_difference(whole, gradient(algo, trajectories, **settings)) < 1e-9, name
    assert relative_difference(whole, gradient(algo, trajectories, layout="turn")) < 1e-9, "a sequence a turn"
    mixed = [*trajectories[1::2], *trajectories[::-2]]
    mixed = [t for i, t in enumerate(mixed) if not any(t is other for other in mixed[:i])]
    assert sorted(map(id, mixed)) == sorted(map(id, trajectories))
    assert relative_difference(whole, gradient(algo, mixed)) < 1e-9, "another order"


def _all_equal(played: list[Trajectory]) -> list[Trajectory]:
    return [replace(t, outcome=Outcome(True, 1.0), turns=[replace(u, reward=0.0) for u in t.turns]) for t in played]


def _alone(played: list[Trajectory]) -> list[Trajectory]:
    return [replace(t, group=f"alone/{i}") for i, t in enumerate(played)]


def _silent(played: list[Trajectory]) -> list[Trajectory]:
    """Every second turn has no token."""
    empty = Completion("", [], logprobs=[])
    return [
        replace(t, turns=[replace(u, completion=empty) if i % 2 else u for i, u in enumerate(t.turns)]) for t in played
    ]


def _invalid(played: list[Trajectory]) -> list[Trajectory]:
    """No reply of the first group was readable, and those of the second were all cut off."""
    turned = [
        replace(t, turns=[replace(u, readable=False, valid=False) for u in t.turns])
        if t.group == played[0].group
        else t
        for t in played
    ]
    return [replace(t, ended="context_limit") if t.group == played[-1].group else t for t in turned]


def _one_token(played: list[Trajectory]) -> list[Trajectory]:
    """One turn of one token, whoever plays: what single-turn papers forget."""
    said = Completion("", [7], logprobs=[-1.0], versions=[0])
    turn = Turn(0, Observation("seen"), [5, 6], False, said, "a", True, True, 0.0)
    return [replace(t, turns=[turn]) for t in played]


def _one(played: list[Trajectory]) -> list[Trajectory]:
    return played[:1]


DEGENERATE: Sequence[tuple[str, Callable[[list[Trajectory]], list[Trajectory]]]] = (
    ("zero", _all_equal),
    ("zero", _alone),
    ("raw", _alone),
    ("zero", _silent),
    ("raw", _invalid),
    ("zero", _one_token),
    ("raw", _one),
)
"""What a group of one gets, and what becomes of the episodes."""


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_nothing_is_ever_nan(algo: str) -> None:
    for singleton, change in DEGENERATE:
        composition, own = remembering_once(algo), updater()
        batch = prepared(composition, batch_of(algo, change(episodes(algo, 5)), singleton=singleton), own)
        update = own.gradient(batch, composition)
        assert math.isfinite(update.loss), change
        assert flat_gradient(own.module).isfinite().all(), change
        assert batch.view.advantage is None or batch.view.advantage.isfinite().all(), change
        shown = composition.metrics(update.numbers.in_view(batch.view))
        assert all(map(math.isfinite, shown.values())), (change, shown)
        assert composition.gate(batch.view).shape == (batch.view.num_groups,)


@cache
def _state_after_a_step(algo: str) -> str:
    return json.dumps({name: state.state_dict() for name, state in remembering(algo).states().items()})


def remembering_once(algo: str) -> Composition:
    """The same as `remembering`, from its state as a checkpoint holds it."""
    composition = compose(load("algorithm", algo))
    stored = json.loads(_state_after_a_step(algo))
    for name, state in composition.states().items():
        state.load_state_dict(stored[name])
    return composition


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_its_state_saved_and_loaded_gives_the_same_next_steps(algo: str) -> None:
    found = []
    for composition in (remembering(algo), remembering_once(algo)):
        for step in (2, 3):
            own = updater()
            batch = prepared(composition, batch_of(algo, episodes(algo, 10 + step), step=step), own)
            own.gradient(batch, composition)
            composition.update(batch.view.with_fields(current=None, entropy=batch.view.sampled_entropy))
            found.append(flat_gradient(own.module))
    assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[3])
