"""Reward model: a score for trajectories, learned from which of two is better (Bradley-Terry; arXiv 2203.02155).

    p(w before l) = sigma(s_w - s_l)                    s: the scalar head at the last token that was said
    ranking   L = - log sigma(d),       d = s_w - s_l - m           m: margin, 0 where none is asked for
    focal     L = - (1 - 2 relu(sigma(d) - 1/2))^gamma log sigma(d)
    centring  + c (s_w + s_l)^2
    l2        + k (s_w^2 + s_l^2)
    barrier   + k sum over both of  - log(b - s) - log(s + b),      s held within b - 0.001 of 0

All are means over pairs; with `parts.pairing=all-pairs` every ordered two of a group are a pair and the group weighs 1,
as InstructGPT (arXiv 2203.02155) has it for rankings of K. The formulas of ranking, margin and centring were read in
TRL (1.16.0, `RewardTrainer.compute_loss`), whose coefficient of centring is none by default and 0.01 where it is
recommended; focal, barrier (b 5, k 0.01) and l2 in xtuner (00796c1, `xtuner/model/reward.py`), where the barrier has no
gradient beyond its clamp. xtuner's fourth, log(1 + e^{s_l - s_w}), is the ranking loss in a form that overflows, and is
not here. A margin is the gap of the two scores that the data give, times `margin_scale`. One epoch is usual: a reward
model that sees pairs twice learns them by heart.

What is logged is of the scores before each update, so in the first pass over the data of pairs that were never learned.
Calibration is ours: of pairs whose order is predicted with probability p = sigma(|s_w - s_l|), p should be right.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from agentrl.segments import count_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.pairings import trajectory_return
from agentrl.trainers.step_view import StepView, Term

BINS = 5
"""Of the predicted probability, from 1/2 to 1."""
_WITHIN = 1e-3


@dataclass(frozen=True, kw_only=True)
class BradleyTerryConfig:
    loss: Literal["ranking", "focal"] = "ranking"
    """ranking: the likelihood of the order. focal: the same, weighing less what is right already (xtuner)."""
    gamma: float = 2.0
    """Of focal: how much less. xtuner's."""
    margin_scale: float = 0.0
    """By how much of the gap between the data's scores the better one has to win; 0: by none."""
    centre: float = 0.0
    """Weight of (s_w + s_l)^2, which holds the scores around 0; TRL recommends 0.01 where it is used."""
    penalty: Literal["none", "log-barrier", "l2"] = "none"
    """What else holds scores near 0 (xtuner)."""
    penalty_weight: float = 0.01
    """Weight of the penalty; xtuner's."""
    barrier: float = 5.0
    """Of log-barrier: scores stay below this, and above minus this. xtuner's."""

    def __post_init__(self) -> None:
        for name in ("gamma", "margin_scale", "centre", "penalty_weight"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")
        require(self.barrier > _WITHIN, f"barrier is {self.barrier}; it must be above {_WITHIN}")


def bradley_terry(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """- log sigma(s_w - s_l - m).   chosen, rejected: [P] scores, with gradient.   margin: [P].   Returns [P]."""
    return -logsigmoid(chosen - rejected - margin)


def focal(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0, gamma: float = 2.0) -> Tensor:
    """- (1 - 2 relu(sigma(d) - 1/2))^gamma log sigma(d), d = s_w - s_l - m: a pair that is right already weighs less.

    chosen, rejected: [P] scores, with gradient.   margin: [P].   Returns [P].
    """
    d = chosen - rejected - margin
    return (1 - 2 * relu(torch.sigmoid(d) - 0.5)) ** gamma * -logsigmoid(d)


def log_barrier(score: Tensor, barrier: float = 5.0) -> Tensor:
    """- log(b - s) - log(s + b), s clamped to b - 0.001, beyond which there is no gradient.   score: [K]."""
    held = score.clamp(-barrier + _WITHIN, barrier - _WITHIN)
    return -torch.log(barrier - held) - torch.log(held + barrier)


def pair_loss(chosen: Tensor, rejected: Tensor, config: BradleyTerryConfig, gap: Tensor | None = None) -> Tensor:
    """What each pair costs.   chosen, rejected: [P] scores.   gap: [P], of the data's scores.   Returns [P]."""
    margin = 0.0 if gap is None or not config.margin_scale else config.margin_scale * gap
    if config.loss == "focal":
        loss = focal(chosen, rejected, margin, config.gamma)
    else:
        loss = bradley_terry(chosen, rejected, margin)
    if config.centre:
        loss = loss + config.centre * (chosen + rejected).square()
    if config.penalty == "log-barrier":
        loss = loss + config.penalty_weight * sum(log_barrier(s, config.barrier) for s in (chosen, rejected))
    elif config.penalty == "l2":
        loss = loss + config.penalty_weight * (chosen.square() + rejected.square())
    return loss


def _gap(value: Tensor, view: StepView) -> Tensor:
    """[P]: of a [J] value, the better one's minus the worse one's."""
    assert view.pairs is not None
    return value[view.pairs[:, 0]] - value[view.pairs[:, 1]]


def _bradley_terry(view: StepView, config: BradleyTerryConfig, state: None) -> Term:
    assert view.judged is not None and view.pairs is not None
    chosen, rejected = view.judged[view.pairs].unbind(1)
    return Term(pair_loss(chosen, rejected, config, _gap(trajectory_return(view), view)), level="pair")


def calibration(difference: Tensor, num_bins: int = BINS) -> tuple[float, Tensor, Tensor, Tensor]:
    """How far predicted probabilities are from what is right.

    difference: [P], s_w - s_l.   Returns the expected calibration error, sum over bins of n/P |right/n - mean p|, and a
    bin's number of pairs, of right ones (a tie is none), and sum of predicted probabilities p = sigma(|d|), [B] each.
    """
    predicted = torch.sigmoid(difference.abs())
    own = ((predicted - 0.5) * 2 * num_bins).long().clamp(max=num_bins - 1)
    pairs, right, expected = (
        torch.zeros(num_bins, dtype=predicted.dtype).index_add(0, own, value.to(predicted))
        for value in (torch.ones_like(predicted), difference > 0, predicted)
    )
    return float((right - expected).abs().sum()) / max(len(difference), 1), pairs, right, expected


def correlation(x: Tensor, y: Tensor) -> float:
    """Pearson's; 0 where either is constant.   x, y: [K] float."""
    x, y = x - x.mean(), y - y.mean()
    norm = float(x.norm() * y.norm())
    return float(x @ y) / norm if norm else 0.0


def judgement_metrics(view: StepView) -> dict[str, float]:
    """What the scores of a batch come to, by the names of docs/metrics.md."""
    assert view.judged is not None
    judged, difference = view.judged.detach(), _gap(view.judged.detach(), view)
    lengths = count_by(view.trajectory_of_token, view.num_trajectories).to(judged)
    error, pairs, right, expected = calibration(difference)
    shown = {
        "reward_model/accuracy": float((difference > 0).double().sum()) / max(len(difference), 1),
        "reward_model/margin": float(difference.sum()) / max(len(difference), 1),
        "reward_model/mean": float(judged.mean()),
        "reward_model/min": float(judged.min()),
        "reward_model/max": float(judged.max()),
        "reward_model/length_correlation": correlation(judged, lengths),
        "reward_model/calibration_error": error,
    }
    for number in range(BINS):
        shown[f"reward_model/pairs_{number}"] = float(pairs[number])
        shown[f"reward_model/right_{number}"] = float(right[number])
        shown[f"reward_model/expected_{number}"] = float(expected[number])
    return shown


BRADLEY_TERRY = Part(
    name="bradley-terry",
    kind="surrogate",
    bind=_bradley_terry,
    config=BradleyTerryConfig,
    needs=("judged", "pairs"),
    couples="group",
    metrics=lambda view, config, state: judgement_metrics(view),
)
"""The likelihood of the order of preference pairs under the scores of the reward model that is trained."""
REWARD_MODEL = Algorithm(
    name="reward-model",
    citation=(
        "R. A. Bradley, M. E. Terry: Rank analysis of incomplete block designs. Biometrika 39, 1952; L. Ouyang et al.: "
        "Training language models to follow instructions with human feedback. NeurIPS 2022. arXiv 2203.02155."
    ),
    returns="outcome",
    pairing="all-pairs",
    advantage=None,
    surrogate=BRADLEY_TERRY,
    aggregate="pair-mean",
    learns_from="data",
)
