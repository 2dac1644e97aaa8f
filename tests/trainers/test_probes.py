"""Probes: what they read is right, their slopes are gradients, and the update drives them however the batch is cut."""

from typing import Any

import pytest
import torch
from torch import Tensor

from agentrl.config import TrainerConfig
from agentrl.errors import ConfigError
from agentrl.models.head import Allowed, Chunk, Probe, token_numbers
from agentrl.trainers.algorithm import Part
from agentrl.trainers.algorithms.grpo import GRPO
from agentrl.trainers.batch import build_batch
from agentrl.trainers.composition import Composition, compose
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.parts.probes import SUM_OF_SQUARES, curvature_probe, min_p_probe
from agentrl.trainers.step_view import StepView, Term
from agentrl.trainers.update import Updater, flat_gradient
from tests.models import tiny_model
from tests.trainers.episodes import random_trajectories
from tests.trainers.test_update import VOCAB, _LargestTensor, relative_difference

PROXY = min_p_probe(0.1, True)


def _proxy_term(view: StepView, config: None, state: None) -> Term:
    """A term that mixes a probe of now with one of the rollout's version."""
    return Term(view.probes["proxy-kl"] * (1 + view.sampled_probes["sum-of-squares"]), weight=0.7)


def composition_with_probes(couples: str = "token") -> Composition:
    part = Part(
        name="proxy-term",
        kind="regulariser",
        bind=_proxy_term,
        probes=(PROXY,),
        sampled_probes=(SUM_OF_SQUARES,),
        couples=couples,  # type: ignore[arg-type]
    )
    return compose(GRPO, {"regularisers": [part]})


