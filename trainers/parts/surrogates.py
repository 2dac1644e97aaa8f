"""Surrogates: the term whose gradient is the policy's improvement, one value a response token."""

from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class PPOClipConfig:
    clip_low: float = 0.2
    """The ratio is held above 1 - clip_low where that matters."""
    clip_high: float = 0.2
    """The ratio is held below 1 + clip_high where that matters; 0.28 is DAPO's clip-higher."""
    dual_clip: float = 3.0
    """Where the advantage is negative, a token's loss is at most this times -advantage; 0: no bound. 3 as in verl."""

    def __post_init__(self) -> None:
        require(0 <= self.clip_low <= 1, f"clip_low is {self.clip_low}; it must be from 0 to 1")
        require(self.clip_high >= 0, f"clip_high is {self.clip_high}; it must not be negative")
        require(
            self.dual_clip == 0 or self.dual_clip > 1, f"dual_clip is {self.dual_clip}; it must be 0 (off) or above 1"
        )


@dataclass(frozen=True)
class Clipped:
    """PPO's loss and where its two bounds took hold."""

    loss: Tensor
    """[N] float, with gradient."""
    clipped: Tensor
    """[N] bool: the clipped branch is the larger one."""
    dual_clipped: Tensor
    """[N] bool: the bound for negative advantages is the smaller one."""


def ppo_clip(
    logp: Tensor, old: Tensor, advantage: Tensor, clip_low: float, clip_high: float, dual_clip: float
) -> Clipped:
    """l = max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)); where A < 0, at most -A dual_clip;  r = exp(logp - old).

    logp: [N] log-probs, with gradient.   old: [N].   advantage: [N].   dual_clip: 0 switches that bound off.
    The log-ratio is clamped to [-20, 20], beyond which it has no gradient. A tie goes to the unclipped branch.
    PPO (arXiv 1707.06347) and dual clip (arXiv 1912.09729), as in verl's `compute_policy_loss_vanilla`.
    """
    ratio = (logp - old).clamp(-20, 20).exp()
    free = -advantage * ratio
    bound = -advantage * ratio.clamp(1 - clip_low, 1 + clip_high)
    clipped = bound > free
    loss = torch.where(clipped, bound, free)
    ceiling = -advantage * dual_clip
    dual_clipped = (advantage < 0) & (ceiling < loss) if dual_clip > 0 else torch.zeros_like(clipped)
    return Clipped(torch.where(dual_clipped, ceiling, loss), clipped, dual_clipped)


def _ppo_clip_of(view: StepView, config: PPOClipConfig) -> Clipped:
    assert view.current is not None and view.old is not None and view.advantage is not None
    old, advantage = view.old.detach(), view.advantage.detach()
    return ppo_clip(view.current, old, advantage, config.clip_low, config.clip_high, config.dual_clip)


def _ppo_clip(view: StepView, config: PPOClipConfig, state: None) -> Term:
    return Term(_ppo_clip_of(view, config).loss)


def _ppo_metrics(view: StepView, config: PPOClipConfig, state: None) -> dict[str, float]:
    """Shares and means over the tokens that carry loss."""
    assert view.current is not None and view.old is not None
    with torch.no_grad():
        result = _ppo_clip_of(view, config)
        moved = (view.current - view.old)[view.trained].clamp(-20, 20)
    count = max(len(moved), 1)
    return {
        "ppo/clip_fraction": float(result.clipped[view.trained].sum()) / count,
        "ppo/dual_clip_fraction": float(result.dual_clipped[view.trained].sum()) / count,
        "ppo/kl_from_old": float((moved.exp() - 1 - moved).sum()) / count,
    }


def _policy_gradient(view: StepView, config: None, state: None) -> Term:
    """-A log p: its gradient is REINFORCE's; right for the first update after a rollout."""
    assert view.current is not None and view.advantage is not None
    return Term(-view.advantage.detach() * view.current)


def _likelihood(view: StepView, config: None, state: None) -> Term:
    """-log p, for demonstrations."""
    assert view.current is not None
    return Term(-view.current)


PPO_CLIP = Part(
    name="ppo-clip",
    kind="surrogate",
    bind=_ppo_clip,
    config=PPOClipConfig,
    needs=("old", "advantage"),
    metrics=_ppo_metrics,
)
"""The clipped ratio of PPO: several updates of one rollout stay near the policy that sampled it."""
POLICY_GRADIENT = Part(name="policy-gradient", kind="surrogate", bind=_policy_gradient, needs=("advantage",))
"""Plain policy gradient, without a ratio: for one update a rollout."""
LIKELIHOOD = Part(name="likelihood", kind="surrogate", bind=_likelihood)
"""Negative log-likelihood of what stands in the batch: supervised learning."""
