"""RiskPO: bundles, papers, the tracked quantiles, and what is floored."""

import pytest
import torch

from agentrl.trainers.algorithms.riskpo import RISKPO, QuantileTracker, RiskPOConfig, papers_of, risk_advantage
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.quantiles import LEVELS
from tests.builders import view_of


def questions(scores, **fields):
    """A group a question, a token a rollout."""
    flat = [s for own in scores for s in own]
    view = view_of([[[1] for _ in own] for own in scores], score=flat, old=[-1.0] * len(flat), **fields)
    return view.with_fields(returns=view.score)


def tracker_at(low, high):
    tracker = QuantileTracker()
    tracker.load_state_dict({"quantiles": [low if level < 0.5 else high for level in LEVELS]})
    return tracker


def test_gains_beyond_the_upper_quantile_earn_nothing_and_the_lower_tail_weighs_more():
    score = torch.tensor([0.0, 1.0, 2.0, 4.0, 5.0]).double()
    got = risk_advantage(score, 1.0, 4.0, RiskPOConfig())
    assert got[3] == got[4]
    assert got[1] - got[0] > got[2] - got[1]
    plain = risk_advantage(score, 1.0, 4.0, RiskPOConfig(mixed=False, natural_baseline=True))
    assert plain.max() <= 0


def test_a_paper_is_a_rollout_of_each_question_and_the_surplus_is_in_none():
    made = papers_of(questions([[1, 0], [1, 1, 0]]), RiskPOConfig(bundle=2))
    assert made.of_trajectory.tolist() == [0, 1, 0, 1, -1]
    assert made.score.tolist() == [2.0, 1.0]


def test_a_bundle_of_fewer_questions_is_scaled_kept_or_dropped():
    view = questions([[1, 0], [1, 1], [1, 0]])
    scores = {
        partial: papers_of(view, RiskPOConfig(bundle=2, partial=partial)).score.tolist()
        for partial in ("rescale", "keep", "drop")
    }
    assert scores == {"rescale": [2.0, 1.0, 2.0, 0.0], "keep": [2.0, 1.0, 1.0, 0.0], "drop": [2.0, 1.0]}


def test_equal_scores_against_tracked_quantiles_do_not_explode():
    composition = compose(RISKPO, settings={"riskpo": {"bundle": 2}})
    (tracker,) = composition.states().values()
    tracker.load_state_dict(tracker_at(1.0, 4.0).state_dict())
    got = composition.advantage(questions([[0, 0], [0, 0]])).advantage
    assert got.unique().tolist() == pytest.approx([-3.0 / 0.5], rel=1e-4)
    own = compose(RISKPO, settings={"riskpo": {"bundle": 2, "quantiles": "bundle"}})
    assert not own.advantage(questions([[0, 0], [0, 0]])).advantage.any()


def test_the_first_step_sets_the_quantiles_and_the_next_moves_them():
    tracker = QuantileTracker(RiskPOConfig(bundle=1))
    assert tracker.at(0.2) is None
    tracker.update(questions([[0, 1, 2, 3, 4]]))
    assert tracker.at(0.5) == pytest.approx(2.0)
    tracker.update(questions([[0, 0, 0, 0, 0]]))
    assert tracker.at(0.5) == pytest.approx(2.0 + 0.1 * (0.5 - 1.0))


def test_a_level_between_two_is_the_lower_one_and_a_checkpoint_keeps_them():
    tracker = QuantileTracker()
    tracker.load_state_dict({"quantiles": list(LEVELS)})
    assert tracker.at(0.225) == pytest.approx(0.2)
    restored = QuantileTracker()
    restored.load_state_dict(tracker.state_dict())
    assert restored.state_dict() == tracker.state_dict()


@pytest.mark.parametrize(
    ("credit", "expected"),
    [("uniform", [1.0, 1.0]), ("score", [0.5, 1.5]), ("sum_mean", [-1.0, 2.0])],
)
def test_credit_hands_a_papers_advantage_to_its_rollouts(credit, expected):
    view = questions([[1, 0, 1], [0, 1, 1]])  # the first paper: one right, one wrong
    got = {}
    for rule in ("uniform", credit):
        composition = compose(RISKPO, settings={"riskpo": {"bundle": 2, "credit": rule}})
        (tracker,) = composition.states().values()
        tracker.load_state_dict(tracker_at(2.0, 3.0).state_dict())
        got[rule] = composition.advantage(view).advantage.tolist()
    unit = got["uniform"][0]
    assert unit < 0
    assert [got[credit][0] / unit, got[credit][3] / unit] == pytest.approx(expected)
