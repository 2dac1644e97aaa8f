"""HPT: hybrid post-training, which learns a question from a demonstration until it is solved (arXiv 2509.04419).

    a question with n rollouts of which s succeed:   s <= gamma * n : its demonstration is learned, L_SFT;  else L_RL
    L_RL  = mean over its tokens of  max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)),   A = R - mean of R (no std)
    L_SFT = - mean over the demonstration's tokens of  log p

    combine two_token_means:  L = mean over all tokens of rollouts  +  coef * mean over all tokens of demonstrations
    combine question_mean:    L = mean over the questions of  (mean over rollouts of token means,  or  coef * L_SFT)

The paper's loss is a question's; two_token_means is near the released code, and the default. They differ by orders of
magnitude in how much RL weighs beside SFT. gamma is 0 for Qwen models, 0.25 (2 of 8) for Llama, in the paper; gamma * n
is compared with 1e-9 of slack. The rollouts of a demonstrated question leave the batch. Where there is no demonstration
that works, the question stays with RL: if all failed, its advantages are 0 and its tokens still count in the mean.
The released code (TsinghuaC3I/Unify-Post-Training, commit ae332f5) never clips (`clip: false`), and divides the RL loss
by the padded length alone, which is not repeated here. A demonstration is the world's solution, played in the world and
written in the run's memory and format; its log-probs are taken at the rollout's temperature, as all in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.segments import count_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part, Rehearsal
from agentrl.trainers.parts.aggregates import at_level
from agentrl.trainers.parts.surrogates import ppo_clip
from agentrl.trainers.step_view import Level, StepView, Term
from agentrl.types import ENDS, Trajectory


@dataclass(frozen=True, kw_only=True)
class HPTConfig:
    gamma: float = 0.0
    """A group of which at most this share succeeds is learned from its demonstration; 0 for Qwen, 0.25 for Llama."""
    coef: float = 1.0
    """Weight of the demonstrations' loss; the paper's 1, 0.3 for its 1.5B model."""
    combine: Literal["two_token_means", "question_mean"] = "two_token_means"
    """How the two losses share a batch."""
    clip: bool = True
    """Hold the ratio near 1; false as released."""
    clip_low: float = 0.2
    """The ratio is held above 1 - clip_low where that matters."""
    clip_high: float = 0.2
    """The ratio is held below 1 + clip_high where that matters."""

    def __post_init__(self) -> None:
        require(0 <= self.gamma <= 1, f"gamma is {self.gamma}; it must be from 0 to 1")
        require(self.coef >= 0, f"coef is {self.coef}; it must not be negative")


def unsolved(successes: int, rollouts: int, gamma: float) -> bool:
    """Is the question to be learned from its demonstration."""
    return rollouts > 0 and successes <= gamma * rollouts + 1e-9


async def demonstrate(
    groups: Sequence[list[Trajectory]], rehearsal: Rehearsal, config: HPTConfig, state: None
) -> list[list[Trajectory]]:
    """Unsolved groups become their demonstration. Infrastructure failures are no rollouts."""
    asked = []
    for number, group in enumerate(groups):
        scored = [t for t in group if ENDS[t.ended].scored]
        if unsolved(sum(t.outcome.success for t in scored), len(scored), config.gamma):
            asked.append(number)
    found = await rehearsal.demonstrations([(groups[i][0].task, groups[i][0].group) for i in asked])
    shown = {number: one for number, one in zip(asked, found, strict=True) if one is not None}
    rehearsal.counts["hpt/demonstrated_share"] = len(shown) / max(len(groups), 1)
    rehearsal.counts["hpt/missing_demonstrations"] = float(len(asked) - len(shown))
    return [[shown[number]] if number in shown else group for number, group in enumerate(groups)]


def question_mean(trained: Tensor, trajectory: Tensor, group_of_trajectory: Tensor, num_groups: int) -> Tensor:
    """w = 1 / (tokens of its trajectory * trajectories of its group * groups), of what carries loss.

    trained: [N] float, 0 or 1.   trajectory: [N] int.   group_of_trajectory: [J] int.   Returns [N].
    """
    tokens = torch.zeros(len(group_of_trajectory)).to(trained).index_add(0, trajectory, trained)
    members = count_by(group_of_trajectory[tokens > 0], num_groups)
    of_trajectory = tokens * members[group_of_trajectory] * (members > 0).sum()
    return trained / of_trajectory[trajectory].clamp(min=1)


def _question_mean(view: StepView, level: Level, config: None) -> Tensor:
    trained = view.trained.to(view.score)
    weight = question_mean(trained, view.trajectory_of_token, view.group_of_trajectory, view.num_groups)
    return at_level(weight, view, level)


def _hybrid(view: StepView, config: HPTConfig, state: None) -> Term | list[Term]:
    assert view.current is not None and view.old is not None and view.advantage is not None
    assert view.demonstrated is not None
    low, high = (config.clip_low, config.clip_high) if config.clip else (1.0, float("inf"))
    played = ppo_clip(view.current, view.old.detach(), view.advantage.detach(), low, high, 0.0).loss
    shown = view.demonstrated[view.trajectory_of_token]
    if config.combine == "question_mean":
        return Term(torch.where(shown, -config.coef * view.current, played), aggregate="question-mean")
    return [Term(played, of=~shown), Term(-view.current, weight=config.coef, of=shown)]


HPT_DEMONSTRATE = Part(
    name="hpt-demonstrate",
    kind="rewrite",
    bind=demonstrate,
    config=HPTConfig,
    section="hpt",
    needs=("solutions",),
)
"""HPT's gate: a group that is not solved becomes its demonstration."""
HPT_HYBRID = Part(
    name="hpt-hybrid",
    kind="surrogate",
    bind=_hybrid,
    config=HPTConfig,
    section="hpt",
    needs=("old", "advantage", "solutions"),
)
"""HPT's: the clipped ratio on what was played, the likelihood on what was demonstrated."""
QUESTION_MEAN = Part(name="question-mean", kind="aggregate", bind=_question_mean)
"""Every group counts the same, its trajectories share, and the tokens of a trajectory share its share."""
HPT = Algorithm(
    name="hpt",
    citation="X. Lv et al.: Towards a unified view of large language model post-training. arXiv 2509.04419.",
    rewrites=(HPT_DEMONSTRATE,),
    returns="outcome",
    advantage="group-norm",
    surrogate=HPT_HYBRID,
    aggregate="token-mean",
    settings={"group-norm": {"std": False}},
)
