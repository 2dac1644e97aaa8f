"""A mixture of worlds: shares by weight, every task its own world's, and one run that learns from all of them."""

import json

import pytest

import agentrl
from agentrl.envs import guess, mixture, rlvr
from agentrl.errors import ConfigError, UnknownName
from agentrl.memory.full import Full
from agentrl.policies.scripted import Scripted
from agentrl.prompts.action import BareAction
from agentrl.runner import Job, Runner
from tests.envs.episodes import close, play

TWO = {"guess": 1, "rlvr": 3}
SMALL = mixture.Config(worlds=TWO, settings={"rlvr": {"num_train": 600, "num_valid": 20}})


def test_every_stretch_of_the_training_panel_has_the_worlds_in_their_shares():
    panel = mixture.tasks("train", SMALL)
    for start in range(0, len(panel) - 40, 37):
        own = sum(task.kind.startswith("guess") for task in panel[start : start + 40])
        assert 9 <= own <= 11


def test_no_task_is_left_out_and_those_that_come_again_have_names_of_their_own():
    panel = mixture.tasks("train", SMALL)
    assert len({task.id for task in panel}) == len(panel)
    for world, config in ((guess, guess.Config()), (rlvr, rlvr.Config(num_train=600))):
        inner = {task.data.id for task in panel if task.data.env == world.__name__.rpartition(".")[2]}
        assert inner == {task.id for task in world.tasks("train", config)}
    again = [task for task in panel if "~" in task.id]
    assert again and all(task.kind.startswith("rlvr/") for task in again)


def test_validation_has_every_task_once():
    panel = mixture.tasks("valid", SMALL)
    assert len(panel) == len({task.data.id for task in panel}) == 100 + 20


def test_a_task_is_told_its_own_worlds_instructions_alone():
    panel = mixture.tasks("valid", SMALL)
    for task in panel[:12]:
        own = {"guess": guess, "rlvr": rlvr}[task.data.env]
        assert mixture.brief(task, SMALL).instructions == own.instructions(own.Config())


def test_episodes_are_those_of_the_worlds_themselves():
    env = mixture.Env(SMALL)
    for task in mixture.tasks("valid", SMALL)[:8]:
        own = {"guess": guess, "rlvr": rlvr}[task.data.env]
        assert play(env, task, mixture.solution(task)) == play(own.Env(), task.data, own.solution(task.data))
    close(env)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"worlds": {}}, "name at least one world"),
        ({"worlds": {"guess": 0}}, "a weight is a number above 0"),
        ({"worlds": {"guess": "much"}}, "a weight is a number above 0"),
        ({"worlds": {"mixture": 1}}, "name the worlds themselves"),
        ({"worlds": {"guess": 1}, "settings": {"gues": {}}}, "did you mean 'guess'"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        mixture.Config(**settings)


def test_unknown_worlds_and_settings_of_theirs_are_refused_by_name():
    with pytest.raises(UnknownName, match="did you mean 'guess'"):
        mixture.tasks("train", mixture.Config(worlds={"gues": 1}))
    with pytest.raises(ConfigError, match=r"env_settings\.settings\.guess\.highes.*did you mean"):
        mixture.tasks("train", mixture.Config(worlds={"guess": 1}, settings={"guess": {"highes": 3}}))


def test_a_world_with_hints_gives_them_through_the_mixture():
    panel = mixture.tasks("valid", SMALL)
    told = {task.data.env: list(mixture.hints(task)) for task in panel[:12]}
    assert told["guess"] == list(getattr(guess, "hints", lambda task: ())(panel[0].data)) and set(told) == set(TWO)


def test_the_runner_plays_all_worlds_side_by_side():
    panel = mixture.tasks("valid", SMALL)[:20]
    policy = Scripted(lambda view: mixture.solution(view.task)[view.turn])
    with Runner(mixture, policy, memory=Full(), format=BareAction(), config=SMALL) as runner:
        played = runner.play([Job(task, task.id) for task in panel])
    assert all(trajectory.outcome.success for trajectory in played)


def test_one_run_learns_from_two_worlds_and_tells_them_apart(tmp_path):
    config = {
        "env": "mixture",
        "env_settings": {"worlds": TWO, "settings": {"guess": {"highest": 3}, "rlvr": {"num_train": 60}}},
        "rollout": {"tasks_per_step": 8, "group_size": 2, "max_turns": 2, "max_new_tokens": 4, "workers": 1},
        "trainer": {"steps": 2, "lr": 1e-3},
        "validation": {"num_tasks": 6},
        "format": "action",
    }
    run = agentrl.train(config, algo="grpo", model="tiny-random", run_dir=tmp_path / "run")
    played = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert run.steps == 2 and [line["step"] for line in played if line["kind"] == "train"] == [1, 2]
    assert {kind.partition("/")[0] for kind in run.after} >= {"all", "guess", "rlvr"}


def test_the_command_line_names_worlds_and_weights(capsys):
    from agentrl.cli.main import main

    assert main(["tasks", "guess:1,rlvr:3"]) == 0
    assert "rlvr/" in capsys.readouterr().out
