"""Preference losses: what the DPO family makes of two trajectories, as functions of one number a side.

    a = log p(chosen) - log p_reference(chosen),   r = log p(rejected) - log p_reference(rejected)
    each summed over the response tokens that carry loss, of all turns;   ls = log sigmoid,   s = sigmoid

A margin is beta times a difference, a reward beta times a log-ratio. Every formula is that of TRL 1.16.0's
`DPOTrainer._compute_loss`, which was read and run, unless its function says otherwise. Nothing is divided by the number
of pairs: what a pair counts is its pairing's and the aggregate's.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from agentrl.segments import count_by, sum_by
from agentrl.trainers.parts.places import place_within

Divergence = Literal["reverse_kl", "forward_kl", "js", "alpha"]
_STEEPEST = 80.0
"""Exponents are held here, so that an exponential stays a number in single precision; beyond it has no gradient."""


@dataclass(frozen=True)
class PairNumbers:
    """The sides of P pairs. Log-probs are sums over tokens, in nats; those of the policy have a gradient."""

    chosen_logp: Tensor
    """[P]."""
    rejected_logp: Tensor
    """[P]."""
    chosen_reference: Tensor
    """[P]; 0 where no reference is read."""
    rejected_reference: Tensor
    """[P]; the same."""
    chosen_tokens: Tensor
    """[P] float: how many carry loss, at least 1."""
    rejected_tokens: Tensor
    """[P] float."""
    weight: Tensor
    """[P] float, not negative: what a pair counts beside others."""

    @property
    def chosen_ratio(self) -> Tensor:
        """a.   [P]."""
        return self.chosen_logp - self.chosen_reference

    @property
    def rejected_ratio(self) -> Tensor:
        """r.   [P]."""
        return self.rejected_logp - self.rejected_reference


def weighed_sides(values: Tensor, trajectory_of_token: Tensor, place: Tensor, pairs: Tensor, tail: float) -> Tensor:
    """Sums over the tokens of both sides of each pair; those beyond the shorter side's length count `tail` (LD-DPO).

    values: [N'] of the tokens that carry loss, with gradient.   trajectory_of_token: [N'] int.
    place: [N'] int: tokens of a trajectory are counted in this order.   pairs: [P, 2] int.   Returns [P, 2].
    LD-DPO's rule (arXiv 2409.06411) as in TRL, `ld_alpha`.
    """
    size = 1 + max((int(index.max()) for index in (trajectory_of_token, pairs) if index.numel()), default=-1)
    if tail == 1:
        return sum_by(values, trajectory_of_token, size)[pairs]
    count = count_by(trajectory_of_token, size)
    within = place_within(trajectory_of_token, place, size)
    by_place = torch.argsort((count.cumsum(0) - count)[trajectory_of_token] + within)
    shorter = count[pairs].amin(1)
    summed = []
    for own in pairs.unbind(1):
        length = count[own]
        pair = torch.repeat_interleave(torch.arange(len(own)), length)
        nth = torch.arange(len(pair)) - (length.cumsum(0) - length)[pair]
        token = by_place[(count.cumsum(0) - count)[own][pair] + nth]
        weighed = torch.where(nth < shorter[pair], values[token], tail * values[token])
        summed.append(sum_by(weighed, pair, len(own)))
    return torch.stack(summed, 1)


def divergence_score(log_ratio: Tensor, divergence: Divergence, alpha: float) -> Tensor:
    """f'(u) of a log-ratio log u, which stands for it in the margin (f-DPO, arXiv 2309.16240).

    reverse_kl: log u (DPO).   forward_kl: 1 - 1/u.   js: log(2u / (1 + u)).   alpha: (u^(alpha-1) - 1) / (alpha - 1),
    which is reverse_kl at alpha 1.   log_ratio: [P], with gradient.   Returns [P]. That forward_kl's exponent is held
    at 80 is ours; alpha's is in TRL.
    """
    if divergence == "reverse_kl" or (divergence == "alpha" and abs(alpha - 1) < 1e-6):
        return log_ratio
    if divergence == "js":
        return math.log(2) + logsigmoid(log_ratio)
    if divergence == "forward_kl":
        return 1 - (-log_ratio).clamp(max=_STEEPEST).exp()
    return (((alpha - 1) * log_ratio).clamp(max=_STEEPEST).exp() - 1) / (alpha - 1)


def logistic(margin: Tensor, smoothing: float = 0.0) -> Tensor:
    """-(1 - eps) ls(m) - eps ls(-m).   margin: [P], with gradient.   Returns [P].

    eps 0: DPO (arXiv 2305.18290). Above it a label is wrong with that probability: conservative DPO, as in TRL 0.24.0.
    """
    if smoothing == 0:
        return -logsigmoid(margin)
    return -(1 - smoothing) * logsigmoid(margin) - smoothing * logsigmoid(-margin)


def robust_logistic(margin: Tensor, smoothing: float) -> Tensor:
    """(-(1 - eps) ls(m) + eps ls(-m)) / (1 - 2 eps), 0 <= eps < 1/2: unbiased where labels are flipped (2403.00409).

    margin: [P], with gradient.   Returns [P]; may be negative.
    """
    return ((smoothing - 1) * logsigmoid(margin) + smoothing * logsigmoid(-margin)) / (1 - 2 * smoothing)


def hinge(margin: Tensor) -> Tensor:
    """max(0, 1 - m), without a gradient at the kink (SLiC-HF, arXiv 2305.10425).   margin: [P].   Returns [P]."""
    return (1 - margin).relu()


def squared_error(gap: Tensor, beta: float) -> Tensor:
    """(gap - 1/(2 beta))^2 (IPO, arXiv 2310.12036).   gap: [P], with gradient.   Returns [P]."""
    return (gap - 1 / (2 * beta)).square()


def exact(margin: Tensor, smoothing: float) -> Tensor:
    """s(m) (ls(m) - log(1 - eps)) + s(-m) (ls(-m) - log eps): KL of the policy's preference from the label's.

    margin: [P], with gradient.   smoothing: eps, 0 < eps < 1.   Returns [P]. EXO for pairs (arXiv 2402.00856). Its
    gradient vanishes where the policy prefers the wrong side by far.
    """
    sure = margin.sigmoid() * (logsigmoid(margin) - math.log1p(-smoothing))
    return sure + (-margin).sigmoid() * (logsigmoid(-margin) - math.log(smoothing))


def noise_contrastive(chosen_reward: Tensor, rejected_reward: Tensor) -> Tensor:
    """-ls(x) - ls(-x)/2 - ls(-y)/2: the chosen one's likelihood itself rises (NCA, arXiv 2402.05369).

    chosen_reward, rejected_reward: [P], with gradient.   Returns [P].
    """
    held_down = logsigmoid(-chosen_reward) + logsigmoid(-rejected_reward)
    return -logsigmoid(chosen_reward) - held_down / 2


def binary(chosen_reward: Tensor, rejected_reward: Tensor, shift: float = 0.0) -> Tensor:
    """-ls(x - shift) - ls(-(y - shift)): both sides classified by themselves (BCO, arXiv 2404.04656).

    chosen_reward, rejected_reward: [P], with gradient.   Returns [P].
    """
    return -logsigmoid(chosen_reward - shift) - logsigmoid(shift - rejected_reward)


def self_play(chosen_ratio: Tensor, rejected_ratio: Tensor, beta: float) -> Tensor:
    """(a - 1/(2 beta))^2 + (r + 1/(2 beta))^2 (SPPO, arXiv 2405.00675, with win probabilities 1 and 0).

    chosen_ratio, rejected_ratio: [P], with gradient.   Returns [P].
    """
    return (chosen_ratio - 0.5 / beta).square() + (rejected_ratio + 0.5 / beta).square()


def anchored_up(chosen_reward: Tensor, rejected_reward: Tensor) -> Tensor:
    """1 - s(x) + s(y): for chosen replies better than the model's own (APO-zero, arXiv 2408.06266).

    chosen_reward, rejected_reward: [P], with gradient.   Returns [P].
    """
    return (-chosen_reward).sigmoid() + rejected_reward.sigmoid()


def anchored_down(chosen_reward: Tensor, rejected_reward: Tensor) -> Tensor:
    """s(x) + 1 - s(x - y): for chosen replies worse than the model's own (APO-down, arXiv 2408.06266).

    chosen_reward, rejected_reward: [P], with gradient.   Returns [P].
    """
    return chosen_reward.sigmoid() + (rejected_reward - chosen_reward).sigmoid()


def log_ratio_modulated(margin: Tensor, temperature: float) -> Tensor:
    """-ls(m) (1 - k) + exp(-m) k, k = s(m / temperature) (DiscoPOP, arXiv 2406.08414).

    margin: [P], with gradient.   Returns [P]. The second product is exp(-m + log k), its exponent held at 80: no margin
    is so far off that it gives nan, as released code does.
    """
    modulation = margin / temperature
    exponential = (logsigmoid(modulation) - margin).clamp(max=_STEEPEST).exp()
    return -logsigmoid(margin) * (-modulation).sigmoid() + exponential


def sorted_logistic(above: Tensor, below: Tensor, weight: Tensor, beta: float, smoothing: float) -> Tensor:
    """`logistic` of beta (x - y), x and y coupled by their order: the smallest with the smallest (AOT, 2406.05882).

    above: [P] x, with gradient.   below: [P] y, with or without.   weight: [P], not negative.
    Returns [P], by `above`; a pair whose weight is 0 gives 0. Where weights differ, masses are coupled in order (ours):
    a pair is compared with every y that its share of the mass meets, so that ties and the batch's order do not matter.
    """
    by_x, by_y = above.detach().argsort(), below.detach().argsort()
    mass = (weight / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)).double()
    ends_x, ends_y = mass[by_x].cumsum(0), mass[by_y].cumsum(0)
    ends = torch.cat([ends_x, ends_y]).sort().values
    starts = torch.cat([ends.new_zeros(1), ends[:-1]]) if len(ends) else ends
    width, middle, last = ends - starts, (starts + ends) / 2, max(len(above) - 1, 0)
    filled = width > 1e-12  # what is narrower is a rounding error of equal masses
    middle, width = middle[filled], width[filled].to(above)
    x = by_x[torch.searchsorted(ends_x, middle).clamp(max=last)]
    y = by_y[torch.searchsorted(ends_y, middle).clamp(max=last)]
    share = sum_by(width, x, len(above))
    value = sum_by(width * logistic(beta * (above[x] - below[y]), smoothing), x, len(above))
    return torch.where(share > 0, value / torch.where(share > 0, share, 1.0), 0.0)
