"""Dynamic sampling: draws that go on within a step, alone and in the loop."""

import json

import pytest

import agentrl
from agentrl.errors import ConfigError, DataError
from agentrl.trainers.curricula.dynamic_sampling import DynamicSampling
from tests.trainers.played import group_of, ids, panel
from tests.trainers.toy import toy_settings

TASKS = panel(20)


def started(**settings):
    curriculum = DynamicSampling(DynamicSampling.Config(**settings))
    curriculum.start(TASKS, 0)
    return curriculum


def played(draws, with_signal, first=0):
    """The first so many groups differ, all others are all solved."""
    return [
        t
        for number, draw in enumerate(draws)
        for t in group_of(draw.task, [1, 0 if number < with_signal else 1], f"0/{first + number}")
    ]


def test_it_draws_what_is_missing_until_nothing_is():
    curriculum = started()
    draws = curriculum.draw(4, 2)
    episodes = played(draws, 1)
    more = curriculum.more(episodes)
    assert len(more) == 3
    assert not set(ids(more)) & set(ids(draws))
    episodes += played(more, 2, 4)
    last = curriculum.more(episodes)
    assert len(last) == 1
    episodes += played(last, 1, 7)
    assert curriculum.more(episodes) == []
    curriculum.update(episodes)
    assert curriculum.metrics() == {
        "curriculum/groups_with_signal": 0.5,
        "curriculum/draws": 3.0,
        "curriculum/extra_episodes": 8.0,
        "curriculum/missing_groups": 0.0,
    }


def test_it_stops_after_its_draws_and_says_what_is_missing():
    curriculum = started(max_draws=2)
    episodes = played(curriculum.draw(2, 2), 0)
    episodes += played(curriculum.more(episodes), 0, 2)
    assert curriculum.more(episodes) == []
    curriculum.update(episodes)
    assert curriculum.metrics()["curriculum/missing_groups"] == 2.0
    assert len(curriculum.draw(2, 2)) == 2


def test_signal_can_be_of_the_score():
    groups = group_of(TASKS[0], [0.2, 0.4])
    for of, missing in (("success", 1), ("score", 0)):
        curriculum = started(of=of)
        curriculum.draw(1, 2)
        assert len(curriculum.more(groups)) == missing


def test_it_goes_on_where_a_checkpoint_left_it():
    curriculum = started()
    curriculum.more(played(curriculum.draw(3, 2), 1))
    restored = started()
    restored.load_state_dict(json.loads(json.dumps(curriculum.state_dict())))
    assert ids(restored.draw(6, 2)) == ids(curriculum.draw(6, 2))


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="no task"):
        DynamicSampling().start([], 0)
    with pytest.raises(ConfigError, match="max_draws"):
        DynamicSampling.Config(max_draws=0)


def test_the_loop_plays_what_is_drawn_again_and_counts_it(tmp_path):
    """No group ever has signal: every reward is the same."""
    settings = toy_settings(tmp_path, trainer={"steps": 1}, validation={"num_tasks": 0})
    settings |= {"curriculum": "dynamic-sampling", "curriculum_settings": {"max_draws": 3}}
    run = agentrl.train(settings, run_dir=str(tmp_path / "run"), reward=lambda trajectory: 0.5).run_dir
    lines = (run / "metrics.jsonl").read_text().splitlines()
    record = next(record for record in map(json.loads, lines) if record["kind"] == "train")
    per_draw = settings["rollout"]["tasks_per_step"] * settings["rollout"]["group_size"]
    assert record["curriculum/draws"] == 3
    assert record["episodes"] == 3 * per_draw
    assert record["curriculum/extra_episodes"] == 2 * per_draw
