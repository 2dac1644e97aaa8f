"""The world of letters, and the reader that knows only what a memory shows it."""

from dataclasses import replace

import pytest

from agentrl.config import RolloutConfig
from agentrl.envs import chain
from agentrl.envs.chain.reader import Known, known, reader
from agentrl.envs.chain.world import COUNTER, trail
from agentrl.errors import ConfigError
from agentrl.memory.full import Full
from agentrl.memory.summary import Summary, SummaryConfig
from agentrl.memory.window import Window, WindowConfig
from agentrl.memory.workspace import Workspace
from agentrl.prompts.action import BareAction
from agentrl.prompts.report import ReportAndAction
from agentrl.prompts.tags import Tags
from agentrl.runner import Job, Runner
from agentrl.types import Observation, View
from tests.envs.episodes import play

LONG = chain.Config(shortest=40, longest=40, chatter=5, num_valid=3)


def task(letters, **settings):
    return chain.tasks("valid", chain.Config(shortest=letters, longest=letters, **settings))[0]


def read(memory, format, config=LONG, max_turns=50):
    rollout = RolloutConfig(max_turns=max_turns)
    runner = Runner(chain, reader(format), memory=memory, format=format, rollout=rollout, config=config)
    return runner.play([Job(one, "g") for one in chain.tasks("valid", config)])


def test_a_trail_by_hand():
    (one, two), turns = trail(task(2))
    first, results, outcome = play(chain.Env(), task(2), chain.solution(task(2)))
    assert first.text == f"The first letter lies in box {one}."
    assert [result.observation.text for result in results] == [
        f"Letter 1: turn the counter on by {turns[0]}. The next letter lies in box {two}.",
        f"Letter 2: turn the counter on by {turns[1]}. This is the last letter.",
        "Right.",
    ]
    assert outcome.success and results[-1].reward == 1.0 and results[-1].terminated


def test_a_wrong_answer_ends_the_episode_and_a_wrong_box_does_not():
    boxes, turns = trail(task(2))
    wrong = (sum(turns) + 1) % COUNTER
    _, results, outcome = play(chain.Env(), task(2), ["open pale ox 3", f"open {boxes[1].upper()}", f"answer {wrong}"])
    assert [(r.valid, r.terminated) for r in results] == [(False, False), (True, False), (True, True)]
    assert not outcome.success and results[-1].observation.text == f"Wrong: it is {sum(turns) % COUNTER}."


def test_lengths_are_as_asked_and_each_power_of_two_is_as_likely():
    panel = chain.tasks("train", chain.Config(shortest=1, longest=2047, num_train=2200))
    lengths = [one.data.letters for one in panel]
    assert min(lengths) == 1 and max(lengths) <= 2047
    octaves = [sum(n.bit_length() == bits for n in lengths) for bits in range(1, 12)]
    assert sum(octaves) == 2200 and all(140 < count < 260 for count in octaves)
    assert {one.kind for one in panel if one.data.letters in (2, 3)} == {"2-3 letters"}
    assert all(0 <= one.difficulty < 1 for one in panel)


def test_all_boxes_of_the_longest_trail_differ():
    boxes, _ = trail(task(10_000))
    assert len(set(boxes)) == 10_000


def test_settings_that_make_no_trail_are_refused():
    for wrong in ({"shortest": 0}, {"longest": 1}, {"longest": 10_001}, {"chatter": -1}, {"num_valid": 0}):
        with pytest.raises(ConfigError):
            chain.Config(**wrong)


def test_a_guess_is_an_answer_and_seldom_right():
    one = task(3)
    guesses = {chain.guess(one, seed) for seed in range(200)}
    assert len(guesses) > 50 and all(text.startswith("answer ") for text in guesses)


@pytest.mark.parametrize(
    "memory", [Full(), Workspace(), Summary(SummaryConfig(turns=7))], ids=["full", "workspace", "summary"]
)
def test_a_reader_succeeds_where_the_memory_holds_all_that_it_needs(memory):
    found = read(memory, ReportAndAction())
    assert all(t.outcome.success and t.num_acts == 41 for t in found)


@pytest.mark.parametrize("format", [Tags(), BareAction()], ids=["tags", "action"])
def test_a_reader_fails_where_nothing_carries_what_it_has_read(format):
    assert all(t.outcome.success for t in read(Summary(SummaryConfig(turns=7)), format))
    for memory in (Window(WindowConfig(size=7)), Workspace()):
        assert not any(t.outcome.success for t in read(memory, format))


def test_a_reader_takes_what_it_was_told_before_for_what_it_sees():
    view = View(task(2), "", Observation("Letter 3: turn the counter on by 98. This is the last letter."))
    state = Known(2, 5, "red fox 1")
    assert known(replace(view, report=state.notes)) == Known(3, 3)
    assert known(replace(view, report=Known(3, 5).notes)) == Known(3, 5), "it was counted already"
    assert known(replace(view, observation=Observation("Who?"), report=f"Well. {state.notes}")) == state


def test_the_expert_and_the_reader_see_the_same_letters():
    (expert,) = chain.solution(task(9, chatter=4))[-1:]
    config = chain.Config(shortest=9, longest=9, chatter=4, num_valid=1)
    assert read(Workspace(), ReportAndAction(), config)[0].turns[-1].action == expert
