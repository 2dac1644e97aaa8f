"""Every registered algorithm on a small real model: what must hold of any of them, for any batch (R7, R9).

An algorithm that is registered later, by an installed package too, is tested here without a line of its own, as are
those that the environment variable AGENTRL_ALGORITHMS names as `module:ATTRIBUTE`. Batches are drawn by hypothesis, a
few in the normal run; twenty times as many: `pytest tests/trainers/algorithms --hypothesis-profile=slow`.
"""

import json
import math
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from agentrl.config import TrainerConfig
from agentrl.models.head import Probe
from agentrl.models.value_head import ValueModel
from agentrl.registry import load, names
from agentrl.trainers.batch import Batch, build_batch
from agentrl.trainers.composition import Composition, compose
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.parts.chance import token_chance, trajectory_chance, turn_chance
from agentrl.trainers.reward_updater import RewardUpdater
from agentrl.trainers.step_view import StepView
from agentrl.trainers.update import Updater, flat_gradient
from agentrl.types import Completion, Observation, Outcome, Trajectory, Turn
from tests.models import tiny_model
from tests.strategies import examples
from tests.trainers.episodes import random_trajectories

VOCAB = 24
ALGORITHMS = (*names("algorithm"), *os.environ.get("AGENTRL_ALGORITHMS", "").split())


@dataclass(frozen=True)
class Play:
    """What is played: groups of episodes of turns."""

    seed: int
    groups: int = 3
    group_size: int = 3
    max_turns: int = 3
    constrained: bool = False


@dataclass(frozen=True)
class Cut:
    """How a batch may be cut, packed, laid out and ordered."""

    micro_batch_tokens: int
    two_passes: bool = False
    one_by_one: bool = False
    layout: Literal["episode", "turn"] = "episode"
    order: int = 0
    """Seed of the order of trajectories; 0: as they were played."""


Change = Callable[[list[Trajectory]], list[Trajectory]]
PLAYS = st.builds(
    Play,
    st.integers(0, 2**31 - 1),
    groups=st.integers(1, 3),
    group_size=st.integers(1, 3),
    max_turns=st.integers(1, 3),
    constrained=st.booleans(),
)
CUTS = st.builds(
    Cut,
    st.sampled_from([1, 8, 30, 0]),
    two_passes=st.booleans(),
    one_by_one=st.booleans(),
    layout=st.sampled_from(["episode", "turn"]),
    order=st.integers(0, 999),
)


@cache
def module() -> torch.nn.Module:
    return tiny_model(VOCAB, layers=1, hidden=16, dtype=torch.float64).module


def updater(**settings: Any) -> Updater:
    module().zero_grad()
    return Updater(module(), Optimiser(module(), TrainerConfig()), **settings)


@cache
def judging() -> ValueModel:
    """The same model with a head that does not begin at 0, so that the backbone has a gradient."""
    model = ValueModel(module())
    with torch.no_grad():
        model.head.weight.copy_(torch.linspace(-1, 1, model.head.weight.numel())[None])
    return model


def learner(composition: Composition, own: Updater) -> Updater:
    """What learns: the policy's updater, or that of a reward model cut as it is."""
    if "judged" not in composition.needs:
        return own
    how = {"micro_batch_tokens": own.micro_batch_tokens, "one_by_one": own.one_by_one, "two_passes": own.two_passes}
    return RewardUpdater(own.module, own.optimiser, values=judging(), **how)


def episodes(algo: str, play: Play) -> list[Trajectory]:
    """As the algorithm meets them: of demonstrators where it learns from those, or one of them where it does both."""
    needs = compose(load("algorithm", algo)).needs
    shape = {"groups": play.groups, "group_size": play.group_size, "max_turns": play.max_turns}
    played = random_trajectories(
        play.seed, vocab=VOCAB, constrained=play.constrained, ends=("done", "turn_limit"), **shape
    )
    shown = played if "demonstrations" in needs else played[:1] if "solutions" in needs else []
    for trajectory in shown:
        trajectory.source = "demonstration"
    return [*played[:1], *played[play.group_size :]] if "solutions" in needs else played


def batch_of(algo: str, trajectories: Sequence[Trajectory], step: int = 2, **settings: Any) -> Batch:
    batch = build_batch(trajectories, step=step, num_steps=9, learning_rate=5e-4, **settings)
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
        guidance=now.logprob + token_chance(batch.view, "guidance") - 0.5,
        mismatched=trajectory_chance(batch.view, "mismatched") - 0.5,
        sampled_entropy=now.entropy,
        sampled_probes=now.probes,
    )

    def measure(view: StepView, late: Sequence[Probe]) -> Mapping[str, Tensor]:
        return updater.evaluate(batch.with_view(view), False, late).probes

    return batch.with_view(composition.advantage(view, measure))


