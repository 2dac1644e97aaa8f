"""The optimal token baseline by hand, in any order of the turns."""

import torch

from agentrl.trainers.algorithms.grpo import GRPO
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.optimal_baseline import place_in_trajectory, running_weight
from agentrl.trainers.step_view import StepView
from tests.builders import reordered, view_of

COMPOSITION = compose(GRPO, {"advantage": "optimal-token-baseline"})


def two_of_a_group() -> StepView:
    """Two turns of 1 and 2 tokens with score 1, and one turn of 2 tokens with score 0; pi(o) and q are given."""
    probability = torch.tensor([0.5, 0.25, 0.5, 0.5, 0.75], dtype=torch.float64)
    squares = torch.tensor([0.4, 0.3, 0.6, 0.5, 0.6], dtype=torch.float64)
    view = view_of([[[1, 2], [2]]], score=[1.0, 0.0], old=probability.log())
    return view.with_fields(sampled_probes={"sum-of-squares": squares})


def test_a_token_is_compared_with_the_groups_tokens_at_its_place_by_their_weight() -> None:
    advantage = COMPOSITION.advantage(two_of_a_group()).advantage
    assert advantage is not None
    w = [1 - 1 + 0.4, 1 - 0.5 + 0.3, 1 - 1 + 0.6, 1 - 1 + 0.5, 1 - 1.5 + 0.6]
    first = w[0] / (w[0] + w[3] + 1e-8)
    second = (w[0] + w[1]) / (w[0] + w[1] + w[3] + w[4] + 1e-8)
    expected = [1 - first, 1 - second, 1.0, -first, -second]  # the third token stands alone: its baseline is 0
    torch.testing.assert_close(advantage, torch.tensor(expected, dtype=torch.float64))


def test_places_and_running_weights_do_not_depend_on_where_turns_stand() -> None:
    view = two_of_a_group()
    place = place_in_trajectory(view)
    assert place.tolist() == [0, 1, 2, 0, 1]
    assert view.old is not None
    weight = running_weight(view.old, view.sampled_probes["sum-of-squares"], view.trajectory_of_token, place)
    for seed in range(5):
        other, old_token, _, _ = reordered(view, seed)
        assert other.old is not None
        moved = place_in_trajectory(other)
        assert torch.equal(moved, place[old_token])
        squares = other.sampled_probes["sum-of-squares"]
        again = running_weight(other.old, squares, other.trajectory_of_token, moved)
        torch.testing.assert_close(again, weight[old_token])


def test_one_alone_in_its_group_gets_nothing_or_its_return() -> None:
    read = {"sum-of-squares": torch.tensor([0.4, 0.3], dtype=torch.float64)}
    view = view_of([[[2]]], score=[1.0], old=[-1.0, -2.0]).with_fields(sampled_probes=read)
    zero, raw = (
        COMPOSITION.advantage(view).advantage,
        COMPOSITION.advantage(view.with_fields(singleton="raw")).advantage,
    )
    assert zero is not None and raw is not None
    assert zero.tolist() == [0.0, 0.0] and raw.tolist() == [1.0, 1.0]
