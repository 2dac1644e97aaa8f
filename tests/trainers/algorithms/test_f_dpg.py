"""f-DPG: its gradient vanishes at the target, descent reaches it, and what it estimates on the way."""

import json
import math

import pytest
import torch

from agentrl.errors import ConfigError
from agentrl.registry import load
from agentrl.trainers.algorithms.f_dpg import FDPGConfig, TargetEstimates, weighed_gradient
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.divergences import distance, pseudo_reward
from tests.builders import view_of

DIVERGENCES = ("forward-kl", "reverse-kl", "js", "tv", "chi-squared", "reverse-chi-squared")
REFERENCE = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
REWARD = torch.tensor([0.0, 1.0, 0.5, 1.5], dtype=torch.float64)
BETA = 0.7
TARGET = (REFERENCE.log() + REWARD / BETA).softmax(0)
Z = float((REFERENCE * (REWARD / BETA).exp()).sum())


def expected_gradient(logits, divergence, proposal=None):
    """Over all outcomes, each as often as it is drawn by the proposal (None: the policy)."""
    logits = logits.detach().requires_grad_()
    logp = logits.log_softmax(0)
    drawn = logp.detach().exp() if proposal is None else proposal
    reward = pseudo_reward((logp - TARGET.log()).detach(), divergence)
    (gradient,) = torch.autograd.grad((drawn * weighed_gradient(logp, logp - drawn.log(), reward)).sum(), logits)
    return gradient


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_gradient_is_that_of_the_divergence_whoever_samples(divergence):
    logits = torch.tensor([0.3, -0.8, 0.5, 0.1], dtype=torch.float64, requires_grad=True)
    logp = logits.log_softmax(0)
    value = (logp.exp() * distance(logp - TARGET.log(), divergence)).sum()
    (exact,) = torch.autograd.grad(value, logits)
    assert torch.allclose(expected_gradient(logits, divergence), exact)
    assert torch.allclose(expected_gradient(logits, divergence, torch.full_like(logp, 0.25).detach()), exact)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_optimum_of_every_divergence_is_the_target(divergence):
    exactly = pseudo_reward(torch.zeros(4, dtype=torch.float64), divergence)
    assert (exactly == exactly[0]).all()  # a constant, of which the policy gradient is 0
    assert float(distance(torch.zeros(4, dtype=torch.float64), divergence).abs().max()) < 1e-12
    if divergence != "tv":  # which has a kink there: a rounding error decides on its side
        assert float(expected_gradient(TARGET.log(), divergence).abs().max()) < 1e-12


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_descent_reaches_the_target(divergence):
    logits = torch.zeros(4, dtype=torch.float64)
    optimiser = torch.optim.Adam([logits], lr=0.1)
    for step in range(250):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 250)
        logits.grad = expected_gradient(logits, divergence)
        optimiser.step()
    assert float((logits.softmax(0) - TARGET).abs().sum() / 2) < (5e-3 if divergence == "tv" else 1e-5)


def sampled(logp, num, seed, task=0, **fields):
    """The view of trajectories of one token that the policy drew, by outcome, and their outcomes."""
    drawn = torch.multinomial(logp.exp(), num, replacement=True, generator=torch.Generator().manual_seed(seed))
    own = {"score": REWARD[drawn], "old": logp[drawn], "current": logp[drawn], "reference": REFERENCE.log()[drawn]}
    return view_of([[[1]] * num], **(own | {"task": [task] * num} | fields)), drawn


def test_z_is_the_mean_over_all_samples_of_a_task_whichever_policy_drew_them():
    composition = compose(load("algorithm", "f-dpg"), settings={"f-dpg": {"beta": BETA}})
    total, count = 0.0, 0
    for seed, logits in enumerate(([0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, -1.0], [0.0, 2.0, 0.0, 1.0])):
        logp = torch.tensor(logits, dtype=torch.float64).log_softmax(0)
        view, drawn = sampled(logp, 300, seed)
        total, count = total + float((REFERENCE / logp.exp() * (REWARD / BETA).exp())[drawn].sum()), count + 300
        view = composition.advantage(view)
        assert composition.metrics(view)["f_dpg/log_z"] == pytest.approx(math.log(total / count))
        composition.update(view)
    assert total / count == pytest.approx(Z, rel=0.05)
    other, _ = sampled(logp, 2, 9, task=5)
    shown = composition.metrics(composition.advantage(other))
    assert shown["f_dpg/log_z"] != pytest.approx(math.log(total / count))  # another task, another Z


