"""What each memory shows, by hand."""

import pytest

from agentrl import registry
from agentrl.errors import ConfigError
from agentrl.settings import from_mapping
from agentrl.types import Completion, Exchange, Observation, Task, Turn

TASK = Task("guess", "guess-1", "train", 1)
TOOLS = ({"name": "search"},)


def turn(position, reply, action=None, report=None, readable=True, kind="act"):
    action = reply if action is None else action
    return Turn(
        position, Observation(f"saw {position}"), [], True, Completion(reply), action, readable, True, 0.0, kind, report
    )


TURNS = [
    turn(0, "think zero", "zero", report="report zero"),
    turn(1, "summary", "", kind="summarise", report="not a report"),
    turn(2, "think two", "two", report="report two"),
    turn(3, "mumble", "", report="not to be trusted", readable=False),
    turn(4, "think four", "four"),
]
NOW = Observation("saw 5", images=(b"png",), admissible=("five",))


def view(name, turns=TURNS, **settings):
    memory = registry.load("memory", name)
    return memory(from_mapping(memory.Config, settings)).view(TASK, "Win.", turns, NOW, TOOLS)


@pytest.mark.parametrize("name", registry.TABLES["memory"])
def test_every_memory_shows_the_task_the_instructions_the_tools_and_the_newest_observation(name):
    for turns in ([], TURNS):
        shown = view(name, turns)
        assert (shown.task, shown.instructions, shown.tools, shown.observation) == (TASK, "Win.", TOOLS, NOW)
        assert shown.kind == "act" and shown.turn == (4 if turns else 0)


@pytest.mark.parametrize("name", registry.TABLES["memory"])
def test_the_first_turn_has_nothing_behind_it(name):
    shown = view(name, [])
    assert (shown.exchanges, shown.question, shown.report) == ((), "", None)


@pytest.mark.parametrize("name", registry.TABLES["memory"])
def test_a_view_is_a_pure_function_of_the_turns(name):
    memory = registry.load("memory", name)
    used = memory(memory.Config())
    views = [used.view(TASK, "Win.", TURNS[:n], NOW) for n in (5, 0, 3, 5)]
    assert views[0] == views[3] and views[2] == memory(memory.Config()).view(TASK, "Win.", TURNS[:3], NOW)


def test_full_shows_every_acting_turn_word_for_word():
    shown = view("full")
    assert shown.exchanges == (
        Exchange(Observation("saw 0"), "think zero", "zero"),
        Exchange(Observation("saw 2"), "think two", "two"),
        Exchange(Observation("saw 3"), "mumble", ""),
        Exchange(Observation("saw 4"), "think four", "four"),
    )
    assert shown.question == "" and shown.report is None


def test_a_window_shows_the_last_turns_and_keeps_the_question():
    shown = view("window", size=2)
    assert shown.exchanges == (
        Exchange(Observation("saw 3"), "mumble", ""),
        Exchange(Observation("saw 4"), "think four", "four"),
    )
    assert shown.question == "saw 0"


def test_a_window_that_holds_all_turns_repeats_no_question():
    assert view("window", size=4) == view("full")


def test_an_empty_window_shows_the_question_alone():
    shown = view("window", size=0)
    assert shown.exchanges == () and shown.question == "saw 0"


def test_a_window_cannot_be_negative():
    with pytest.raises(ConfigError, match="size is -1"):
        view("window", size=-1)


def test_a_workspace_shows_the_question_the_report_and_the_last_action_and_nothing_else():
    shown = view("workspace")
    assert shown.question == "saw 0"
    assert shown.report == "report two"
    assert shown.exchanges == (Exchange(Observation(""), "", "four"),)


def test_a_workspace_keeps_the_report_of_the_last_readable_reply_that_held_one():
    assert view("workspace", TURNS[:1]).report == "report zero"
    assert view("workspace", TURNS[:4]).report == "report two"
    assert view("workspace", TURNS[3:]).report is None


def test_a_workspace_prompt_does_not_grow_with_the_depth_of_the_episode():
    form = registry.load("format", "report")
    writer = form(form.Config())
    sizes = set()
    for depth in (10, 20, 80):
        turns = [turn(10 + i % 10, "so " * 50, "go on", report="what we know " * 9) for i in range(depth)]
        sizes.add(len(str(writer.messages(view("workspace", turns)))))
    assert len(sizes) == 1
