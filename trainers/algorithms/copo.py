"""COPO: consistency-aware policy optimisation (arXiv 2508.04138).

    H_q    = -sum over the answers c of group q of  p_c log2 p_c        p_c: share of the rollouts that answered c
    w_q    = sigmoid(k * (H_q - b))
    R_q    = mean of R over the group, with `consistency_reward` times (1 - (1 - 1/n) / log2 n * H_q)
    A_glob = (R_q - mean of R_q over the groups) / (std + 1e-6)          the same for every rollout of q
    A_loc  = (R - mean of R over the group) / (std + 1e-6)
    L      = (1 - w_q) * L_clip(A_glob) + w_q * L_clip(A_loc)

Where a group's answers agree, comparing its members says little, and the group is compared with the others of the batch
instead: also a group in which all succeed is pushed. The blend is of losses, not of advantages: with a dual clip and
opposite signs they differ. A clipped loss scales with its advantage, so that each is given its share beforehand: two
channels, w * A_loc and (1 - w) * A_glob, and the surrogate's terms are taken for both. So it goes with any surrogate.

From the released code (hijih/copo-code), as it was read; its runs pass "soft-with-zero", which that code takes for
another mode. Rules: one group, or equal group means: A_glob 0; a group of one: H = lambda = 0. Statistics unbiased.
Equal answers are what the world says they are (`Outcome.answer`), or equal last actions.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.segments import count_by, mean_by, sum_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.advantages import group_norm, members_of_groups
from agentrl.trainers.step_view import Channels, StepView


@dataclass(frozen=True, kw_only=True)
class COPOConfig:
    k: float = 5.0
    """How sharply the weight turns from the batch's comparison to the group's; 5 as released."""
    b: float = 1.0
    """Entropy of the answers, in bits, at which both count the same; 1 as released."""
    consistency_reward: bool = False
    """Lower R_q by how far the answers of its group differ; off in the released script."""
    blend: Literal["soft", "soft_with_zero"] = "soft"
    """soft_with_zero: a rollout whose return is 0 is judged by the comparison of groups alone, as the script means."""
    epsilon: float = 1e-6
    """Added to the standard deviations; 1e-6 as released."""

    def __post_init__(self) -> None:
        for name in ("k", "epsilon"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")


def answer_entropy(answer: Tensor, group: Tensor, counted: Tensor, num_groups: int) -> Tensor:
    """H_q in bits.   answer, group: [J] int.   counted: [J] bool.   Returns [G] float64; no member: 0."""
    if not bool(counted.any()):
        return torch.zeros(num_groups, dtype=torch.float64)
    cells, cell = torch.unique(torch.stack([group[counted], answer[counted]], 1), dim=0, return_inverse=True)
    share = count_by(cell, len(cells)).double() / count_by(group[counted], num_groups)[cells[:, 0]]
    return -sum_by(share * share.log2(), cells[:, 0], num_groups)


def consistency_slope(num_members: Tensor) -> Tensor:
    """lambda_q = (1 - 1/n) / log2 n; fewer than two members: 0.   num_members: [G] int.   Returns [G] float64."""
    n = num_members.clamp(min=2).double()
    return torch.where(num_members > 1, (1 - 1 / n) / n.log2(), torch.zeros_like(n))


@dataclass(frozen=True)
class Consistency:
    """What COPO knows of each group and trajectory."""

    entropy: Tensor
    """[G] bits."""
    slope: Tensor
    """[G] lambda."""
    global_reward: Tensor
    """[G] R_q."""
    global_advantage: Tensor
    """[G]."""
    local_advantage: Tensor
    """[J]."""
    local_weight: Tensor
    """[J] weight of the group's own comparison."""


def consistency(view: StepView, config: COPOConfig) -> Consistency:
    """Everything that stands in the equations, from the returns and answers of the whole batch."""
    assert view.answer_class is not None
    value, group, counted, _ = members_of_groups(view, "trajectory")
    size = count_by(group[counted], view.num_groups)
    entropy = answer_entropy(view.answer_class, group, counted, view.num_groups).to(value)
    slope = consistency_slope(size).to(value)
    reward = mean_by(value[counted], group[counted], view.num_groups)
    if config.consistency_reward:
        reward = reward * (1 - slope * entropy)
    over_groups = group_norm(reward, torch.zeros_like(size), size > 0, 1, epsilon=config.epsilon)
    local = group_norm(value, group, counted, view.num_groups, epsilon=config.epsilon, singleton=view.singleton)
    weight = torch.sigmoid(config.k * (entropy - config.b))[group]
    if config.blend == "soft_with_zero":
        weight = weight * (value != 0)
    return Consistency(entropy, slope, reward, over_groups, local, weight)


def _copo(view: StepView, config: COPOConfig, state: None) -> Channels:
    of, trajectory = consistency(view, config), view.trajectory_of_token
    in_statistics = view.in_statistics[trajectory].to(of.local_weight)
    weight = of.local_weight[trajectory]
    over_groups = of.global_advantage[view.group_of_trajectory][trajectory] * in_statistics
    return Channels(weight * of.local_advantage[trajectory], (1 - weight) * over_groups)


def _metrics(view: StepView, config: COPOConfig, state: None) -> dict[str, float]:
    """Of the groups at hand; `view` may be a minibatch."""
    of = consistency(view, config)
    here = count_by(view.group_of_trajectory[view.in_statistics], view.num_groups) > 0
    weight = of.local_weight[view.in_statistics]
    return {
        "copo/answer_entropy": float(of.entropy[here].sum()) / max(int(here.sum()), 1),
        "copo/local_weight": float(weight.sum()) / max(len(weight), 1),
    }


CONSISTENCY = Part(
    name="consistency", kind="advantage", bind=_copo, config=COPOConfig, section="copo", metrics=_metrics
)
"""COPO's two: within the group, and of the group within the batch, weighed by how far the group's answers differ."""
COPO = Algorithm(
    name="copo",
    citation="J. Han et al.: COPO: consistency-aware policy optimization. arXiv 2508.04138.",
    returns="outcome",
    advantage=CONSISTENCY,
    surrogate="ppo-clip",
    aggregate="trajectory-mean",
    settings={"ppo-clip": {"clip_low": 0.2, "clip_high": 0.2, "dual_clip": 3.0}},
)
