"""The summary memory: when a synthesis is asked for, how it is written and read, and what becomes of its turns."""

import asyncio
import io

import pytest

from agentrl import registry
from agentrl.config import RolloutConfig
from agentrl.envs import guess
from agentrl.errors import ConfigError, DataError
from agentrl.eval.report_episodes import episode_to_json
from agentrl.foreign import tokenised
from agentrl.history import History, history_of
from agentrl.memory.full import Full
from agentrl.memory.summary import Summary, SummaryConfig
from agentrl.policies.human import Human
from agentrl.policies.scripted import Expert, RandomAdmissible, Scripted, plain_synthesis
from agentrl.prompts.action import BareAction, BareActionConfig
from agentrl.prompts.tags import Tags
from agentrl.records import read_trajectories, write_trajectories
from agentrl.rollout_metrics import summaries
from agentrl.runner import Job, Runner
from agentrl.types import Completion, Exchange, Observation, Reply, Request, Sampling, Task, Turn, View
from tests.core.fakes import IdPolicy, WordRenderer

TASK = Task("guess", "guess-1", "train", 1)
NOW = Observation("a hall", admissible=("sit",))
ASKED = View(
    TASK,
    "Win.",
    NOW,
    (Exchange(Observation("a room"), "<action>go</action>", "go"),),
    question="Find the cat.",
    report="Nobody home.",
    turn=5,
    kind="summarise",
)
FORMATS = list(registry.TABLES["format"])


def turn(position, kind="act", readable=True, report=None, said="go"):
    return Turn(
        position, Observation(f"saw {position}"), [], True, Completion(said), said, readable, True, 0.0, kind, report
    )


def view(so_far, **settings):
    return Summary(SummaryConfig(**settings)).view(TASK, "Win.", so_far, NOW)


def make(name):
    return registry.load("format", name)()


def play(policy, turns=2, format="action", renderer=None, split="valid", **rollout):
    memory = Summary(SummaryConfig(turns=turns, characters=0))
    settings = RolloutConfig(**{"max_turns": 6, "max_context": 10**6, **rollout})
    runner = Runner(
        guess, policy, memory=memory, format=format, renderer=renderer, rollout=settings, config=guess.Config(highest=9)
    )
    (found,) = runner.play([Job(guess.tasks(split, guess.Config(highest=9))[0], "g")])
    return found


def kinds(trajectory):
    return "".join(turn.kind[0] for turn in trajectory.turns)


def test_a_synthesis_is_asked_for_after_so_many_turns_and_stands_in_their_place():
    turns = [turn(0), turn(1)]
    assert view(turns[:1], turns=2).kind == "act" and view(turns[:1], turns=2).question == ""
    asked = view(turns, turns=2)
    assert asked.kind == "summarise" and len(asked.exchanges) == asked.turn == 2 and asked.report is None
    turns.append(turn(2, "summarise", report="so far so good"))
    assert view(turns, turns=2) == View(TASK, "Win.", NOW, (), question="saw 0", report="so far so good", turn=2)
    turns.append(turn(3))
    later = view(turns, turns=2)
    assert later.kind == "act" and later.exchanges == (Exchange(Observation("saw 3"), "go", "go"),) and later.turn == 3


def test_a_synthesis_is_asked_for_after_so_many_characters():
    turns = [turn(n, said="x" * 100) for n in range(3)]
    assert [view(turns[:n], turns=0, characters=200).kind for n in (0, 1, 2)] == ["act", "act", "summarise"]


def test_a_synthesis_that_cannot_be_read_leaves_the_old_one_and_is_asked_for_after_the_next_action():
    turns = [turn(0), turn(1, "summarise", report="old"), turn(2), turn(3, "summarise", readable=False)]
    after = view(turns, turns=1)
    assert (after.kind, after.report, len(after.exchanges)) == ("act", "old", 1)
    again = view([*turns, turn(4)], turns=1)
    assert (again.kind, again.report, len(again.exchanges)) == ("summarise", "old", 2)


