"""CoPG: contrastive policy gradient, off-policy on pairs with scores, without importance weights (arXiv 2406.19185).

    pairs:          L = mean over the pairs of  beta / 2 * (d - (R_1 - R_2) / beta)^2,   d = l_1 - l_2,  l = lp - ref
    leave-one-out:  L = mean over the groups of  -2 / G * sum over its G members i of  A_i lp_i
                    A_i = R_beta(i) - mean of R_beta over the others,   R_beta = R - beta * l,   not differentiated

lp and ref are sums over the response tokens of a trajectory under policy and reference. The paper maximises
(R_{beta/2}(1) - R_{beta/2}(2)) * d, whose gradient is that with beta in place of beta / 2; the square is minus that and
(R_1 - R_2)^2 / (2 beta), which does not depend on the policy: a regression of which the error can be read. Over all
pairs of each group both forms have the same gradient (derived), and leave-one-out needs no pairs: it is RLOO with the
divergence in the reward, right off-policy too. R = 1/4 and -1/4 is IPO, times beta / 2. Pairs need no order, and ties
pull towards the reference. Trajectories may be from anywhere, whatever sampled them, as long as policy and reference
can say them; the optimum is ref * exp(R / beta), normalised.

The paper's text was read (equations 7 to 9, 18 and 19); no released code was found. Its eq. 17 says that the objective
is minimised, which is a slip of the sign. beta .06 was its best for summaries (.03 to .1 stable), with a learning rate
of 1e-6, a batch of 128 and two epochs. Too small a beta is unstable, which the loss does not show: play while training.
A group of one has nothing to be compared with, and no weight.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.segments import count_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.advantages import leave_one_out
from agentrl.trainers.parts.log_ratios import log_ratio, margin, mean_of, trajectory_sum
from agentrl.trainers.parts.pairings import trajectory_return
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class CoPGConfig:
    beta: float = 0.06
    """What a nat of divergence from the reference costs; the paper's best of .01 to 1."""
    form: Literal["pairs", "leave-one-out"] = "pairs"
    """pairs: by least squares on the pairs of `pairing`. leave-one-out: all pairs of a group, without making them."""

    def __post_init__(self) -> None:
        require(self.beta > 0, f"beta is {self.beta}; it must be above 0")


def residual(gap: Tensor, reward_gap: Tensor, beta: float) -> Tensor:
    """d - (R_1 - R_2) / beta: how far the log-ratios are from what the scores ask for, in nats.

    gap: [P] d.   reward_gap: [P] R_1 - R_2.   Returns [P].
    """
    return gap - reward_gap / beta


def least_squares(gap: Tensor, reward_gap: Tensor, beta: float) -> Tensor:
    """beta / 2 * (d - (R_1 - R_2) / beta)^2.   gap: [P], with gradient.   reward_gap: [P].   Returns [P]."""
    return beta / 2 * residual(gap, reward_gap, beta).square()


def regularised_reward(reward: Tensor, log_ratio: Tensor, beta: float) -> Tensor:
    """R_beta = R - beta * (lp - ref).   reward, log_ratio: [J].   Returns [J]."""
    return reward - beta * log_ratio


def _members(view: StepView) -> Tensor:
    """[J] bool: what is compared: in statistics, and with a token that carries loss."""
    return view.in_statistics & (count_by(view.trajectory_of_token[view.trained], view.num_trajectories) > 0)


def _advantage(view: StepView, config: CoPGConfig) -> tuple[Tensor, Tensor]:
    """[J] A_i, and [J] bool whether there are others in its group."""
    member, group = _members(view), view.group_of_trajectory
    worth = regularised_reward(trajectory_return(view), log_ratio(view).detach(), config.beta)
    compared = member & (count_by(group[member], view.num_groups)[group] > 1)
    return leave_one_out(worth, group, compared, view.num_groups), compared


def _copg(view: StepView, config: CoPGConfig, state: None) -> Term:
    assert view.current is not None
    if config.form == "pairs":
        reward_gap = margin(view, trajectory_return(view))
        return Term(least_squares(margin(view, log_ratio(view)), reward_gap, config.beta), "pair")
    advantage, compared = _advantage(view, config)
    values = -2 * advantage * trajectory_sum(view, view.current)
    return Term(values, "trajectory", aggregate="group-mean", of=compared[view.trajectory_of_token])


def _metrics(view: StepView, config: CoPGConfig, state: None) -> dict[str, float]:
    with torch.no_grad():
        of_trajectory = log_ratio(view)
        worth = regularised_reward(trajectory_return(view), of_trajectory, config.beta)
        error = residual(margin(view, of_trajectory), margin(view, trajectory_return(view)), config.beta)
    mean = mean_of(error)
    return {
        "copg/residual": mean,
        "copg/residual_std": mean_of((error - mean).square()) ** 0.5,
        "copg/weight": mean_of(margin(view, worth).abs()),
        "copg/kl_from_reference": mean_of(of_trajectory[_members(view)]),
    }


COPG_SURROGATE = Part(
    name="copg",
    kind="surrogate",
    bind=_copg,
    config=CoPGConfig,
    needs=("reference", "pairs"),
    couples="group",
    metrics=_metrics,
)
"""CoPG's: the gap between two log-ratios is fitted to the gap between their scores."""
COPG = Algorithm(
    name="copg",
    citation=(
        "Y. Flet-Berliac et al.: Contrastive policy gradient: aligning LLMs on sequence-level scores in a "
        "supervised-friendly fashion. EMNLP 2024. arXiv 2406.19185."
    ),
    pairing="all-pairs",
    advantage=None,
    surrogate=COPG_SURROGATE,
    aggregate="pair-mean",
    learns_from="both",
    settings={"pairing": {"ties": True}},
)