def remembering(algo: str) -> Composition:
    """The algorithm after a step, so that what it remembers is not empty."""
    composition = compose(load("algorithm", algo))
    before = prepared(composition, batch_of(algo, episodes(algo, Play(8)), step=1), updater())
    composition.update(before.view.with_fields(current=None, entropy=before.view.sampled_entropy))
    return composition


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


def gradient(algo: str, trajectories: Sequence[Trajectory], layout: str = "episode", **settings: Any) -> Tensor:
    composition, own = remembering_once(algo), updater(**settings)
    batch = prepared(composition, batch_of(algo, trajectories, layout=layout), own)
    learner(composition, own).gradient(batch, composition)
    return flat_gradient(own.module)


def far_apart(a: Tensor, b: Tensor) -> bool:
    return float((a - b).abs().max()) > 1e-9 * float(a.abs().max()) + 1e-14


EVERY_CUT = (
    Cut(1),
    Cut(30, two_passes=True),
    Cut(0, one_by_one=True),
    Cut(0, layout="turn"),
    Cut(0, order=1),
)
"""Each way of cutting alone."""


@pytest.mark.parametrize("algo", ALGORITHMS)
@examples(2)
@given(play=PLAYS, cuts=st.tuples(CUTS))
@example(play=Play(4), cuts=EVERY_CUT)
def test_its_gradient_is_the_same_for_any_cut_any_packing_any_layout_and_any_order(
    algo: str, play: Play, cuts: tuple[Cut, ...]
) -> None:
    trajectories = episodes(algo, play)
    whole = gradient(algo, trajectories)
    assert whole.isfinite().all() and (play != Play(4) or whole.abs().max() > 0)
    for cut in cuts:
        mixed = list(trajectories)
        if cut.order:
            random.Random(cut.order).shuffle(mixed)
        how = {"two_passes": cut.two_passes, "one_by_one": cut.one_by_one}
        other = gradient(algo, mixed, cut.layout, micro_batch_tokens=cut.micro_batch_tokens, **how)
        assert not far_apart(whole, other), cut


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


DEGENERATE: Sequence[tuple[Literal["zero", "raw"], Change]] = (
    ("zero", _all_equal),
    ("zero", _alone),
    ("raw", _alone),
    ("zero", _silent),
    ("raw", _invalid),
    ("zero", _one_token),
    ("raw", _one),
)
"""What a group of one gets, and what becomes of the episodes."""
CHANGES = tuple(dict.fromkeys(change for _, change in DEGENERATE))


def each_of_them(test: Any) -> Any:
    """Every degenerate case alone, beside what is drawn."""
    for singleton, change in DEGENERATE:
        test = example(play=Play(5), changes=[change], singleton=singleton)(test)
    return test


@pytest.mark.parametrize("algo", ALGORITHMS)
@examples(3)
@given(
    play=PLAYS,
    changes=st.lists(st.sampled_from(CHANGES), unique=True, max_size=3),
    singleton=st.sampled_from(["zero", "raw"]),
)
@each_of_them
def test_nothing_is_ever_nan(algo: str, play: Play, changes: list[Change], singleton: str) -> None:
    played = episodes(algo, play)
    for change in changes:
        played = change(played)
    composition, own = remembering_once(algo), updater()
    batch = prepared(composition, batch_of(algo, played, singleton=singleton), own)
    update = learner(composition, own).gradient(batch, composition)
    assert math.isfinite(update.loss)
    assert flat_gradient(own.module).isfinite().all()
    assert batch.view.advantage is None or batch.view.advantage.isfinite().all()
    shown = composition.metrics(update.numbers.in_view(batch.view))
    assert all(map(math.isfinite, shown.values())), shown
    assert composition.gate(batch.view).shape == (batch.view.num_groups,)


@pytest.mark.parametrize("algo", ALGORITHMS)
@examples(2)
@given(plays=st.tuples(PLAYS, PLAYS))
@example(plays=(Play(12), Play(13)))
def test_its_state_saved_and_loaded_gives_the_same_next_steps(algo: str, plays: tuple[Play, Play]) -> None:
    first, second = [], []
    for found, composition in ((first, remembering(algo)), (second, remembering_once(algo))):
        for step, play in enumerate(plays, 2):
            own = updater()
            batch = prepared(composition, batch_of(algo, episodes(algo, play), step=step), own)
            learner(composition, own).gradient(batch, composition)
            composition.update(batch.view.with_fields(current=None, entropy=batch.view.sampled_entropy))
            found.append(flat_gradient(own.module))
    assert all(map(torch.equal, first, second))
