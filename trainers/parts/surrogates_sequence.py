"""Surrogates whose ratio is a sequence's: of all tokens of a reply, or of all replies of a trajectory, together.

Which of the two is a setting, `unit`, never the layout of the batch. Only tokens that carry loss are in a sequence.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.segments import count_by, mean_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Couples, Part
from agentrl.trainers.step_view import StepView, Term

Unit = Literal["turn", "trajectory"]


@dataclass(frozen=True, kw_only=True)
class GSPOConfig:
    clip_low: float = 3e-4
    """The sequence's ratio is held above 1 - clip_low where that matters; 3e-4 as in the paper, 3e-3 for agents."""
    clip_high: float = 4e-4
    """The sequence's ratio is held below 1 + clip_high where that matters; 4e-4 as in the paper, 4e-3 for agents."""
    unit: Unit = "turn"
    """What is a sequence: a reply of the model (turn), or all of its replies in an episode together (trajectory)."""

    def __post_init__(self) -> None:
        require(0 <= self.clip_low <= 1, f"clip_low is {self.clip_low}; it must be from 0 to 1")
        require(self.clip_high >= 0, f"clip_high is {self.clip_high}; it must not be negative")


@dataclass(frozen=True, kw_only=True)
class GMPOConfig:
    clip_low: float = 0.4
    """A token's log-ratio is held above -clip_low where that matters; 0.4 as in the paper."""
    clip_high: float = 0.4
    """A token's log-ratio is held below clip_high where that matters."""
    unit: Unit = "turn"
    """What is a sequence: a reply of the model (turn), or all of its replies in an episode together (trajectory)."""

    def __post_init__(self) -> None:
        require(self.clip_low >= 0, f"clip_low is {self.clip_low}; it must not be negative")
        require(self.clip_high >= 0, f"clip_high is {self.clip_high}; it must not be negative")


def sequence_log_ratio(logp: Tensor, old: Tensor, counted: Tensor, unit_of_token: Tensor, num_units: int) -> Tensor:
    """log s = mean over the counted tokens of a unit of  log p - log p_old: the geometric mean of their ratios.

    logp, old: [N] log-probs.   counted: [N] bool.   unit_of_token: [N] int.   Returns [num_units]; no token: 0.
    """
    return mean_by((logp - old)[counted], unit_of_token[counted], num_units)


def gspo_ratio(logp: Tensor, log_ratio: Tensor) -> Tensor:
    """s * p / sg(p) of each token: the sequence's ratio in value, with the gradient s * d log p.

    logp: [N] log-probs, with gradient.   log_ratio: [N], of each token's sequence.   Returns [N].
    The logarithm is cut off at 10, beyond which it has no gradient; as in verl's `compute_policy_loss_gspo`.
    """
    return (logp - logp.detach() + log_ratio.detach()).clamp(max=10).exp()


def clipped(ratio: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> tuple[Tensor, Tensor]:
    """l = max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)); a tie goes to the unclipped branch.

    ratio: [N], with gradient.   advantage: [N].   Returns [N] the loss, [N] bool whether the clipped branch was taken.
    """
    free, bound = -advantage * ratio, -advantage * ratio.clamp(1 - clip_low, 1 + clip_high)
    taken = bound > free
    return torch.where(taken, bound, free), taken


def gmpo_log_ratio(logp: Tensor, old: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """d = log p - log p_old of each token, held within [-clip_low, clip_high] on the side that the advantage pays.

    sign(A) * min(sign(A) d, sign(A) clip(d)): where A is 0, 0.
    logp: [N] log-probs, with gradient.   old, advantage: [N].   Returns [N].
    """
    difference, sign = logp - old, advantage.sign()
    held = difference.clamp(-clip_low, clip_high)
    return sign.abs() * torch.where(sign * held < sign * difference, held, difference)


def _unit(view: StepView, unit: Unit) -> tuple[Tensor, int]:
    """[N] the unit of each token, and how many there are."""
    if unit == "turn":
        return view.turn_of_token, view.num_turns
    return view.trajectory_of_token, view.num_trajectories


def _gspo_of(view: StepView, config: GSPOConfig) -> tuple[Tensor, Tensor, Tensor]:
    """[N] loss, [N] bool whether clipped, [num_units] logarithm of the sequences' ratios."""
    assert view.current is not None and view.old is not None and view.advantage is not None
    unit, num = _unit(view, config.unit)
    log_ratio = sequence_log_ratio(view.current.detach(), view.old.detach(), view.trained, unit, num)
    ratio = gspo_ratio(view.current, log_ratio[unit])
    loss, taken = clipped(ratio, view.advantage.detach(), config.clip_low, config.clip_high)
    return loss, taken, log_ratio


def _gspo(view: StepView, config: GSPOConfig, state: None) -> Term:
    return Term(_gspo_of(view, config)[0])


def _gspo_metrics(view: StepView, config: GSPOConfig, state: None) -> dict[str, float]:
    with torch.no_grad():
        _, taken, log_ratio = _gspo_of(view, config)
    unit, num = _unit(view, config.unit)
    filled = count_by(unit[view.trained], num) > 0
    return {
        "gspo/clip_fraction": float(taken[view.trained].sum()) / max(int(view.trained.sum()), 1),
        "gspo/log_ratio": float(log_ratio[filled].abs().sum()) / max(int(filled.sum()), 1),
    }


def _gmpo_of(view: StepView, config: GMPOConfig) -> tuple[Tensor, Tensor]:
    """[num_units] loss, [N] bool whether a token's log-ratio was held."""
    assert view.current is not None and view.old is not None and view.advantage is not None
    unit, num = _unit(view, config.unit)
    old, advantage, counted = view.old.detach(), view.advantage.detach(), view.trained
    log_ratio = gmpo_log_ratio(view.current, old, advantage, config.clip_low, config.clip_high)
    ratio = mean_by(log_ratio[counted], unit[counted], num).clamp(-20, 20).exp()
    held = (log_ratio != view.current - old) & (advantage != 0)
    return -mean_by(advantage[counted], unit[counted], num) * ratio, held


def _gmpo(view: StepView, config: GMPOConfig, state: None) -> Term:
    return Term(_gmpo_of(view, config)[0], config.unit)


def _gmpo_metrics(view: StepView, config: GMPOConfig, state: None) -> dict[str, float]:
    with torch.no_grad():
        _, held = _gmpo_of(view, config)
    return {"gmpo/clip_fraction": float(held[view.trained].sum()) / max(int(view.trained.sum()), 1)}


def _couples(config: GSPOConfig | GMPOConfig) -> Couples:
    return "turn" if config.unit == "turn" else "batch"


GSPO_CLIP = Part(
    name="gspo",
    kind="surrogate",
    bind=_gspo,
    config=GSPOConfig,
    needs=("old", "advantage"),
    couples=_couples,
    metrics=_gspo_metrics,
)
"""The clipped ratio of a whole sequence (GSPO): its geometric mean over tokens, the same for each of them."""
GMPO = Part(
    name="gmpo",
    kind="surrogate",
    bind=_gmpo,
    config=GMPOConfig,
    needs=("old", "advantage"),
    couples=_couples,
    metrics=_gmpo_metrics,
    citation="Y. Zhao et al.: Geometric-mean policy optimization (GMPO). arXiv 2507.20673.",
)
"""Geometric-mean policy optimisation (GMPO, arXiv 2507.20673): the geometric mean of ratios that are clipped a token.

As in verl's `compute_policy_loss_geo_mean`; one value a sequence, so it goes with turn-mean or trajectory-mean."""
