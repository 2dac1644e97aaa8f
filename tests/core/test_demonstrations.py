"""Demonstrations and solutions become trajectories that can be learned from."""

import asyncio

import pytest

from agentrl.demonstrations import demonstrations
from agentrl.errors import DataError
from agentrl.memory.full import Full
from agentrl.memory.summary import Summary, SummaryConfig
from agentrl.memory.workspace import Workspace
from agentrl.prompts.action import BareAction
from agentrl.prompts.report import ReportAndAction
from agentrl.prompts.tags import Tags
from agentrl.types import Demonstration, Observation, Outcome
from tests.core import worlds
from tests.core.fakes import WordRenderer


def shown(split, config, num=0, seed=0, mistakes=0):
    """A world's own demonstrations: `mistakes` turns that are not to be learned come first."""
    for task in worlds.tasks(split)[: num or 8]:
        actions = [("bad", False)] * mistakes + [("left", True), ("right", True)]
        steps = tuple((Observation(f"At {n}.", admissible=("left",)), *a) for n, a in enumerate(actions))
        yield Demonstration(task, steps, Observation("There."), Outcome(True, 1.0))


def offering(**members):
    world = worlds.world(worlds.InLoop)
    world.demonstrations = shown
    vars(world).update(members)
    return world


def learn_from(world, memory=None, format=None, renderer=None, num=2, **settings):
    memory, format = memory or Full(), format or BareAction()
    return demonstrations(world, world.Config(), "train", num, 0, memory, format, renderer, settings or None)


def test_a_worlds_own_demonstrations_are_written_in_the_format():
    renderer = WordRenderer()
    first, second = learn_from(offering(), renderer=renderer)
    assert [turn.completion.text for turn in first.turns] == ["left", "right"]
    assert [turn.continues for turn in first.turns] == [False, True]
    assert first.turns[0].completion.token_ids == list(renderer.reply_ids("left"))
    assert first.turns[0].completion.logprobs is None
    assert first.source == "demonstration" and first.ended == "done"
    assert [turn.reward for turn in first.turns] == [0.0, 1.0]
    assert first.task != second.task and first.group != second.group


def test_prompt_and_reply_ids_are_one_stream():
    renderer = WordRenderer()
    (first,) = learn_from(offering(), renderer=renderer, num=1)
    view = Full().view(first.task, "Walk.", first.turns, first.final_observation)
    whole = renderer.render(BareAction().messages(view)).ids
    stream = tuple(i for turn in first.turns for i in (*turn.prompt_ids, *turn.completion.token_ids))
    assert whole[: len(stream)] == stream


@pytest.mark.parametrize("format", [BareAction(), Tags(), ReportAndAction()], ids=lambda form: type(form).__name__)
def test_a_memory_that_asks_for_a_synthesis_is_given_a_plain_one_that_carries_no_loss(format):
    (first,) = learn_from(offering(), Summary(SummaryConfig(turns=1)), format, WordRenderer(), num=1)
    assert [(turn.kind, turn.learn) for turn in first.turns] == [("act", True), ("summarise", False), ("act", True)]
    assert first.turns[1].report == "left: At 1." and [turn.position for turn in first.turns] == [0, 1, 2]
    assert [turn.continues for turn in first.turns] == [False, True, False]
    assert [turn.reward for turn in first.turns] == [0.0, 0.0, 1.0]


def test_turns_that_are_not_to_be_learned_are_marked():
    (first,) = learn_from(offering(), num=1, mistakes=2)
    assert [turn.learn for turn in first.turns] == [False, False, True, True]


def test_an_expert_that_fails_is_no_success():
    def failing(split, config, num, seed):
        (one,) = shown(split, config, num=1)
        yield Demonstration(one.task, one.steps, None, Outcome(False, 0.0))

    (first,) = learn_from(offering(demonstrations=failing), num=1)
    assert first.ended == "turn_limit" and first.reward == 0


def test_a_workspace_carries_what_was_done_as_the_report():
    renderer = WordRenderer()
    (first,) = learn_from(offering(), Workspace(), ReportAndAction(), renderer, num=1, mistakes=1)
    assert [turn.report for turn in first.turns] == [None, "bad", "bad\nleft"]
    assert "<report>bad\nleft</report>" in first.turns[2].completion.text
    assert not any(turn.continues for turn in first.turns)


@pytest.mark.parametrize("env", [worlds.InLoop, worlds.Steps])
def test_without_demonstrations_solutions_are_played_through_the_world(env):
    world = worlds.world(env)
    found = learn_from(world, format=Tags(), renderer=WordRenderer(), num=10)
    assert len(found) == 10 and len({t.task.id for t in found[:8]}) == 8
    assert [turn.action for turn in found[0].turns] == ["left", "right", "left"]
    assert all(t.source == "demonstration" and t.outcome.success for t in found)
    assert found[0].turns[0].completion.token_ids and found[0].turns[0].completion.logprobs is None
    assert [t.task.id for t in found] == [t.task.id for t in learn_from(world, num=10)]


def test_solutions_can_be_played_inside_a_running_loop():
    async def main():
        return learn_from(worlds.world(worlds.InLoop), num=3)

    assert len(asyncio.run(main())) == 3


def test_a_world_without_a_solution_that_works_is_told():
    world = worlds.world(worlds.InLoop)
    world.solution = lambda task: ["bad"]
    with pytest.raises(DataError, match="no demonstrations of split 'train': no solution earns the full reward"):
        learn_from(world)
