"""Every memory with a model behind an API: what each request holds, and what becomes of replies that break the form."""

import asyncio
import json
import re

import agentrl
from agentrl.policies.api_tools import as_native
from tests.chat_server import ChatServer, reply


def played(answer, **settings):
    """Episodes of `guess` by a policy behind a server on this machine, and the requests that it got."""

    async def run():
        async with ChatServer(answer) as server:
            result = await asyncio.to_thread(
                agentrl.evaluate,
                env="guess",
                policy="api:fake",
                base_url=server.url,
                episodes=1,
                rollout={"concurrency": 1, "tries": 1, "max_turns": 12},
                **settings,
            )
            return result.trajectories, server.calls

    return asyncio.run(run())


def texts(body):
    return [str(message["content"]) for message in body["messages"]]


def is_asked_for_a_synthesis(body):
    return "Write a synthesis" in texts(body)[-1]


def climbing(note):
    """Asks 1, 2, 3, ... by what it is shown: its own notes first, then the turns since."""

    def answer(body, headers):
        asked = last_asked(texts(body))
        return reply(note(asked) if is_asked_for_a_synthesis(body) else f"<action>ask {asked + 1}</action>")

    return answer


def last_asked(shown):
    return max((int(number) for number in re.findall(r"ask(?:ed)? (\d+)", "\n".join(shown))), default=0)


def test_a_synthesis_is_asked_for_by_a_request_of_its_own_and_shown_from_then_on():
    (episode,), calls = played(
        climbing(lambda n: f"<summary>I asked {n}.</summary>"), memory="summary", memory_settings={"turns": 4}
    )
    assert episode.ended == "turn_limit" and episode.num_acts == 12
    syntheses = [turn.report for turn in episode.turns if turn.kind == "summarise"]
    assert syntheses == ["I asked 4.", "I asked 8."] and len(calls) == len(episode.turns)
    assert [turn.action for turn in episode.turns if turn.kind == "act"] == [f"ask {n}" for n in range(1, 13)]
    assert "I asked 8." in "\n".join(texts(calls[-1])) and "I asked 4." not in "\n".join(texts(calls[-1]))
    assert all(turn.completion.output_tokens for turn in episode.turns)  # paid for and counted as any other


def test_a_synthesis_that_cannot_be_read_leaves_the_turns_and_is_asked_for_again():
    notes = iter(["<think>hm</think>", "<summary>I asked 5.</summary>"])
    answer = climbing(lambda n: next(notes, "<summary>I asked 9.</summary>"))
    (episode,), _ = played(answer, memory="summary", memory_settings={"turns": 4})
    first, second, *_ = (turn for turn in episode.turns if turn.kind == "summarise")
    assert not first.readable and first.report is None and second.report == "I asked 5."
    assert [turn.action for turn in episode.turns if turn.kind == "act"][:6] == [f"ask {n}" for n in range(1, 7)]


def calling(body, headers):
    """The same by native calls; a synthesis as text."""
    if is_asked_for_a_synthesis(body):
        return climbing(lambda n: f"<summary>I asked {n}.</summary>")(body, headers)
    made = [
        json.loads(call["function"]["arguments"])["action"]
        for m in body["messages"]
        for call in m.get("tool_calls", ())
    ]
    asked = last_asked([*texts(body), *made])
    status, answer = reply(None, "tool_calls")
    function = {"name": "act", "arguments": json.dumps({"action": f"ask {asked + 1}"})}
    answer["choices"][0]["message"]["tool_calls"] = [{"id": "c", "type": "function", "function": function}]
    return status, answer


def results_follow_their_calls(messages):
    """Every call is answered by the next message, and every result answers the message before."""
    for before, message in zip([{}, *messages], [*messages, {}], strict=True):
        ids = [call["id"] for call in before.get("tool_calls", ())]
        if ids != ([message["tool_call_id"]] if message.get("role") == "tool" else []):
            return False
    return True


def test_no_tool_is_offered_where_a_synthesis_is_asked_for_and_results_follow_their_calls():
    for memory, settings in (("full", {}), ("window", {"size": 3}), ("workspace", {}), ("summary", {"turns": 3})):
        (episode,), calls = played(
            calling, memory=memory, memory_settings=settings, format="tools", api={"tools": "native"}
        )
        assert episode.num_acts == 12 and all(turn.readable for turn in episode.turns)
        for body in calls:
            assert results_follow_their_calls(body["messages"])
            if is_asked_for_a_synthesis(body):
                assert not {"tools", "tool_choice"} & set(body)
                assert not any(m["role"] == "tool" or "tool_calls" in m for m in body["messages"])
            else:
                assert [tool["function"]["name"] for tool in body["tools"]] == ["act"]
        actions = [turn.action for turn in episode.turns if turn.kind == "act"]
        if memory in ("full", "summary"):
            assert actions == [f"ask {n}" for n in range(1, 13)]
        assert sum(is_asked_for_a_synthesis(body) for body in calls) == (3 if memory == "summary" else 0)


def test_images_of_a_result_follow_it_because_results_are_text():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    call = '<tool_call>{"name": "act", "arguments": {"action": "look"}}</tool_call>'
    seen = {"role": "user", "content": [image, {"type": "text", "text": "a room"}]}
    _, result, pictures, last = as_native(
        [{"role": "assistant", "content": call}, seen, {"role": "user", "content": "and now?"}]
    )
    assert result == {"role": "tool", "tool_call_id": "call_0", "content": "a room"}
    assert pictures == {"role": "user", "content": [image]} and last["content"] == "and now?"


def test_a_workspace_keeps_its_report_through_replies_that_break_the_form():
    said = [
        "<report>one</report><action>ask 1</action>",
        "no form at all",  # unreadable: marked, the old report stays
        "<report>two, not closed <action>ask 2</action>",  # mended: the report ends where the action begins
        "I think.</think>three, not opened</report><action>ask 3</action>",
        "<action>ask 4</action>",  # no report: the old one stays
        "<report>four</report>",  # no action: unreadable, and its report is not taken
        "<report>five</report><action>ask 5</action>",
    ]
    left = iter(said)
    (episode,), calls = played(lambda body, headers: reply(next(left, said[-1])), memory="workspace", format="report")
    turns = episode.turns[:7]
    assert [turn.readable for turn in turns] == [True, False, True, True, True, False, True]
    assert [turn.action for turn in turns] == ["ask 1", "", "ask 2", "ask 3", "ask 4", "", "ask 5"]
    carried = [re.search(r"report so far:\n(.*)", "\n".join(texts(body)))[1] for body in calls[1:8]]
    assert carried == [
        "one",
        "one",
        "two, not closed",
        "three, not opened",
        "three, not opened",
        "three, not opened",
        "five",
    ]
    assert "could not be read" in texts(calls[2])[-1]
    assert len({len(body["messages"]) for body in calls}) == 1  # of any depth
