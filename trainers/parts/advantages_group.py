"""Further advantages within a group: against a mean by length, scaled by signal, of the best alone, above a greedy one.

As in `advantages.py`: members are trajectories in group statistics, equal members get exactly 0, and one on its own
what `trainer.singleton` says, unless it is said otherwise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.segments import count_by, max_by, mean_by, std_by, sum_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.parts.advantages import Singleton, members_of_groups, return_of_trajectory, signal_metrics
from agentrl.trainers.parts.credit import backward_sum, chain
from agentrl.trainers.parts.gates import groups_that_differ
from agentrl.trainers.step_view import StepView


@dataclass(frozen=True, kw_only=True)
class SignalScaledConfig:
    divisor: float = 1.0
    """F_norm: every advantage is divided by this; 1 as in verl."""

    def __post_init__(self) -> None:
        require(self.divisor > 0, f"divisor is {self.divisor}; it must be above 0")


@dataclass(frozen=True, kw_only=True)
class AboveGreedyConfig:
    to_go: bool = False
    """Add up what is paid from a turn on, as verl does; for returns that are shares of turns, as turn-reward."""


@dataclass(frozen=True, kw_only=True)
class BestAloneConfig:
    std: bool = True
    """Divide by the group's standard deviation."""
    epsilon: float = 1e-6
    """Added to the standard deviation; 1e-6 as in verl."""

    def __post_init__(self) -> None:
        require(self.epsilon >= 0, f"epsilon is {self.epsilon}; it must not be negative")


def _with_signal(value: Tensor, group: Tensor, counted: Tensor, num_groups: int, singleton: Singleton) -> Tensor:
    """[G] bool: groups whose members differ; under `raw` those of one member too."""
    signal = groups_that_differ(value, group, counted, num_groups)
    return signal | (count_by(group[counted], num_groups) == 1) if singleton == "raw" else signal


def above_mean_by_length(
    value: Tensor, length: Tensor, group: Tensor, counted: Tensor, num_groups: int, singleton: Singleton = "zero"
) -> Tensor:
    """A_i = R_i - sum of (length * R) / sum of length, over i's group; a group without any token has baseline 0.

    value, length: [K] float.   group: [K] int.   counted: [K] bool.   Returns [K]; 0 where not counted or all equal.
    OPO (arXiv 2505.23585), from verl's `compute_opo_outcome_advantage`; one on its own under `raw`: R.
    """
    x, n, g = value[counted], length[counted], group[counted]
    baseline = sum_by(n * x, g, num_groups) / sum_by(n, g, num_groups).clamp(min=1)
    if singleton == "raw":
        baseline = baseline.masked_fill(count_by(g, num_groups) == 1, 0.0)
    signal = _with_signal(value, group, counted, num_groups, singleton)
    advantage = torch.where(signal[g], x - baseline[g], torch.zeros_like(x))
    return torch.zeros_like(value).masked_scatter(counted, advantage)


def signal_scaled(
    value: Tensor, group: Tensor, counted: Tensor, num_groups: int, divisor: float = 1.0, singleton: Singleton = "zero"
) -> Tensor:
    """A_i = (J / number of R that are not 0) * (R_i - mean of its group) / divisor, J the members of the batch.

    value: [K] float.   group: [K] int.   counted: [K] bool.   Returns [K]; 0 where not counted or all are equal.
    GPG (arXiv 2504.02546), from verl's `compute_gpg_outcome_advantage`; one on its own under `raw`: mean 0.
    """
    x, g = value[counted], group[counted]
    scale = len(x) / max(int((x != 0).sum()), 1)
    mean = mean_by(x, g, num_groups)
    if singleton == "raw":
        mean = mean.masked_fill(count_by(g, num_groups) == 1, 0.0)
    signal = _with_signal(value, group, counted, num_groups, singleton)
    advantage = torch.where(signal[g], scale * (x - mean[g]) / divisor, torch.zeros_like(x))
    return torch.zeros_like(value).masked_scatter(counted, advantage)


def best_alone(
    value: Tensor, group: Tensor, counted: Tensor, num_groups: int, *, std: bool = True, epsilon: float = 1e-6
) -> Tensor:
    """A of the best of a group = (its R - the second largest R) / (std of the group + epsilon), of all others 0.

    value: [K] float.   group: [K] int.   counted: [K] bool.   Returns [K]; a tie for the best, or a group of one: 0.
    Pass@k training (arXiv 2503.19595), from verl's `compute_grpo_passk_outcome_advantage`, which refuses groups of one.
    """
    x, g = value[counted], group[counted]
    best = max_by(x, g, num_groups)
    is_best = x == best[g]
    alone_best = (sum_by(is_best.to(x), g, num_groups) == 1) & (count_by(g, num_groups) > 1)
    second = max_by(x[~is_best], g[~is_best], num_groups)
    scale = std_by(x, g, num_groups) + epsilon if std else torch.ones_like(best)
    advantage = torch.where(is_best & alone_best[g], (x - second[g]) / scale[g], torch.zeros_like(x))
    return torch.zeros_like(value).masked_scatter(counted, advantage)


