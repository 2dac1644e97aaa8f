"""P3O: pairwise PPO, a policy gradient from differences of rewards (arXiv 2310.00212).

    q    = R_1 - R_2 - beta * (l_1 - l_2),   l = lp - ref of a trajectory;   q, c and w are not differentiated
    r_k  = exp(lp_k - old_k),   c(r) = clip(r, 1 / C, C)

    separate:  L = mean over the pairs of 1/2 * ( max(-q c(r_2) r_1, -q c(r_2) clip(r_1, 1 - e, 1 + e))
                                                + max( q c(r_1) r_2,  q c(r_1) clip(r_2, 1 - e, 1 + e)) )
    joint:     L = mean over the pairs of 1/2 * max(-q w d, -q w clip(d, d_old - e, d_old + e))
               w = clip(r_1 r_2, 1 / C, C),   d = l_1 - l_2,   d_old = the same under the old policy

Adding the same to all rewards of a prompt changes nothing, as in no PPO with a value function. Where nothing is
clipped, both are CoPG's gradient times r_1 r_2 / 2; the value of `separate` is then 0: read the norm of the gradient.

Formulas from the released code: separate from thwu1/rlhf_sac (a86805c), joint from thwu1/trlx (a87c31e), both read and
run; of the paper, abstract and reviews. Released: C = 10, e = .2, beta .05 for separate (a constant in the code), .01
for joint, 2 epochs on 32 rollouts of 2 responses. Of that trainer's switches `avg_tokenwise` is on: the sum over pairs
by the number of their tokens, without the half. Its running scale of rewards is not built. It learns from the first
two responses of a prompt; of larger groups all pairs are taken here, and a group counts once (derived). Ties are pairs:
they pull towards the reference. On logged data old is the policy before the step's updates, as if it had sampled them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.log_ratios import log_ratio, margin, mean_of, sides, trajectory_sum
from agentrl.trainers.parts.pairings import trajectory_return
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class P3OConfig:
    beta: float = 0.05
    """What a nat of divergence from the reference costs; .05 as released for separate clips, .01 for joint ones."""
    clip: float = 0.2
    """e: how far a trajectory's ratio, or the joint log-ratio, is followed from the old policy's."""
    ratio_cap: float = 10.0
    """C: a ratio that weighs is held between 1 / C and C."""

    def __post_init__(self) -> None:
        require(self.beta >= 0, f"beta is {self.beta}; it must not be negative")
        require(self.clip > 0, f"clip is {self.clip}; it must be above 0")
        require(self.ratio_cap >= 1, f"ratio_cap is {self.ratio_cap}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class P3OJointConfig(P3OConfig):
    beta: float = 0.01
    """What a nat of divergence from the reference costs; .01 as released."""
    scale_q: bool = False
    """Divide q by its standard deviation over the batch's pairs, where there are two that differ."""
    avg_tokenwise: bool = True
    """Divide by the number of response tokens, not twice that of pairs; true as released."""
    clip_tokenwise: bool = False
    """Hold each token's log-prob near its old one, not the trajectories'; divided by the number of tokens."""


def relative_reward(reward_gap: Tensor, gap: Tensor, beta: float) -> Tensor:
    """q = R_1 - R_2 - beta * (l_1 - l_2), without a gradient.   reward_gap, gap: [P].   Returns [P]."""
    return reward_gap - beta * gap.detach()


def scaled(q: Tensor) -> Tensor:
    """q over its unbiased standard deviation; as it stands where that is 0, or of one pair.   q: [P].   Returns [P]."""
    spread = q.std() if len(q) > 1 else q.new_zeros(())
    return q / spread if bool(spread > 0) else q


def separate_clip(q: Tensor, moved: tuple[Tensor, Tensor], clip: float, cap: float) -> tuple[Tensor, Tensor]:
    """The two summands of `separate`, with the half, and how much of them is clipped: 0, 1/2 or 1.

    q: [P].   moved: [P], [P] lp - old of each side, with gradient; held within [-20, 20].   Returns [P], [P].
    """
    ratio = [side.clamp(-20, 20).exp() for side in moved]
    weight = [side.detach().clamp(1 / cap, cap) for side in ratio]
    slope = (-q * weight[1], q * weight[0])
    free = [s * r for s, r in zip(slope, ratio, strict=True)]
    bound = [s * r.clamp(1 - clip, 1 + clip) for s, r in zip(slope, ratio, strict=True)]
    loss = [torch.where(b > f, b, f) for b, f in zip(bound, free, strict=True)]
    taken = [(b > f).to(q) for b, f in zip(bound, free, strict=True)]
    return (loss[0] + loss[1]) / 2, (taken[0] + taken[1]) / 2


