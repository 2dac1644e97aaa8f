"""What is logged of preference pairs, under the same names for every objective."""

import torch
from torch import Tensor

from agentrl.trainers.parts.aggregates import share_of_pairs
from agentrl.trainers.parts.log_ratios import log_ratio, sides, trajectory_sum
from agentrl.trainers.step_view import StepView


def reward_metrics(reward: tuple[Tensor, Tensor], logp: tuple[Tensor, Tensor], weight: Tensor) -> dict[str, float]:
    """Means over the pairs by their weights, 0 where there is none; a tie counts as wrong.

    reward, logp: [P] of the chosen and [P] of the rejected side: what the loss takes for their worth, and their summed
    log-probs.   weight: [P] float, not negative.
    """
    chosen, rejected = reward
    margin, share = chosen - rejected, share_of_pairs(weight)
    shown = {
        "reward_chosen": chosen,
        "reward_rejected": rejected,
        "margin": margin,
        "accuracy": (margin > 0).to(share),
        "negative_margin": (margin < 0).to(share),
        "gradient_scale": (-margin).sigmoid(),
        "logp_chosen": logp[0],
        "logp_rejected": logp[1],
    }
    return {f"preference/{name}": float((share * value.detach()).sum()) for name, value in shown.items()}


def rising_metrics(chosen_ratio: Tensor, weight: Tensor) -> dict[str, float]:
    """The share of pairs whose chosen side is likelier than under the reference.   chosen_ratio, weight: [P]."""
    return {"preference/chosen_rising": float((share_of_pairs(weight) * (chosen_ratio > 0)).sum())}


@torch.no_grad()
def preference_metrics(view: StepView, beta: float) -> dict[str, float]:
    """Of a loss whose rewards are beta times the log-ratios to the reference."""
    assert view.current is not None and view.pairs is not None
    ratio, logp = sides(view, log_ratio(view)), sides(view, trajectory_sum(view, view.current))
    weight = torch.ones_like(ratio[0]) if view.pair_weight is None else view.pair_weight.to(ratio[0])
    return reward_metrics((beta * ratio[0], beta * ratio[1]), logp, weight) | rising_metrics(ratio[0], weight)