def test_some_length_must_be_long():
    with pytest.raises(ConfigError, match="both 0"):
        SummaryConfig(turns=0, characters=0)
    with pytest.raises(ConfigError, match="turns is -1"):
        SummaryConfig(turns=-1)


def test_a_history_is_the_same_turn_by_turn_and_at_once():
    turns = [turn(0, report="a"), turn(1, "summarise", report="b"), turn(2, readable=False, report="c"), turn(3)]
    grown = History()
    for number, one in enumerate(turns, 1):
        grown.append(one)
        whole = history_of(turns[:number])
        assert vars(grown) == vars(whole) and grown == whole == turns[:number]
    assert (grown.report, grown.synthesis, grown.num_synthesised, len(grown.exchanges)) == ("a", "b", 1, 3)
    assert history_of(grown) is grown


@pytest.mark.parametrize("name", FORMATS)
def test_the_question_the_old_synthesis_and_what_is_wanted_are_shown(name):
    messages = make(name).messages(ASKED)
    written = str(messages)
    for seen in ("Find the cat.", "Nobody home.", "a room", "a hall", "Take no action now"):
        assert seen in written
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]


def test_a_raw_text_asks_too():
    (message,) = BareAction(BareActionConfig(raw=True)).messages(ASKED)
    assert "Nobody home." in message["content"] and message["content"].endswith("Reply with the synthesis alone.")


@pytest.mark.parametrize("name", FORMATS)
def test_a_synthesis_is_read_back_as_it_is_written(name):
    form = make(name)
    assert form.parse(form.write("", ASKED, report="two\nlines"), ASKED) == Reply("", report="two\nlines")
    for wrong in (None, "", " padded "):
        with pytest.raises(DataError, match="the synthesis"):
            form.write("", ASKED, report=wrong)


@pytest.mark.parametrize("name, tag", [("tags", "summary"), ("report", "report")])
@pytest.mark.parametrize(
    ("text", "synthesis"),
    [
        ("<T>all of it</T>", "all of it"),
        ("<think>hm</think> <T>draft</T> better: <T>all of it</T> <action>go</action>", "all of it"),
        ("<think>hm</think>all of it", "all of it"),
        ("<think>hm</think><T>all of it", "all of it"),
        ("all of it</T>", "all of it"),
        ("all of it <action>go</action>", "all of it"),
        ("hm</think>all of it", "all of it"),
        ("<think>hm</think><action>go</action>", None),
        ("<think>hm", None),
        ("<T></T>", None),
        (" \n", None),
        ("", None),
    ],
)
def test_a_broken_synthesis_is_mended_by_rule_or_marked(name, tag, text, synthesis):
    read = make(name).parse(text.replace("T>", f"{tag}>"), ASKED)
    assert read == Reply("", readable=synthesis is not None, report=synthesis)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("policy", [Expert(guess), RandomAdmissible(1, world=guess)], ids=["expert", "random"])
def test_scripted_policies_write_a_plain_synthesis_in_every_format(policy, format):
    policy.format = None
    settings = guess.Config(highest=9, admissible=True)
    memory = Summary(SummaryConfig(turns=1))
    with Runner(guess, policy, memory=memory, format=format, config=settings) as runner:
        found = runner.play([Job(task, "g") for task in guess.tasks("valid", settings)[:8]])
    assert all(t.ended == "done" and kinds(t) == "as" * (t.num_acts - 1) + "a" for t in found)
    syntheses = [turn.report for t in found for turn in t.turns if turn.kind == "summarise"]
    assert all(": " in text for text in syntheses) and bool(syntheses) is isinstance(policy, RandomAdmissible)


def test_a_plain_synthesis_keeps_the_newest_lines_that_fit_and_no_tags():
    told = plain_synthesis(ASKED)
    assert told == "Nobody home.\ngo: a hall"
    exchanges = tuple(Exchange(Observation("x" * 500), "", f"<report>{n}</report>") for n in range(50))
    long = plain_synthesis(View(TASK, "", NOW, exchanges, report="old", kind="summarise"))
    assert len(long) < 1300 and long.endswith("49: a hall") and "old" not in long and "<" not in long