def joint_clip(slope: Tensor, gap: Tensor, old_gap: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """max(-q w d, -q w clip(d, d_old - e, d_old + e)), and 1 where the latter is larger.

    slope: [P] -q w.   gap: [P] d, with gradient.   old_gap: [P] d_old.   Returns [P], [P].
    """
    free, bound = slope * gap, slope * (old_gap + (gap - old_gap).clamp(-clip, clip))
    return torch.where(bound > free, bound, free), (bound > free).to(slope)


def _moved(view: StepView) -> tuple[Tensor, Tensor]:
    """[P], [P] lp - old of each side of a pair."""
    assert view.current is not None and view.old is not None
    return sides(view, trajectory_sum(view, view.current - view.old.detach()))


def _q(view: StepView, config: P3OConfig) -> Tensor:
    q = relative_reward(margin(view, trajectory_return(view)), margin(view, log_ratio(view)), config.beta)
    return scaled(q) if isinstance(config, P3OJointConfig) and config.scale_q else q


def _separate(view: StepView, config: P3OConfig, state: None) -> Term:
    return Term(separate_clip(_q(view, config), _moved(view), config.clip, config.ratio_cap)[0], "pair")


def _slope(view: StepView, config: P3OConfig) -> Tensor:
    """-q w: [P]."""
    first, second = _moved(view)
    ratio = (first + second).detach().clamp(-20, 20).exp()
    return -_q(view, config) * ratio.clamp(1 / config.ratio_cap, config.ratio_cap)


def _joint_of(view: StepView, config: P3OConfig) -> tuple[Tensor, Tensor]:
    assert view.old is not None and view.reference is not None
    old_gap = margin(view, trajectory_sum(view, view.old - view.reference)).detach()
    return joint_clip(_slope(view, config), margin(view, log_ratio(view)), old_gap, config.clip)


def _tokenwise(view: StepView, slope: Tensor, clip: float) -> Tensor:
    """Sum over the tokens t of  max(s lp_t, s clip(lp_t, old_t - e, old_t + e)),  s the slope, or minus it: [P]."""
    assert view.current is not None and view.old is not None
    old = view.old.detach()
    above = sides(view, trajectory_sum(view, torch.where(view.current > old - clip, view.current, old - clip)))
    below = sides(view, trajectory_sum(view, torch.where(view.current < old + clip, view.current, old + clip)))
    return slope * (torch.where(slope > 0, above[0], below[0]) - torch.where(slope > 0, below[1], above[1]))


def _joint(view: StepView, config: P3OJointConfig, state: None) -> Term:
    if config.clip_tokenwise:
        return Term(_tokenwise(view, _slope(view, config), config.clip), "pair", aggregate="pair-token-mean")
    values = _joint_of(view, config)[0]
    return Term(values, "pair", aggregate="pair-token-mean") if config.avg_tokenwise else Term(values / 2, "pair")


@torch.no_grad()
def _metrics(view: StepView, config: P3OConfig, state: None) -> dict[str, float]:
    q, ratio = _q(view, config), sum(_moved(view), view.score.new_zeros(())).clamp(-20, 20).exp()
    joint = isinstance(config, P3OJointConfig)
    clipped = _joint_of(view, config) if joint else separate_clip(q, _moved(view), config.clip, config.ratio_cap)
    return {
        "p3o/q": mean_of(q),
        "p3o/q_abs": mean_of(q.abs()),
        "p3o/reward_gap": mean_of(margin(view, trajectory_return(view)).abs()),
        "p3o/ratio_min": float(ratio.min()) if len(ratio) else 1.0,
        "p3o/ratio_max": float(ratio.max()) if len(ratio) else 1.0,
        "p3o/clip_fraction": mean_of(clipped[1]),
    }


P3O_SEPARATE = Part(
    name="p3o-separate",
    kind="surrogate",
    bind=_separate,
    config=P3OConfig,
    section="p3o",
    needs=("old", "reference", "pairs"),
    couples="group",
    metrics=_metrics,
)
"""P3O's with a clip a trajectory: each side's ratio is held near 1, weighed by the other's."""
P3O_TOGETHER = Part(
    name="p3o-joint",
    kind="surrogate",
    bind=_joint,
    config=P3OJointConfig,
    section="p3o",
    needs=("old", "reference", "pairs"),
    couples=lambda config: "batch" if config.scale_q else "group",
    metrics=_metrics,
)
"""P3O's with one clip for both: their log-ratio is held near the old policy's."""
P3O = Algorithm(
    name="p3o",
    citation=(
        "T. Wu et al.: Pairwise proximal policy optimization: harnessing relative feedback for LLM alignment. arXiv "
        "2310.00212."
    ),
    pairing="all-pairs",
    advantage=None,
    surrogate=P3O_SEPARATE,
    aggregate="pair-mean",
    learns_from="both",
    settings={"pairing": {"ties": True}},
)
P3O_JOINT = Algorithm(
    name="p3o-joint",
    citation=P3O.citation,
    pairing="all-pairs",
    advantage=None,
    surrogate=P3O_TOGETHER,
    aggregate="pair-mean",
    learns_from="both",
    settings=P3O.settings,
)