def above_greedy(to_go: Tensor, greedy: Tensor) -> Tensor:
    """A_n = G_n - what the greedy policy got on the same task.

    to_go: [N], what is paid from a token on.   greedy: [N], of each token's task.   Returns [N]; [U] of turns alike.
    ReMax (arXiv 2310.10505), from verl's `compute_remax_outcome_advantage`.
    """
    return to_go - greedy


def greedy_returns(value: Tensor, group: Tensor, greedy: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """What the greedy policy got on each group's task, and whether it played it to an end.

    value: [J] float.   group: [J] int.   greedy: [J] bool.   Returns [G] float, 0 where it did not; [G] bool.
    """
    return mean_by(value[greedy], group[greedy], num_groups), count_by(group[greedy], num_groups) > 0


def _above_greedy(view: StepView, config: AboveGreedyConfig, state: None) -> Tensor:
    assert view.returns is not None and view.greedy is not None
    own, returns = view.trajectory_of_turn, view.returns
    if config.to_go:
        returns = backward_sum(returns, torch.ones_like(returns), chain(own, view.order_of_turn))
        value = sum_by(view.returns, own, view.num_trajectories)
    else:
        value = return_of_trajectory(returns, own, view.num_trajectories)
    baseline, known = greedy_returns(value, view.group_of_trajectory, view.greedy, view.num_groups)
    compared = (known[view.group_of_trajectory] & view.in_statistics)[own]
    return above_greedy(returns, baseline[view.group_of_turn]).masked_fill(~compared, 0.0)[view.turn_of_token]


def _above_mean_by_length(view: StepView, config: None, state: None) -> Tensor:
    value, group, counted, member_of_token = members_of_groups(view, "trajectory")
    length = count_by(view.trajectory_of_token, view.num_trajectories).to(value)
    return above_mean_by_length(value, length, group, counted, view.num_groups, view.singleton)[member_of_token]


def _signal_scaled(view: StepView, config: SignalScaledConfig, state: None) -> Tensor:
    value, group, counted, member_of_token = members_of_groups(view, "trajectory")
    return signal_scaled(value, group, counted, view.num_groups, config.divisor, view.singleton)[member_of_token]


def _best_alone(view: StepView, config: BestAloneConfig, state: None) -> Tensor:
    value, group, counted, member_of_token = members_of_groups(view, "trajectory")
    return best_alone(value, group, counted, view.num_groups, std=config.std, epsilon=config.epsilon)[member_of_token]


ABOVE_GREEDY = Part(
    name="above-greedy",
    kind="advantage",
    bind=_above_greedy,
    config=AboveGreedyConfig,
    needs=("greedy",),
    metrics=signal_metrics,
    citation="Z. Li et al.: ReMax: a simple, effective, and efficient reinforcement learning method for aligning large "
    "language models. arXiv 2310.10505.",
)
"""ReMax's: return against that of one greedy episode of the same task, played beside the group and not trained on."""
ABOVE_MEAN_BY_LENGTH = Part(
    name="above-mean-by-length",
    kind="advantage",
    bind=_above_mean_by_length,
    metrics=signal_metrics,
    citation="Y. Hao et al.: On-policy RL with optimal reward baseline (OPO). arXiv 2505.23585.",
)
"""OPO's: return against the group's mean in which every token counts the same."""
SIGNAL_SCALED = Part(
    name="signal-scaled",
    kind="advantage",
    bind=_signal_scaled,
    config=SignalScaledConfig,
    metrics=signal_metrics,
    citation="X. Chu et al.: GPG: a simple and strong reinforcement learning baseline for model reasoning. "
    "arXiv 2504.02546.",
)
"""GPG's: return against the group's mean, larger the fewer returns of the batch are not 0."""
BEST_ALONE = Part(
    name="best-alone",
    kind="advantage",
    bind=_best_alone,
    config=BestAloneConfig,
    metrics=signal_metrics,
    citation="Y. Tang et al.: Optimizing language models for inference time objectives using reinforcement learning "
    "(pass@k). arXiv 2503.19595.",
)
"""Pass@k's: the best of a group by how far it is ahead of the second, nothing for the others."""
