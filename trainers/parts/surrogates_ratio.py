"""Surrogates of one token's ratio r = p / p_old, beside PPO's: unclipped, detached, soft, quadratic, masked.

The log-ratio is clamped to [-20, 20] wherever it is exponentiated; beyond that it has no gradient through the ratio.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class CISPOConfig:
    clip_low: float = 1.0
    """The weight is held above 1 - clip_low; 1 is no bound, as in the paper's runs."""
    clip_high: float = 0.28
    """The weight is held below 1 + clip_high."""

    def __post_init__(self) -> None:
        require(0 <= self.clip_low <= 1, f"clip_low is {self.clip_low}; it must be from 0 to 1")
        require(self.clip_high >= 0, f"clip_high is {self.clip_high}; it must not be negative")


@dataclass(frozen=True, kw_only=True)
class SAPOConfig:
    tau_positive: float = 1.0
    """How sharply the gate closes around a ratio of 1 where the advantage is positive; 1 as in verl."""
    tau_negative: float = 1.05
    """The same where the advantage is negative or 0; 1.05 as in verl."""

    def __post_init__(self) -> None:
        require(self.tau_positive > 0, f"tau_positive is {self.tau_positive}; it must be above 0")
        require(self.tau_negative > 0, f"tau_negative is {self.tau_negative}; it must be above 0")


@dataclass(frozen=True, kw_only=True)
class DROConfig:
    beta: float = 0.1
    """Weight of the squared distance from the policy that sampled."""

    def __post_init__(self) -> None:
        require(self.beta >= 0, f"beta is {self.beta}; it must not be negative")


@dataclass(frozen=True, kw_only=True)
class DPPOTVConfig:
    divergence: float = 0.15
    """A token whose probability moved by more than this, in the direction it is paid for, has no loss."""
    ratio_cap: float = 20.0
    """The weight p / p_old is cut off here; 20 as in verl."""

    def __post_init__(self) -> None:
        require(self.divergence >= 0, f"divergence is {self.divergence}; it must not be negative")
        require(self.ratio_cap > 1, f"ratio_cap is {self.ratio_cap}; it must be above 1")


@dataclass(frozen=True, kw_only=True)
class DPPOKLConfig:
    divergence: float = 0.05
    """A token whose divergence is above this, moved in the direction it is paid for, has no loss; in nats."""
    ratio_cap: float = 20.0
    """The weight p / p_old is cut off here; 20 as in verl."""

    def __post_init__(self) -> None:
        require(self.divergence >= 0, f"divergence is {self.divergence}; it must not be negative")
        require(self.ratio_cap > 1, f"ratio_cap is {self.ratio_cap}; it must be above 1")


def token_ratio(logp: Tensor, old: Tensor) -> Tensor:
    """r = exp(log p - log p_old), the logarithm clamped to [-20, 20].   logp, old: [N] log-probs.   Returns [N]."""
    return (logp - old).clamp(-20, 20).exp()


