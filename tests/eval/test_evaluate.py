"""Batch evaluation: counts by kind, infrastructure failures apart, a folder that holds it all."""

import asyncio
import json

import pytest

import agentrl
from agentrl.errors import AgentRLError, ConfigError, PolicyFailure, UnknownName
from agentrl.eval.evaluate import seat
from agentrl.panels import spread
from agentrl.records import read_trajectories
from agentrl.run_directory import panel_hash
from agentrl.statistics import wilson_interval
from tests.core.counter_world import TASKS, Counter, Says, task


class SaysUpToTwo(Says):
    """Counts to two and stops: tasks of more fail."""

    async def generate(self, request):
        self.text = f"<action>{'stop' if request.view.turn >= 2 else 'up'}</action>"
        return await super().generate(request)


class Fails(Says):
    async def generate(self, request):
        raise PolicyFailure("fake: the server is gone")


def test_success_is_counted_by_kind():
    result = agentrl.evaluate(world=Counter, tasks=TASKS, policy=SaysUpToTwo())
    assert {kind: (t.successes, t.episodes) for kind, t in result.by_kind.items()} == {
        "all": (2, 4),
        "long": (0, 2),
        "short": (2, 2),
    }
    assert result.success == 0.5 and result.interval_by == "wilson"
    assert [t.task.id for t in result.trajectories] == ["valid-1", "valid-2", "valid-3", "valid-4"]
    assert result.panel == panel_hash(t.task.id for t in result.trajectories)


def test_infrastructure_failures_are_counted_apart():
    result = agentrl.evaluate(world=Counter, tasks=TASKS, policy=Fails(), rollout={"tries": 1})
    assert result.all.episodes == 0 and result.all.failures == 4
    assert result.all.as_dict()["success"] is None


def test_repeats_give_an_interval_over_tasks():
    result = agentrl.evaluate(world=Counter, tasks=TASKS, policy=SaysUpToTwo(), repeats=3)
    assert result.all.episodes == 12 and result.interval_by == "Wilson over tasks"
    low, high = result.success_interval
    assert high - low > 0.6  # four tasks, not twelve episodes
    assert result.intervals["short"] == pytest.approx(wilson_interval(2, 2)), "where all agree it is no point"


def test_what_was_judged_is_written(tmp_path):
    result = agentrl.evaluate(world=Counter, tasks=TASKS, policy=Says(), out=tmp_path / "judged", split="train")
    stored = json.loads((tmp_path / "judged" / "results.json").read_text())
    assert stored["success"] == 1.0 and stored["by_kind"]["all"]["turns"] == 2.0
    assert stored["panel"] == json.loads((tmp_path / "judged" / "meta.json").read_text())["panels"]["train"]
    played = list(read_trajectories(result.run_dir / "trajectories" / "step-000000.jsonl.gz"))
    assert [t.task.id for t in played] == ["train-1", "train-2", "train-3"]


def test_it_works_inside_a_running_event_loop():
    async def inside():
        return agentrl.evaluate(world=Counter, tasks=TASKS, policy=Says())

    assert asyncio.run(inside()).success == 1.0


def test_episodes_are_spread_over_the_panel():
    assert spread([task(n) for n in range(10)], 4) == [task(n) for n in (0, 2, 5, 7)]
    result = agentrl.evaluate(world=Counter, tasks=TASKS, policy=Says(), episodes=2)
    assert [t.task.id for t in result.trajectories] == ["valid-1", "valid-3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "vald"}, "no split 'vald'; did you mean 'valid'"),
        ({"repeats": 0}, "repeats is 0"),
        ({"memory": "windw"}, "unknown memory 'windw'; did you mean 'window'"),
        ({"rollout": {"max_turns": 0}}, "rollout.max_turns is 0; it must be at least 1"),
        ({"steps": 3, "wrold": 1}, "unknown setting 'wrold'"),
        ({"tasks": [1]}, "tasks must be agentrl.Task values"),
        ({"tasks": None}, "has no tasks of its own"),
    ],
)
def test_bad_input_is_one_line_that_helps(arguments, message, tmp_path):
    given = {"world": Counter, "tasks": TASKS, "policy": Says(), "out": tmp_path / "x", **arguments}
    with pytest.raises(AgentRLError, match=message) as raised:
        agentrl.evaluate(**given)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "x").exists()


def test_an_unknown_policy_names_the_nearest():
    with pytest.raises(UnknownName, match="unknown policy 'randm'; did you mean 'random'"):
        seat("randm", agentrl.api.RunConfig(), Counter)


def test_a_class_that_is_no_env_is_refused():
    with pytest.raises(ConfigError, match="class int has no method 'reset'"):
        agentrl.evaluate(world=int, tasks=TASKS, policy=Says())
