"""Divergence from the reference as a price: off the rewards, or a term whose weight steers towards a target."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from agentrl.segments import count_by, mean_by, sum_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.parts.regularisers import Estimator, kl_estimate
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class KLRewardConfig:
    coef: float = 0.05
    """What a nat of divergence costs; 0 leaves the part out, and the reference model with it."""
    estimator: Estimator = "k1"
    """How a token's divergence is estimated; k1, the log-ratio, as in verl and in RLHF since."""

    def __post_init__(self) -> None:
        require(self.coef >= 0, f"coef is {self.coef}; it must not be negative")


@dataclass(frozen=True, kw_only=True)
class AdaptiveKLConfig:
    initial: float = 0.2
    """Weight of the term in the first step; 0.2 as in verl."""
    target: float = 6.0
    """The divergence that the weight steers towards, in nats: mean over trajectories of their `estimator`."""
    horizon: float = 10_000.0
    """In how many trajectories the weight changes by 20 % at most; 10 000 as in verl."""
    estimator: Estimator = "k3"
    """How a token's divergence is estimated, in the term and for the controller."""

    def __post_init__(self) -> None:
        require(self.initial > 0, f"initial is {self.initial}; it must be above 0")
        require(self.target > 0, f"target is {self.target}; it must be above 0")
        require(self.horizon > 0, f"horizon is {self.horizon}; it must be above 0")


def kl_in_reward(reward: Tensor, old: Tensor, reference: Tensor, coef: float, estimator: Estimator = "k1") -> Tensor:
    """r_n - coef * KL_n, with KL_n = log p_old(n) - log p_reference(n) for k1.

    reward, old, reference: [N] float.   Returns [N]. As in verl's `compute_rewards`.
    """
    return reward - coef * kl_estimate(old, reference, estimator)


def steered(coef: float, divergence: float, target: float, num: int, horizon: float) -> float:
    """coef * (1 + clip(divergence / target - 1, -0.2, 0.2) * num / horizon).

    num: trajectories of the step. Ziegler et al. (arXiv 1909.08593), as in verl's `AdaptiveKLController`.
    """
    error = min(max(divergence / target - 1, -0.2), 0.2)
    return coef * (1 + error * num / horizon)


class AdaptiveKL:
    """The weight of the term, from step to step."""

    def __init__(self, config: AdaptiveKLConfig | None = None) -> None:
        self._config = config or AdaptiveKLConfig()
        self.coef = self._config.initial

    def update(self, view: StepView) -> None:
        """By the divergence of the policy that played the step: its mean over trajectories of their token means."""
        if view.old is None or view.reference is None or not bool(view.trained.any()):
            return
        trajectory = view.trajectory_of_token[view.trained]
        values = kl_estimate(view.old, view.reference, self._config.estimator).detach()[view.trained]
        means = mean_by(values, trajectory, view.num_trajectories)
        num = int((count_by(trajectory, view.num_trajectories) > 0).sum())
        self.coef = steered(self.coef, float(means.sum()) / num, self._config.target, num, self._config.horizon)

    def state_dict(self) -> dict[str, Any]:
        return {"coef": self.coef}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.coef = float(state["coef"])


def _kl_reward(view: StepView, config: KLRewardConfig, state: None) -> Tensor:
    """Of a turn: the sum over its tokens. Gates are asked before there are log-probs, and see the rewards without."""
    if view.old is None or view.reference is None:
        return view.reward.new_zeros(view.num_turns)
    price = kl_in_reward(view.old.new_zeros(view.num_tokens), view.old, view.reference, config.coef, config.estimator)
    return sum_by(price.to(view.reward), view.turn_of_token, view.num_turns)


def _kl_reward_metrics(view: StepView, config: KLRewardConfig, state: None) -> dict[str, float]:
    assert view.old is not None and view.reference is not None
    values = kl_estimate(view.old, view.reference, config.estimator)[view.trained]
    return {"kl_reward/from_reference": float(values.sum()) / max(len(values), 1)}


def _adaptive_kl(view: StepView, config: AdaptiveKLConfig, state: AdaptiveKL) -> Term:
    assert view.current is not None and view.reference is not None
    return Term(kl_estimate(view.current, view.reference.detach(), config.estimator), weight=state.coef)


def _adaptive_metrics(view: StepView, config: AdaptiveKLConfig, state: AdaptiveKL) -> dict[str, float]:
    assert view.current is not None and view.reference is not None
    values = kl_estimate(view.current.detach(), view.reference, config.estimator)[view.trained]
    return {"adaptive_kl/coef": state.coef, "adaptive_kl/from_reference": float(values.sum()) / max(len(values), 1)}


KL_REWARD = Part(
    name="kl-reward",
    kind="reward",
    bind=_kl_reward,
    config=KLRewardConfig,
    needs=("old", "reference"),
    active=lambda config: config.coef > 0,
    metrics=_kl_reward_metrics,
)
"""Takes the divergence from the reference off the turn rewards, in place of a term of the loss."""
ADAPTIVE_KL = Part(
    name="adaptive-kl",
    kind="regulariser",
    bind=_adaptive_kl,
    config=AdaptiveKLConfig,
    state=AdaptiveKL,
    needs=("reference", "old"),
    metrics=_adaptive_metrics,
    citation="D. Ziegler et al.: Fine-tuning language models from human preferences (adaptive KL). arXiv 1909.08593.",
)
"""Keeps the policy near the reference with a weight that steers the divergence towards a target."""
