"""Regularisers: terms that hold the policy back, or keep it open."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.step_view import StepView, Term

Estimator = Literal["k1", "k2", "k3", "abs"]


@dataclass(frozen=True, kw_only=True)
class KLConfig:
    coef: float = 0.01
    """Weight of the term; 0 leaves it out, and the reference model with it. 0.01 as in verl-agent's runs."""
    estimator: Estimator = "k3"
    """How a token's divergence is estimated: k1 the log-ratio, k2 half its square, k3 never negative, abs."""
    straight_through: bool = False
    """The estimator's value with the gradient of k2, whose expectation is the divergence's own gradient."""

    def __post_init__(self) -> None:
        require(self.coef >= 0, f"coef is {self.coef}; it must not be negative")


@dataclass(frozen=True, kw_only=True)
class EntropyBonusConfig:
    coef: float = 1e-3
    """Weight of the bonus; 0 leaves it out. 0.001 as in EPO's runs."""

    def __post_init__(self) -> None:
        require(self.coef >= 0, f"coef is {self.coef}; it must not be negative")


def kl_estimate(logp: Tensor, reference: Tensor, estimator: Estimator, straight_through: bool = False) -> Tensor:
    """What each token says about the divergence of the policy from its reference, with d = logp - reference.

    k1 = d      k2 = d^2 / 2      k3 = exp(-d) - 1 + d      abs = |d|
    logp: [N] log-probs, with gradient.   reference: [N].   Returns [N].
    As in verl's `kl_penalty`: for k3, d is clamped to [-20, 20] and the result to [-10, 10].
    """
    value = _estimate(logp, reference, estimator)
    if not straight_through:
        return value
    with_gradient = _estimate(logp, reference, "k2")
    return with_gradient - with_gradient.detach() + value.detach()


def _estimate(logp: Tensor, reference: Tensor, estimator: Estimator) -> Tensor:
    d = logp - reference
    if estimator == "k1":
        return d
    if estimator == "k2":
        return d.square() / 2
    if estimator == "abs":
        return d.abs()
    d = d.clamp(-20, 20)
    return ((-d).exp() - 1 + d).clamp(-10, 10)


def gradient_size(term: Term, weights: Tensor, numbers: Tensor) -> float:
    """Euclidean norm of d (the term's part of the loss) / d numbers; 0 for a term without a gradient.

    weights: [K], of the term's values.   numbers: [N], with gradient, from which the values were made.
    """
    if not term.values.requires_grad:
        return 0.0
    (gradient,) = torch.autograd.grad(term.weight * (weights * term.values).sum(), numbers)
    return float(gradient.norm())


def _kl(view: StepView, config: KLConfig, state: None) -> Term:
    assert view.current is not None and view.reference is not None
    values = kl_estimate(view.current, view.reference.detach(), config.estimator, config.straight_through)
    return Term(values, weight=config.coef)


def _kl_metrics(view: StepView, config: KLConfig, state: None) -> dict[str, float]:
    assert view.current is not None and view.reference is not None
    values = kl_estimate(view.current.detach(), view.reference.detach(), "k3")[view.trained]
    return {"kl/from_reference": float(values.sum()) / max(len(values), 1)}


def _entropy_bonus(view: StepView, config: EntropyBonusConfig, state: None) -> Term:
    assert view.entropy is not None
    return Term(-view.entropy, weight=config.coef)


KL = Part(
    name="kl",
    kind="regulariser",
    bind=_kl,
    config=KLConfig,
    needs=("reference",),
    active=lambda config: config.coef > 0,
    metrics=_kl_metrics,
)
"""Keeps the policy near the reference model."""
ENTROPY_BONUS = Part(
    name="entropy-bonus",
    kind="regulariser",
    bind=_entropy_bonus,
    config=EntropyBonusConfig,
    needs=("entropy",),
    active=lambda config: config.coef > 0,
)
"""Pays the policy for staying undecided."""