@pytest.mark.parametrize("divergence", ["forward-kl", "reverse-kl", "js"])
def test_sampled_steps_come_near_the_target(divergence):
    composition = compose(load("algorithm", "f-dpg"), settings={"f-dpg": {"beta": BETA, "divergence": divergence}})
    logits = torch.zeros(4, dtype=torch.float64)
    for step in range(40):
        logits = logits.detach().requires_grad_()
        logp = logits.log_softmax(0)
        view, drawn = sampled(logp.detach(), 200, step)
        view = composition.advantage(view)
        loss, _ = composition.loss(view.with_fields(current=logp[drawn]))
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = logits - 1.0 * gradient
        composition.update(view)
    assert float((logits.detach().softmax(0) - TARGET).abs().sum() / 2) < 0.07


def test_the_baseline_is_the_mean_of_the_window_before_the_step():
    composition = compose(load("algorithm", "f-dpg"), settings={"f-dpg": {"window": 3, "divergence": "tv"}})
    (state,) = composition.states().values()
    view, _ = sampled(REFERENCE.log(), 8, 0)
    first = composition.advantage(view)
    assert state.baseline() == 0.0
    assert sorted(set(first.advantage.tolist())) == [-0.5, 0.5]
    composition.update(first)
    assert state.baseline() == pytest.approx(float(first.advantage[-3:].mean()))
    again = TargetEstimates(FDPGConfig(window=3, divergence="tv"))
    again.load_state_dict(json.loads(json.dumps(state.state_dict())))
    assert again.state_dict() == state.state_dict()


def test_logged_trajectories_are_weighed_by_policy_over_what_said_them():
    drawn = torch.tensor([0, 1, 2, 3])
    fields = {
        "score": REWARD[drawn],
        "old": torch.full((4,), 0.25, dtype=torch.float64).log(),
        "current": torch.full((4,), 0.25, dtype=torch.float64).log().requires_grad_(),
        "reference": REFERENCE.log(),
    }
    ratio = 0.25 / REFERENCE
    for proposal, own in (("reference", {}), ("sampled", {"sampled": REFERENCE.log()})):
        settings = {"f-dpg": {"proposal": proposal, "beta": BETA, "divergence": "reverse-kl"}}
        composition = compose(load("algorithm", "f-dpg"), settings=settings)
        view = composition.advantage(view_of([[[1]] * 4], **fields, **own))
        (term,) = composition.terms(view)
        (gradient,) = torch.autograd.grad(term.values.sum(), view.current)
        z = float((REWARD / BETA).exp().mean())
        log_t = math.log(0.25) - REFERENCE.log() - REWARD / BETA + math.log(z)
        assert torch.allclose(gradient, -ratio * (-log_t - 1))


def test_a_proposal_that_is_not_known_is_refused():
    composition = compose(load("algorithm", "f-dpg"), settings={"f-dpg": {"proposal": "sampled"}})
    view, _ = sampled(REFERENCE.log(), 2, 0)
    with pytest.raises(ConfigError, match="have no log-probs"):
        composition.advantage(view)


def test_log_t_is_held_at_the_bound():
    view = view_of([[[1], [1]]], score=[9.0, 0.0], old=[-1.0, -1.0], current=[-1.0, -1.0], reference=[-1.0, -1.0])
    for bound, share in ((20.0, 0.5), (200.0, 0.0)):
        composition = compose(load("algorithm", "f-dpg"), settings={"f-dpg": {"bound": bound, "divergence": "js"}})
        assert composition.metrics(composition.advantage(view))["f_dpg/held_share"] == share
