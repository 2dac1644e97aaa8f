"""How views become messages and replies become actions; what hostile replies do."""

import time
from dataclasses import replace

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrl import registry
from agentrl.errors import DataError
from agentrl.settings import from_mapping
from agentrl.types import Completion, Exchange, Observation, Reply, Task, Turn, View

TASK = Task("guess", "guess-1", "train", 1)
FORMATS = list(registry.TABLES["format"])
FIRST = View(TASK, "Win.", Observation("a room", admissible=("go", "look")))
LATER = View(
    TASK,
    "Win.",
    Observation("a hall", admissible=("sit",)),
    (Exchange(Observation("a room", admissible=("go", "look")), "so <action>go</action>", "go"),),
    turn=1,
)
WINDOW = View(TASK, "Win.", Observation("a hall"), LATER.exchanges, question="Find the cat.", turn=7)
WORKSPACE = View(
    TASK,
    "Win.",
    Observation("a hall", admissible=("sit",)),
    (Exchange(Observation(""), "", "go"),),
    question="Find the cat.",
    report="No cat in the room.",
    turn=7,
)
VIEWS = {"first": FIRST, "full": LATER, "window": WINDOW, "workspace": WORKSPACE}
TAGS = ("action", "think", "report")


def make(name, **settings):
    form = registry.load("format", name)
    return form(from_mapping(form.Config, settings))


def texts(messages):
    return [(m["role"], m["content"]) for m in messages]


def untagged(text):
    return not any(f"{slash}{tag}>" in text.lower() for tag in TAGS for slash in ("<", "/"))


words = st.text(min_size=1, max_size=60).map(str.strip).filter(lambda text: text and untagged(text))


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_writes_every_view_as_roles_that_alternate(name, view):
    messages = make(name).messages(view)
    roles = [m["role"] for m in messages]
    assert roles[0] == "system" and roles[1::2] == ["user"] * len(roles[1::2])
    assert roles[2::2] == ["assistant"] * len(roles[2::2]) and roles[-1] == "user"
    written = str(messages)
    for seen in ("Win.", view.question, view.report or "", view.observation.text):
        assert seen in written


@pytest.mark.parametrize("name", FORMATS)
@hypothesis.given(action=words, thought=st.text(max_size=40), report=st.none() | words)
@hypothesis.settings(max_examples=60)
def test_what_is_written_is_read_back(name, action, thought, report):
    form = make(name)
    reply = form.parse(form.write(action, WORKSPACE, report, thought if untagged(thought) else ""), WORKSPACE)
    assert reply == Reply(action, report=report if name == "report" else None)


@pytest.mark.parametrize("name", FORMATS)
@hypothesis.given(st.lists(st.sampled_from(["<report>", "</report>", "<summary>", "</think>", "<action>", "go", " "])))
def test_no_synthesis_is_an_exception_and_an_unreadable_one_has_no_report(name, pieces):
    reply = make(name).parse("".join(pieces), replace(LATER, kind="summarise"))
    assert reply.action == "" and reply.readable == bool(reply.report)


@pytest.mark.parametrize("name", FORMATS)
@hypothesis.given(st.text())
def test_no_reply_is_an_exception_and_an_unreadable_one_has_no_action(name, text):
    reply = make(name).parse(text, FIRST)
    assert reply.readable == bool(reply.action)


@pytest.mark.parametrize("action", ["a </action> b", "<action>", " padded", "", "a\n"])
def test_an_action_that_would_be_read_otherwise_is_not_written(action):
    for name in ("tags", "report"):
        with pytest.raises(DataError, match="cannot be written"):
            make(name).write(action, FIRST)


@pytest.mark.parametrize("name", ["tags", "report"])
@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("<action>go</action>", "go"),
        ("north\n</think>\n\n<action>\n go \n</action> done.", "go"),
        ("<ACTION>Go North</Action>", "Go North"),
        ("<action>go</action> no: <action>look</action>", "look"),
        ("<action>go</action> and <action>look", "go"),
        ("<action>go</action> look</action>", "go"),
        ("<action><action>go</action></action>", "go"),
        ("<action>a <action>b</action> c</action>", "b"),
        ("<action>go\x00\x1b[2J\u202e</action>", "go\x00\x1b[2J\u202e"),
        ("<action></action>", ""),
        ("<action> \n </action>", ""),
        ("</action>go<action>", ""),
        ("<action>go", ""),
        ("< action>go</ action>", ""),
        ("go", ""),
        ("", ""),
    ],
)
def test_the_last_complete_action_is_the_action(name, text, action):
    assert make(name).parse(text, FIRST) == Reply(action, readable=bool(action))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("piece", ["<action>", "</action>", "<", "<action", " ", "<report><action>", "</report>x"])
