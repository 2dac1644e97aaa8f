"""The update: its gradient does not depend on cuts, layouts, passes or processes, and no logits are held (R7, R8)."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from agentrl.config import TrainerConfig
from agentrl.models.head import Allowed, logprob_and_entropy
from agentrl.registry import load
from agentrl.trainers.batch import Batch, build_batch
from agentrl.trainers.composition import Composition, compose
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.ranks import Ranks
from agentrl.trainers.update import Updater, flat_gradient
from tests.models import tiny_model
from tests.trainers.episodes import random_trajectories
from tests.trainers.processes import leave_group

VOCAB = 40
SETTINGS = {"grpo": {}, "epo": {"epo": {"low": 0.9, "high": 1.1, "entropy_coef": 0.1}}}


def composition_of(algo: str) -> Composition:
    """The algorithm, with EPO's band so narrow that most turns are outside of it."""
    composition = compose(load("algorithm", algo), {}, SETTINGS[algo])
    earlier = build_batch(random_trajectories(99, vocab=VOCAB)).view
    entropy = torch.linspace(0.5, 2.5, earlier.num_tokens, dtype=torch.float64)
    composition.update(earlier.with_fields(sampled_entropy=entropy, old=entropy, entropy=entropy, current=None))
    return composition


def updater_of(dtype: torch.dtype = torch.float64, **settings: Any) -> Updater:
    module = tiny_model(VOCAB, dtype=dtype).module
    return Updater(module, Optimiser(module, TrainerConfig()), **settings)


def gradient(
    algo: str,
    *,
    seed: int = 0,
    budget: int = 10_000,
    layout: str = "episode",
    constrained: bool = False,
    shift_old: bool = True,
    dtype: torch.dtype = torch.float64,
    **settings: Any,
) -> Tensor:
    """The flat gradient of one update, off-policy by a fixed shift of the old log-probs unless `shift_old` is off."""
    updater = updater_of(dtype, micro_batch_tokens=budget, **settings)
    batch = build_batch(random_trajectories(seed, vocab=VOCAB, constrained=constrained), layout=layout)  # type: ignore[arg-type]
    composition = composition_of(algo)
    if shift_old:
        known = updater.evaluate(batch)
        shift = torch.linspace(-0.4, 0.4, batch.view.num_tokens, dtype=torch.float64)
        batch = batch.with_view(batch.view.with_fields(old=known.logprob + shift, sampled_entropy=known.entropy))
    batch = batch.with_view(composition.advantage(batch.view))
    updater.gradient(batch, composition)
    return flat_gradient(updater.module)


def relative_difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / a.abs().max())


@pytest.mark.parametrize("algo", ["grpo", "epo"])
@pytest.mark.parametrize("constrained", [False, True])
def test_a_gradient_does_not_depend_on_cut_layout_or_passes(algo: str, constrained: bool) -> None:
    for seed in range(4):
        whole = gradient(algo, seed=seed, constrained=constrained)
        assert whole.abs().max() > 0
        variants: list[dict[str, Any]] = [
            {"budget": 1},
            {"budget": 37},
            {"layout": "turn"},
            {"layout": "turn", "budget": 50},
            {"two_passes": True, "budget": 23},
            {"one_by_one": True, "two_passes": True},
        ]
        for variant in variants:
            other = gradient(algo, seed=seed, constrained=constrained, **variant)
            assert relative_difference(whole, other) < 1e-12, (seed, variant)


@pytest.mark.parametrize("algo", ["grpo", "epo"])
def test_a_float32_gradient_depends_on_the_cut_by_rounding_alone(algo: str) -> None:
    whole = gradient(algo, dtype=torch.float32, shift_old=False)
    for variant in ({"budget": 1}, {"layout": "turn"}, {"two_passes": True}):
        other = gradient(algo, dtype=torch.float32, shift_old=False, **variant)
        assert relative_difference(whole, other) < 1e-5


def test_the_gradient_is_that_of_the_loss_written_out_with_full_logits() -> None:
    updater, composition = updater_of(), composition_of("epo")
    batch = build_batch(random_trajectories(5, vocab=VOCAB))
    known = updater.evaluate(batch)
    view = batch.view.with_fields(old=known.logprob + 0.1, sampled_entropy=known.entropy)
    batch = batch.with_view(composition.advantage(view))
    updater.gradient(batch, composition)
    ours = flat_gradient(updater.module)
    updater.module.zero_grad()
    current = torch.zeros(batch.view.num_tokens, dtype=torch.float64)
    entropy = torch.zeros_like(current)
    for stretch in batch.stretches:
        logits = updater.module(input_ids=torch.tensor([stretch.ids])).logits[0].log_softmax(-1)
        rows = logits[torch.tensor(stretch.places) - 1]
        place = torch.arange(stretch.first_token, stretch.first_token + len(stretch.places))
        current = current.index_copy(0, place, rows.gather(1, batch.target[place, None])[:, 0])
        entropy = entropy.index_copy(0, place, -(rows.exp() * rows).sum(-1))
    loss, _ = composition.loss(batch.view.with_fields(current=current, entropy=entropy))
    loss.backward()  # type: ignore[no-untyped-call]
    assert relative_difference(flat_gradient(updater.module), ours) < 1e-12


