"""Variance-aware sampling."""

import json
from collections import Counter

import pytest

from agentrl.errors import ConfigError, DataError
from agentrl.trainers.curricula.vas import VAS, blended, distinct, num_weighted, probabilities, weights_of
from tests.trainers.played import episode, group_of, ids, panel

TASKS = panel(5)


def started(**settings):
    curriculum = VAS(VAS.Config(**settings))
    curriculum.start(TASKS, 0)
    return curriculum


def test_diversity_counts_different_pairs_of_ids():
    assert distinct([[1, 2, 1, 2], [1, 2]]) == 2 / 4
    assert distinct([[1], []]) == 0.0
    assert distinct([[1, 1, 2]], n=1) == 2 / 3


def test_weights_by_hand():
    assert weights_of([1.0, 3.0, 2.0], "min-max") == [0.0, 1.0, 0.5]
    assert weights_of([0.3, 0.3], "min-max") == [1.0, 1.0]
    assert blended([1.0], [0.0], 0.25) == [0.25]
    assert probabilities([1.0, 3.0]) == [0.25, 0.75]
    assert probabilities([0.0, 0.0]) == [0.5, 0.5]
    assert num_weighted(0.29, 100) == 29


def outcomes():
    rates = [[1, 1], [0, 0], [1, 0], [1, 1], [0, 0]]
    return [t for task, rate in zip(TASKS, rates, strict=True) for t in group_of(task, rate)]


def test_what_is_undecided_is_drawn_most_and_the_rest_still_comes():
    curriculum = started(alpha=1.0, beta=0.0, every=1)
    assert sorted(ids(curriculum.draw(5, 2))) == list("01234")  # nothing is known: a plain pass
    curriculum.update(outcomes())
    drawn = Counter(ids(curriculum.draw(20, 2)))
    assert drawn["2"] == 10 + 2
    assert set(drawn.values()) == {2, 12}
    assert curriculum.metrics()["curriculum/promotion_score_max"] == 0.25
    assert curriculum.metrics()["curriculum/known_tasks"] == 1.0


def test_scores_become_weights_only_when_it_is_time():
    curriculum = started(alpha=1.0, beta=0.0, every=2)
    curriculum.update(outcomes())
    assert len(set(ids(curriculum.draw(5, 2)))) == 5
    curriculum.update([])
    assert Counter(ids(curriculum.draw(10, 2)))["2"] >= 5


def test_diverse_replies_raise_the_score():
    curriculum = started(every=1)
    curriculum.update([episode(TASKS[0], 1, ids=[1, 2, 3]), episode(TASKS[1], 1, ids=[1, 1, 1])])
    weight = curriculum.state_dict()["weight"]
    assert weight == pytest.approx({"0": 0.2, "1": 0.1})


def test_a_task_that_was_not_played_weighs_as_much_as_the_heaviest():
    curriculum = started(alpha=1.0, beta=0.0, every=1, weighted_share=1.0)
    curriculum.update([*group_of(TASKS[0], [1, 0]), *group_of(TASKS[1], [1, 1])])
    drawn = Counter(ids(curriculum.draw(400, 2)))
    assert drawn["1"] == 0
    assert min(drawn[task] for task in "0234") > 60


def test_it_goes_on_where_a_checkpoint_left_it():
    curriculum = started(every=1, momentum=0.5)
    for _ in range(2):
        curriculum.draw(4, 2)
        curriculum.update(outcomes())
    restored = started(every=1, momentum=0.5)
    restored.load_state_dict(json.loads(json.dumps(curriculum.state_dict())))
    restored.update(outcomes()[:4])
    curriculum.update(outcomes()[:4])
    assert restored.draw(9, 2) == curriculum.draw(9, 2)


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="no task"):
        VAS().start([], 0)
    with pytest.raises(ConfigError, match="weighted_share"):
        VAS.Config(weighted_share=2.0)