def test_summarise_turns_take_no_step_count_for_tokens_and_not_for_the_turn_limit(tmp_path):
    renderer = WordRenderer()
    says = lambda view: "ask 0" if view.kind == "act" else f"notes of {view.turn}"  # noqa: E731
    found = play(IdPolicy(renderer, says), renderer=renderer, max_turns=5)
    assert kinds(found) == "aasaasa" and found.ended == "turn_limit" and found.num_acts == 5
    assert [t.report for t in found.turns if t.kind == "summarise"] == ["notes of 2", "notes of 4"]
    assert [t.continues for t in found.turns] == [False, True, True, False, True, True, False]
    assert [t.position for t in found.turns] == list(range(7))
    assert found.num_tokens == 5 * 3 + 2 * 4 and type(found.turns) is list
    told = summaries([found])
    assert (told["turns"], told["tokens"], told["new_sequences"]) == (5, 23, 2)
    write_trajectories(tmp_path / "all.jsonl.gz", [found])
    rows = episode_to_json("k", found)["turns"]
    assert [(row["a"], row["p"]) for row in rows if row.get("k") == "summarise"] == [
        ("(writes a synthesis)", "notes of 2"),
        ("(writes a synthesis)", "notes of 4"),
    ]
    (stored,) = read_trajectories(tmp_path / "all.jsonl.gz")
    assert [(t.kind, t.report) for t in stored.turns] == [(t.kind, t.report) for t in found.turns]


def test_a_synthesis_is_never_constrained_to_the_admissible_actions():
    renderer = WordRenderer()
    policy = IdPolicy(renderer, lambda view: "all notes")
    memory, config = Summary(SummaryConfig(turns=1)), guess.Config(highest=9, admissible=True)
    rollout = RolloutConfig(constrain="admissible", max_turns=3, max_context=10**6)
    runner = Runner(guess, policy, memory=memory, format="action", renderer=renderer, rollout=rollout, config=config)
    (found,) = runner.play([Job(guess.tasks("valid", config)[0], "g")])
    assert {bool(t.completion.allowed) for t in found.turns if t.kind == "act"} == {True}
    assert {t.report for t in found.turns if t.kind == "summarise"} == {"all notes"}


def test_a_person_writes_notes_or_leaves_them_to_us():
    def answered(line):
        show = io.StringIO()
        policy = Human(io.StringIO(line), show, format=Tags())
        request = Request(ASKED, (), None, (), Sampling(), "e")
        return asyncio.run(policy.generate(request)).text, show.getvalue()

    text, shown = answered("the cat is out\n")
    assert text == "<summary>the cat is out</summary>" and "about to be cleared" in shown and "sit" not in shown
    assert answered("\n")[0] == "<summary>Nobody home.\ngo: a hall</summary>"


def asking(view):
    return "ask 0" if view.kind == "act" else "notes"


def test_an_episode_is_written_anew_for_a_memory_that_asks_for_no_syntheses_or_for_others():
    played = play(Scripted(asking))
    played.turns[2].reward = 0.5
    renderer = WordRenderer()
    (plain,) = tokenised([played], Full(), BareAction(), renderer)
    assert kinds(plain) == "aaaaaa" and plain.reward == played.reward and plain.turns[1].reward == 0.5
    assert [t.position for t in plain.turns] == list(range(6)) and all(t.continues for t in plain.turns[1:])
    (same,) = tokenised([played], Summary(SummaryConfig(turns=2)), BareAction(), renderer)
    assert kinds(same) == kinds(played) == "aasaasaa" and all(t.learn for t in same.turns)
    (other,) = tokenised([plain], Summary(SummaryConfig(turns=4)), BareAction(), renderer)
    assert kinds(other) == "aaaasaa" and [t.learn for t in other.turns] == [True] * 4 + [False] + [True] * 2
