"""Log-probs of whole trajectories, and of the two sides of a pair: what preference objectives are functions of.

What the world said carries no loss and cancels between policy and reference, so that a trajectory's are the sums over
its response tokens, of all its turns.
"""

from torch import Tensor

from agentrl.segments import sum_by
from agentrl.trainers.step_view import StepView


def trajectory_sum(view: StepView, value: Tensor) -> Tensor:
    """Sum over each trajectory's tokens that carry loss.   value: [N] float.   Returns [J]; without tokens: 0."""
    trained = view.trained
    return sum_by(value[trained], view.trajectory_of_token[trained], view.num_trajectories)


def log_ratio(view: StepView) -> Tensor:
    """lp - ref: log of policy over reference, of the whole trajectory.   Returns [J], with gradient."""
    assert view.current is not None and view.reference is not None
    return trajectory_sum(view, view.current - view.reference.detach())


def sides(view: StepView, value: Tensor) -> tuple[Tensor, Tensor]:
    """The values of the first (chosen) and of the second (rejected) trajectory of each pair.

    value: [J].   Returns [P], [P].
    """
    assert view.pairs is not None
    return value[view.pairs[:, 0]], value[view.pairs[:, 1]]


def margin(view: StepView, value: Tensor) -> Tensor:
    """By how much the first of each pair has more.   value: [J].   Returns [P]."""
    first, second = sides(view, value)
    return first - second


def mean_of(value: Tensor) -> float:
    """Of what is shown: the mean, 0 of nothing.   value: [K] float."""
    return float(value.detach().sum()) / max(len(value), 1)