def test_a_megabyte_is_read_in_no_time(name, piece):
    text = piece * (1_000_000 // len(piece))
    started = time.process_time()  # of this process alone: what else the machine does is not counted
    make(name).parse(text, FIRST)
    make(name).parse(text, replace(FIRST, kind="summarise"))
    assert time.process_time() - started < 2


def test_a_bare_reply_is_the_action():
    form = make("action")
    assert form.parse(" go \n", FIRST) == Reply("go")
    assert form.parse(" \n", FIRST) == Reply("", readable=False)
    assert form.write("go", FIRST, report="a report", thought="a thought") == "go"


def test_bare_prompts_hold_observations_and_replies_alone():
    view = View(TASK, "", LATER.observation, (Exchange(Observation("a room"), "go", "go"),))
    assert texts(make("action").messages(view)) == [("user", "a room"), ("assistant", "go"), ("user", "a hall")]


def test_only_bare_actions_are_candidates():
    assert make("action").candidates(FIRST) == ("go", "look")
    assert make("action").candidates(WINDOW) is None
    assert make("tags").candidates(FIRST) is make("report").candidates(FIRST) is None


def test_a_conversation_in_tags_by_hand():
    messages = texts(make("tags").messages(LATER))
    assert messages[0][1].startswith("Win.\n\nEach turn, first reason")
    assert messages[1:] == [
        ("user", "a room\n\nAdmissible actions:\n- go\n- look"),
        ("assistant", "so <action>go</action>"),
        ("user", "a hall\n\nAdmissible actions:\n- sit"),
    ]


def test_earlier_lists_are_kept_so_that_prompts_only_grow_and_dropped_by_choice():
    kept, dropped = make("tags"), make("tags", keep_old_lists=False)
    assert kept.messages(LATER)[:2] == kept.messages(FIRST)
    assert dropped.messages(FIRST) == kept.messages(FIRST)
    assert dropped.messages(LATER)[1]["content"] == "a room"


@pytest.mark.parametrize("name", FORMATS)
def test_admissible_actions_are_shown_or_not(name):
    assert "- sit" in str(make(name, show_admissible=True).messages(LATER))
    assert "- sit" not in str(make(name, show_admissible=False).messages(LATER))


def test_a_workspace_is_one_message():
    assert texts(make("report").messages(WORKSPACE))[1:] == [
        (
            "user",
            "Find the cat.\n\nYour report so far:\nNo cat in the room.\n\nYour last action: go\n\n"
            "Response:\na hall\n\nAdmissible actions:\n- sit",
        )
    ]


def test_a_workspace_begins_with_the_question_alone():
    assert texts(make("report").messages(FIRST))[1:] == [("user", "a room\n\nAdmissible actions:\n- go\n- look")]


def test_a_workspace_says_that_there_is_no_report_and_that_a_reply_was_unreadable():
    view = View(TASK, "Win.", Observation("What?"), (Exchange(Observation(""), "", ""),), question="Find the cat.")
    (content,) = [content for role, content in texts(make("report").messages(view)) if role == "user"]
    assert "Your report so far:\n(nothing yet)" in content and "could not be read" in content


def test_a_report_is_read_and_actions_inside_it_are_not():
    form = make("report")
    text = "<report>old</report> <action>go</action> <report>try <action>sit</action> next</report>"
    assert form.parse(text, FIRST) == Reply("go", report="try <action>sit</action> next")


def test_a_reply_without_a_report_has_none_and_one_without_an_action_is_unreadable():
    form = make("report")
    assert form.parse("<action>go</action>", FIRST) == Reply("go")
    assert form.parse("<report>news</report> go", FIRST) == Reply("", readable=False, report="news")


@pytest.mark.parametrize(
    ("text", "action", "report"),
    [
        ("<think>so</think><report>news</report><action>go</action>", "go", "news"),
        ("<action>go</action><report>news</report>", "go", "news"),
        ("<report>draft</report><report>news</report><action>go</action>", "go", "news"),
        ("<REPORT>news</Report><action>go</action>", "go", "news"),
        ("<think>so</think><report>news <action>go</action>", "go", "news"),
        ("<report>draft</report><report>news<action>go</action>", "go", "draft"),
        ("<report>try <action>sit</action> then <action>go</action>", "go", "try <action>sit</action> then"),
        ("<think>so</think> news </report><action>go</action>", "go", "news"),
        ("<action>go</action>", "go", None),
        ("<report></report><action>go</action>", "go", None),
        ("<report> \n</report><action>go</action>", "go", None),
        ("<report><action>go</action>", "go", None),
        ("<action>go</action><report>cut off in the mid", "go", None),
        ("news</report><action>go</action>", "go", None),
        ("</report><think>so</think><action>go</action>", "go", None),
        ("<report>news</report>", "", "news"),
        ("<report>news</report><action>cut off", "", "news"),
        ("<report>news <action>go</action></report>", "", "news <action>go</action>"),
        ("just talk", "", None),
    ],
)
def test_a_broken_report_is_mended_by_rule_or_the_old_one_survives(text, action, report):
    form, memory = make("report"), registry.load("memory", "workspace")()
    reply = form.parse(text, WORKSPACE)
    assert reply == Reply(action, readable=bool(action), report=report)
    told = [("<report>old</report><action>look</action>", Reply("look", report="old")), (text, reply)]
    turns = [
        Turn(
            n,
            Observation("seen"),
            [],
            False,
            Completion(said),
            read.action,
            read.readable,
            True,
            0.0,
            "act",
            read.report,
        )
        for n, (said, read) in enumerate(told)
    ]
    trusted = report if reply.readable and report else "old"
    shown = memory.view(TASK, "Win.", turns, Observation("a hall"))
    assert shown.report == trusted and f"Your report so far:\n{trusted}\n" in form.messages(shown)[1]["content"]
    assert [turn.report for turn in turns] == ["old", report], "what every round wrote stays in the trajectory"


@pytest.mark.parametrize("name", FORMATS)
def test_tools_are_listed_as_text_in_the_system_message(name):
    tools = ({"name": "search", "description": "Find é."},)
    view = View(TASK, "Win.", Observation("a room"), tools=tools)
    assert 'Tools:\n{"name": "search", "description": "Find é."}' in make(name).messages(view)[0]["content"]


@pytest.mark.parametrize("name", FORMATS)
def test_images_stand_before_the_text_of_their_observation(name):
    view = View(TASK, "Win.", Observation("a screen", images=(b"one", b"two")))
    images = [{"type": "image", "image": b"one"}, {"type": "image", "image": b"two"}]
    assert make(name).messages(view)[-1]["content"] == [*images, {"type": "text", "text": "a screen"}]