def head(vocab: int = 50, tokens: int = 30, width: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=random, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(vocab, width, generator=random, dtype=torch.float64, requires_grad=True)
    return hidden, weight, torch.randint(0, vocab, (tokens,), generator=random)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("masked", [False, True])
def test_a_probes_slope_is_the_gradient_of_the_divergence_from_a_fixed_proxy(temperature: float, masked: bool) -> None:
    hidden, weight, target = head()
    rows = [sorted({int(t), 1, 2, 7}) if masked and i % 2 else [] for i, t in enumerate(target)]
    allowed = Allowed(
        torch.tensor([i for r in rows for i in r], dtype=torch.int64), torch.tensor([0, *map(len, rows)]).cumsum(0)
    )
    blocked = torch.zeros(len(target), len(weight), dtype=torch.bool)
    for i, row in enumerate(rows):
        if row:
            blocked[i] = True
            blocked[i, row] = False
    numbers = token_numbers(
        hidden, weight, None, target, temperature=temperature, allowed=allowed, probes=(SUM_OF_SQUARES, PROXY), chunk=7
    )
    logp = ((hidden @ weight.T) / temperature).masked_fill(blocked, -1e30).log_softmax(-1)
    pi = logp.exp()
    keep = (pi >= 0.1 * pi.amax(-1, keepdim=True)).detach()
    proxy = (pi * keep / (pi * keep).sum(-1, keepdim=True)).detach()
    divergence = torch.where(keep, proxy * (proxy.clamp(min=1e-300).log() - logp), 0).sum(-1)
    torch.testing.assert_close(numbers[2], pi.square().sum(-1))
    torch.testing.assert_close(numbers[3], keep.gather(1, target[:, None])[:, 0].double())
    torch.testing.assert_close(numbers[4], divergence)
    coefficient = torch.linspace(-1, 2, len(target), dtype=torch.float64)
    entropy = -(pi * logp).sum(-1)
    plain = (coefficient * (divergence + logp.gather(1, target[:, None])[:, 0] - 0.3 * entropy)).sum()
    ours = (coefficient * (numbers[4] + numbers[0] - 0.3 * numbers[1] + numbers[2] * 5)).sum()  # squares: no slope
    for a, b in zip(*(torch.autograd.grad(loss, (hidden, weight)) for loss in (plain, ours)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_the_kept_mass_is_that_of_the_worked_example() -> None:
    logp = torch.tensor([[0.5, 0.3, 0.15, 0.04, 0.01]], dtype=torch.float64).log()
    for target, kept in ((0, 1.0), (2, 1.0), (3, 0.0), (4, 0.0)):
        keeps, divergence = PROXY.measure(Chunk(logp, logp, torch.tensor([target])), *PROXY.settings)
        assert keeps.item() == kept
        assert divergence.item() == pytest.approx(0.0512933, abs=1e-7)
    everything, none = min_p_probe(0.9, False).measure(Chunk(logp, logp, torch.tensor([0])), 0.9, False)
    assert everything.item() == 1 and none.item() == pytest.approx(0, abs=1e-12)  # a filter that keeps nothing is none


@pytest.mark.parametrize("top_k", [0, 3])
def test_the_curvature_numbers_are_those_of_the_score_vector_written_out(top_k: int) -> None:
    random = torch.Generator().manual_seed(1)
    logp = torch.randn(20, 9, generator=random, dtype=torch.float64).log_softmax(-1)
    hidden = torch.randn(20, 4, generator=random, dtype=torch.float64)
    target = torch.randint(0, 9, (20,), generator=random)
    z, s, phi = curvature_probe(top_k).measure(Chunk(logp, hidden, target), top_k, True)
    for n in range(20):
        ids = list(range(9)) if top_k == 0 else logp[n].topk(top_k).indices.tolist()
        if int(target[n]) not in ids:
            ids.append(int(target[n]))
        pi = logp[n, ids].exp() / logp[n, ids].exp().sum()
        v = torch.tensor([float(i == int(target[n])) for i in ids], dtype=torch.float64) - pi
        expected = (hidden[n].square().sum(), v.square().sum(), (pi * v * v).sum() - (pi * v).sum() ** 2)
        for got, want in zip((z[n], s[n], phi[n]), expected, strict=True):
            torch.testing.assert_close(got, want)


def gradient(couples: str = "token", *, seed: int = 0, layout: str = "episode", **settings: Any) -> Tensor:
    module = tiny_model(VOCAB, dtype=torch.float64).module
    updater = Updater(module, Optimiser(module, TrainerConfig()), **settings)
    batch = build_batch(random_trajectories(seed, vocab=VOCAB, constrained=seed % 2 == 1), layout=layout)  # type: ignore[arg-type]
    composition = composition_with_probes(couples)
    known = updater.evaluate(batch, probes=composition.sampled_probes)
    view = batch.view.with_fields(old=known.logprob, sampled_probes=known.probes)
    updater.gradient(batch.with_view(composition.advantage(view)), composition)
    return flat_gradient(module)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_gradient_of_a_probe_does_not_depend_on_cut_layout_or_passes(seed: int) -> None:
    whole = gradient(seed=seed)
    variants: list[dict[str, Any]] = [
        {"micro_batch_tokens": 1},
        {"layout": "turn", "micro_batch_tokens": 40},
        {"two_passes": True, "micro_batch_tokens": 23},
        {"couples": "batch", "one_by_one": True},
        {"temperature": 1.0, "two_passes": True},
    ]
    for variant in variants:
        assert relative_difference(whole, gradient(seed=seed, **variant)) < 1e-12, variant
    assert relative_difference(whole, gradient(seed=seed, temperature=0.8)) > 1e-3


@pytest.mark.parametrize("two_passes", [False, True])
def test_no_tensor_ever_holds_the_logits_of_all_tokens_with_probes_either(two_passes: bool) -> None:
    module = tiny_model(4000, hidden=16).module
    updater = Updater(module, Optimiser(module, TrainerConfig()), two_passes=two_passes)
    composition = composition_with_probes()
    batch = build_batch(random_trajectories(1, vocab=VOCAB, groups=20, group_size=4))
    with _LargestTensor() as seen:
        known = updater.evaluate(batch, probes=(*composition.sampled_probes, curvature_probe(0), curvature_probe(50)))
        view = batch.view.with_fields(old=known.logprob, sampled_probes=known.probes)
        updater.gradient(batch.with_view(composition.advantage(view)), composition)
    assert seen.largest < batch.view.num_tokens * 4000 * 0.9


def test_a_probe_is_measured_only_where_a_part_declares_it() -> None:
    def never(seen: Chunk) -> tuple[Tensor]:
        raise AssertionError("measured without a part that asked")

    idle = Part(
        name="idle",
        kind="regulariser",
        bind=_proxy_term,
        probes=(Probe(("never",), never),),
        active=lambda config: False,
    )
    assert compose(GRPO, {"regularisers": [idle]}).probes == ()
    assert compose(GRPO).probes == () and compose(GRPO).sampled_probes == ()


def test_two_parts_that_read_one_number_in_two_ways_are_refused_and_in_one_way_share_it() -> None:
    def part(name: str, probe: Probe) -> Part:
        return Part(name=name, kind="regulariser", bind=_proxy_term, probes=(probe,))

    shared = compose(GRPO, {"regularisers": [part("a", PROXY), part("b", min_p_probe(0.1, True))]})
    assert shared.probes == (PROXY,)
    with pytest.raises(ConfigError, match="proxy-keeps"):
        compose(GRPO, {"regularisers": [part("a", PROXY), part("b", min_p_probe(0.2, True))]})