def cispo(logp: Tensor, old: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> tuple[Tensor, Tensor]:
    """l = -sg(clip(r, 1 - clip_low, 1 + clip_high)) A log p: no token loses its gradient, its weight is bounded.

    logp: [N] log-probs, with gradient.   old, advantage: [N].
    Returns [N] the loss, [N] bool whether the weight was cut. As in verl's `compute_policy_loss_cispo`.
    """
    ratio = token_ratio(logp.detach(), old)
    weight = ratio.clamp(1 - clip_low, 1 + clip_high)
    return -weight * advantage * logp, weight != ratio


def sapo(logp: Tensor, old: Tensor, advantage: Tensor, tau_positive: float, tau_negative: float) -> Tensor:
    """l = -A (4 / tau) sigmoid(tau (r - 1)), tau by the sign of A: a soft gate in place of the clip.

    logp: [N] log-probs, with gradient.   old, advantage: [N].   Returns [N].
    SAPO (arXiv 2511.20347), as in verl's `compute_policy_loss_sapo`; at r = 1 the gradient is the policy gradient's.
    """
    tau = torch.full_like(advantage, tau_negative).masked_fill(advantage > 0, tau_positive)
    return -advantage * (4 / tau) * torch.sigmoid(tau * (token_ratio(logp, old) - 1))


def dro(logp: Tensor, old: Tensor, advantage: Tensor, beta: float) -> Tensor:
    """l = -(A log p - beta / 2 * d^2),  d = log p - log p_old: regression towards what was good, also for stale data.

    logp: [N] log-probs, with gradient.   old, advantage: [N].   Returns [N].
    Direct reward optimisation (arXiv 2405.19107), as in verl's `compute_policy_loss_dro`; d is not clamped.
    """
    return -(logp * advantage - beta / 2 * (logp - old).square())


def binary_kl(logp: Tensor, old: Tensor) -> Tensor:
    """KL between "this token or another" before and now: q log(q/p) + (1-q) log((1-q)/(1-p)), q the old probability.

    logp, old: [N] log-probs.   Returns [N] nats.
    """
    other, other_old = (1 - logp.exp()).clamp(min=1e-8), (1 - old.exp()).clamp(min=1e-8)
    return old.exp() * (old - logp) + (1 - old.exp()) * (other_old.log() - other.log())


def moved_too_far(distance: Tensor, shift: Tensor, advantage: Tensor, bound: float) -> Tensor:
    """Whether a token is beyond the bound in the direction that its advantage pays for: up where A > 0, else down.

    distance: [N], never negative.   shift: [N], above 0 where the token became likelier.   advantage: [N].
    Returns [N] bool.
    """
    return (distance > bound) & torch.where(advantage > 0, shift > 0, shift < 0)


def masked_policy_gradient(logp: Tensor, old: Tensor, advantage: Tensor, masked: Tensor, cap: float) -> Tensor:
    """l = -sg(min(r, cap)) A log p, and 0 where masked.

    logp: [N] log-probs, with gradient.   old, advantage: [N].   masked: [N] bool.   Returns [N].
    DPPO's, as in verl's `compute_policy_loss_dppo_tv` and `compute_policy_loss_dppo_kl`.
    """
    weight = token_ratio(logp.detach(), old).clamp(max=cap)
    return (-weight * advantage * logp).masked_fill(masked, 0.0)


def _inputs(view: StepView) -> tuple[Tensor, Tensor, Tensor]:
    assert view.current is not None and view.old is not None and view.advantage is not None
    return view.current, view.old.detach(), view.advantage.detach()


def share_of(flag: Tensor, trained: Tensor) -> float:
    """Share of the tokens that carry loss for which `flag` holds; none: 0.   flag, trained: [N] bool."""
    return float(flag[trained].sum()) / max(int(trained.sum()), 1)


def _ratio(view: StepView, config: None, state: None) -> Term:
    logp, old, advantage = _inputs(view)
    return Term(-advantage * token_ratio(logp, old))


def _ratio_metrics(view: StepView, config: None, state: None) -> dict[str, float]:
    with torch.no_grad():
        logp, old, _ = _inputs(view)
        moved = (logp - old)[view.trained].clamp(-20, 20)
    return {"ratio/kl_from_old": float((moved.exp() - 1 - moved).sum()) / max(len(moved), 1)}


def _cispo(view: StepView, config: CISPOConfig, state: None) -> Term:
    return Term(cispo(*_inputs(view), config.clip_low, config.clip_high)[0])


def _cispo_metrics(view: StepView, config: CISPOConfig, state: None) -> dict[str, float]:
    with torch.no_grad():
        _, cut = cispo(*_inputs(view), config.clip_low, config.clip_high)
    return {"cispo/clip_fraction": share_of(cut, view.trained)}


def _sapo(view: StepView, config: SAPOConfig, state: None) -> Term:
    return Term(sapo(*_inputs(view), config.tau_positive, config.tau_negative))


def _dro(view: StepView, config: DROConfig, state: None) -> Term:
    return Term(dro(*_inputs(view), config.beta))


def _masked_by_tv(view: StepView, config: DPPOTVConfig) -> Tensor:
    logp, old, advantage = _inputs(view)
    shift = logp.detach().exp() - old.exp()
    return moved_too_far(shift.abs(), shift, advantage, config.divergence)


def _masked_by_kl(view: StepView, config: DPPOKLConfig) -> Tensor:
    logp, old, advantage = _inputs(view)
    logp = logp.detach()
    return moved_too_far(binary_kl(logp, old), logp - old, advantage, config.divergence)


def _dppo(masked_by: Callable[[StepView, Any], Tensor]) -> dict[str, Any]:
    def bind(view: StepView, config: DPPOTVConfig | DPPOKLConfig, state: None) -> Term:
        return Term(masked_policy_gradient(*_inputs(view), masked_by(view, config), config.ratio_cap))

    def metrics(view: StepView, config: DPPOTVConfig | DPPOKLConfig, state: None) -> dict[str, float]:
        return {"dppo/masked_share": share_of(masked_by(view, config), view.trained)}

    return {"bind": bind, "metrics": metrics}


def _part(name: str, **fields: Any) -> Part:
    return Part(name=name, kind="surrogate", needs=("old", "advantage"), **fields)


_DPPO = "P. Qi et al.: Rethinking the trust region in LLM reinforcement learning (DPPO). PMLR 306, 2026."
RATIO = _part("ratio", bind=_ratio, metrics=_ratio_metrics)
"""-A r without a clip, for one whose distance from the old policy another term holds (KL-Cov)."""
CISPO_CLIP = _part("cispo", bind=_cispo, config=CISPOConfig, metrics=_cispo_metrics)
"""CISPO's: the clipped ratio is a weight without a gradient, so that every token keeps its own."""
SAPO = _part(
    "sapo",
    bind=_sapo,
    config=SAPOConfig,
    citation="C. Gao et al.: Soft adaptive policy optimization. arXiv 2511.20347.",
)
"""A soft gate in place of the clip (SAPO)."""
DRO = _part(
    "dro",
    bind=_dro,
    config=DROConfig,
    citation="P. H. Richemond et al.: Offline regularised reinforcement learning for large language models alignment "
    "(DRO). arXiv 2405.19107.",
)
"""Policy gradient with a squared distance from the old policy (DRO), also for stale data."""
DPPO_TV = _part("dppo-tv", config=DPPOTVConfig, citation=_DPPO, **_dppo(_masked_by_tv))
"""Tokens whose probability moved too far carry no loss (DPPO, total variation)."""
DPPO_KL = _part("dppo-kl", config=DPPOKLConfig, citation=_DPPO, **_dppo(_masked_by_kl))
"""Tokens whose binary divergence from the old policy is too large carry no loss (DPPO, KL)."""