class _LargestTensor(TorchDispatchMode):
    """Remembers the largest number of elements that any operation made."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for thing in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(thing, Tensor):
                self.largest = max(self.largest, thing.numel())
        return made


@pytest.mark.parametrize("algo", ["grpo", "epo"])
@pytest.mark.parametrize("two_passes", [False, True])
def test_no_tensor_ever_holds_the_logits_of_all_tokens(algo: str, two_passes: bool) -> None:
    vocab = 4000  # many more ids than anything else is wide, so that only logits come near T * V
    module = tiny_model(vocab, hidden=16).module
    updater = Updater(module, Optimiser(module, TrainerConfig()), two_passes=two_passes)
    composition = composition_of(algo)
    batch = build_batch(random_trajectories(1, vocab=VOCAB, groups=20, group_size=4))
    batch = batch.with_view(composition.advantage(batch.view))
    assert batch.view.num_tokens > 300
    with _LargestTensor() as seen:
        updater.gradient(batch, composition)
    assert seen.largest < batch.view.num_tokens * vocab * 0.9


def test_the_closed_form_head_equals_the_plain_one() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(70, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(50, 8, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(50, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 50, (70,))
    kinds = [(), (1, 2), range(20), (), range(0, 50, 2), ()]  # free, among few, among many, the only one
    rows = [sorted({int(t), *kinds[i % 6]}) if i % 6 else [] for i, t in enumerate(target)]
    allowed = Allowed(torch.tensor([i for r in rows for i in r]), torch.tensor([0] + [len(r) for r in rows]).cumsum(0))
    blocked = torch.zeros(70, 50, dtype=torch.bool)
    for i, row in enumerate(rows):
        if row:
            blocked[i] = True
            blocked[i, row] = False
    for temperature in (0.6, 1.0, 1.3):
        logits = ((hidden @ weight.T + bias) / temperature).masked_fill(blocked, -1e30).log_softmax(-1)
        plain = (logits.gather(1, target[:, None])[:, 0], -(logits.exp() * logits).sum(-1))
        ours = logprob_and_entropy(hidden, weight, bias, target, temperature=temperature, allowed=allowed, chunk=16)
        coefficient = torch.randn(2, 70, dtype=torch.float64)
        for a, b in zip(plain, ours, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        grads = [
            torch.autograd.grad((coefficient[0] * x + coefficient[1] * y).sum(), (hidden, weight, bias))
            for x, y in (plain, ours)
        ]
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def _one_of_two(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = gradient("epo", seed=3, ranks=Ranks.current(), budget=60)
    torch.save(found, Path(folder) / f"{rank}.pt")
    leave_group()


def test_two_processes_give_the_gradient_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_one_of_two, (port, str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    alone = gradient("epo", seed=3)
    for rank in (0, 1):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert relative_difference(alone, together) < 1e-12


def test_a_batch_of_some_trajectories_is_the_batch_built_of_them() -> None:
    trajectories = random_trajectories(7, vocab=VOCAB, constrained=True)
    whole = build_batch(trajectories)
    chosen = [0, 3, 4, 8]
    kept, built = whole.keep(torch.tensor(chosen)), build_batch([trajectories[i] for i in chosen])
    assert [s.ids for s in kept.stretches] == [s.ids for s in built.stretches]
    assert [s.first_token for s in kept.stretches] == [s.first_token for s in built.stretches]
    assert torch.equal(kept.target, built.target)
    for name in ("turn_of_token", "trajectory_of_turn", "turn_position", "reward", "score", "trained", "sampled"):
        assert torch.equal(getattr(kept.view, name), getattr(built.view, name)), name
    assert kept.allowed is not None and built.allowed is not None
    assert torch.equal(kept.allowed.ids, built.allowed.ids) and torch.equal(kept.allowed.starts, built.allowed.starts)


def test_failed_episodes_are_left_out_and_cut_ones_carry_no_loss_unless_asked() -> None:
    trajectories = random_trajectories(2, vocab=VOCAB, ends=("context_limit",))
    trajectories[0].ended = "world_failure"
    dropped: list[Any] = []
    masked: Batch = build_batch(trajectories, on_drop=dropped.append)
    assert dropped == [trajectories[0]] and masked.view.num_trajectories == len(trajectories) - 1
    assert not masked.view.trained.any() and masked.view.in_statistics.all() and masked.view.bootstraps.all()
    punished = build_batch(trajectories, overlong="penalise").view
    assert punished.trained.any() and punished.score.sum() == 0
    kept = build_batch(trajectories, overlong="keep").view
    assert kept.trained.any() and kept.score.sum() == sum(t.outcome.score for t in trajectories[1:])
