"""Every call on record, and an evaluation rebuilt from it without a server."""

import asyncio
import gzip
import json

import pytest

import agentrl
from agentrl.errors import DataError, PolicyFailure
from agentrl.policies.api import APIPolicy
from agentrl.policies.api_record import CALLS, CallRecord, Replay, calls, digest
from agentrl.records import read_trajectories
from tests.chat_server import Answer, ChatServer, error, halving, reply
from tests.core.test_api_answers import request

KEY = "sk-canary-0123456789"


def evaluated(answer, **settings):
    """An evaluation of a policy behind a server on this machine, and how often that was asked."""

    async def run():
        async with ChatServer(answer) as server:
            url = settings.pop("base_url", server.url)
            result = await asyncio.to_thread(
                agentrl.evaluate, env="guess", policy="api:fake", base_url=url, episodes=3, **settings
            )
            return result, len(server.calls), url

    return asyncio.run(run())


def core(result):
    return [
        (t.task.id, t.outcome, t.ended, t.failure, t.tries, [(u.completion.text, u.completion.cost) for u in t.turns])
        for t in result.trajectories
    ]


def test_a_record_goes_on_after_a_kill_in_the_middle_of_a_line(tmp_path):
    first = CallRecord(tmp_path)
    first.add({"hash": "a", "failure": "ä\udc80"})
    first.add({"hash": "b"})
    first.close()
    whole = (tmp_path / CALLS).read_bytes()
    (tmp_path / CALLS).write_bytes(whole + gzip.compress(b'{"hash": "half"}\n')[:11])
    assert [call["hash"] for call in calls(tmp_path / CALLS)] == ["a", "b"]
    second = CallRecord(tmp_path)
    second.add({"hash": "c"})
    second.close()
    assert [call["hash"] for call in calls(tmp_path / CALLS)] == ["a", "b", "c"]
    lines = gzip.decompress((tmp_path / CALLS).read_bytes()).splitlines()
    assert [json.loads(line)["hash"] for line in lines] == ["a", "b", "c"]


@pytest.mark.parametrize("data", [b"no gzip", gzip.compress(b"no json\n"), gzip.compress(b'{"schema": 99}\n')])
def test_a_record_that_is_none_is_an_error_in_one_line(tmp_path, data):
    (tmp_path / CALLS).write_bytes(data)
    with pytest.raises(DataError, match=CALLS):
        Replay(tmp_path)


def test_there_is_nothing_to_replay_in_a_folder_without_a_record(tmp_path):
    with pytest.raises(DataError, match="there is no"):
        Replay(tmp_path)


def test_requests_are_told_apart_by_body_and_seed_and_not_by_the_order_of_fields():
    assert digest({"a": 1, "b": 2}, 0) == digest({"b": 2, "a": 1}, 0)
    assert len({digest({"a": 1}, 0)[0], digest({"a": 1}, 1)[0], digest({"a": 2}, 0)[0]}) == 3


def test_an_evaluation_is_rebuilt_from_its_record_without_a_server(tmp_path):
    first, asked, url = evaluated(halving, out=tmp_path / "first", repeats=2)
    assert asked == sum(len(t.turns) for t in first.trajectories) > 3 and first.success == 1.0
    replayed, asked_again, _ = evaluated(
        halving, base_url=url, out=tmp_path / "again", repeats=2, api={"replay": str(tmp_path / "first")}
    )
    assert asked_again == 0 and core(replayed) == core(first) and replayed.panel == first.panel
    results = json.loads((tmp_path / "again" / "results.json").read_text())
    assert results["usage"]["policy"]["replayed"] and not (tmp_path / "again" / CALLS).exists()
    again, then = results["usage"]["episodes"], json.loads((tmp_path / "first" / "results.json").read_text())
    assert again == then["usage"]["episodes"] and then["usage"]["policy"]["replies"] == asked


def test_episodes_that_failed_fail_again_as_they_did(tmp_path):
    def sometimes(body, headers):
        return error(400, "not this one") if body["seed"] % 3 == 0 else halving(body, headers)

    first, asked, url = evaluated(sometimes, out=tmp_path / "first", rollout={"tries": 2})
    assert asked > 3
    settings = {"rollout": {"tries": 2}, "api": {"replay": str(tmp_path / "first")}}
    replayed, asked_again, _ = evaluated(sometimes, base_url=url, **settings)
    assert asked_again == 0 and core(replayed) == core(first)


def test_a_request_that_is_not_on_record_is_an_error_that_says_so(tmp_path):
    evaluated(halving, out=tmp_path / "first")
    with pytest.raises(DataError, match="does not have a request that is made now"):
        evaluated(halving, seed=1, api={"replay": str(tmp_path / "first")})


def test_every_try_is_on_record_with_its_answer(tmp_path):
    answers = [error(500, "oops"), Answer(data=b"\xff<html>"), reply("ask 5")]

    async def run():
        async with ChatServer(lambda body, headers: answers.pop(0)) as server:
            policy = APIPolicy("fake", server.url, agentrl.config.APIConfig(backoff=0.0))
            policy.record_in(tmp_path)
            await policy.generate(request())
            await policy.close()

    asyncio.run(run())
    first, second, third = calls(tmp_path / CALLS)
    assert (first["try"], first["status"], "oops" in first["failure"], first["usage"]) == (1, 500, True, None)
    assert second["data"] == "/zxodG1sPg==" and "no JSON" in second["failure"] and not second.get("final")
    assert third["final"] and third["body"]["messages"] and third["usage"]["input"] == 11 and third["seconds"] > 0


def test_reasoning_usage_and_cost_are_stored_with_the_episode(tmp_path):
    def thinking(body, headers):
        status, answer = halving(body, headers)
        answer["choices"][0]["message"]["reasoning_content"] = "I halve. <action>ask 99</action>"
        answer["usage"]["completion_tokens_details"] = {"reasoning_tokens": 2}
        return status, answer

    prices = tmp_path / "prices.yaml"
    prices.write_text("date: 2026-01-02\ncurrency: EUR\nmodels:\n  fake: {input: 1, output: 2}\n")
    result, _, _ = evaluated(thinking, out=tmp_path / "out", api={"prices": str(prices)})
    (stored, *_) = read_trajectories(tmp_path / "out" / "trajectories" / "step-000000.jsonl.gz")
    completion = stored.turns[0].completion
    assert completion.reasoning.startswith("I halve.") and completion.output_tokens == 3
    assert completion.reasoning_tokens == 2
    assert completion.cost == pytest.approx(17e-6) and result.success == 1.0
    assert result.usage["policy"]["cost"] == pytest.approx(result.usage["episodes"]["cost"])
    assert result.usage["policy"]["prices_of"] == "2026-01-02" and result.usage["policy"]["currency"] == "EUR"


def test_a_key_that_a_server_quotes_is_in_no_file_and_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def quoting(body, headers):
        assert headers["authorization"] == f"Bearer {KEY}"
        answers = [error(401, f"bad key {KEY}"), reply(f"<action>{KEY}</action>"), Answer(500, KEY.encode())]
        return answers[body["seed"] % 3]

    result, asked, _ = evaluated(quoting, out=tmp_path / "out", api={"tries": 1}, rollout={"max_turns": 3})
    assert asked > 3 and result.all.failures > 0
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert KEY.encode() not in (gzip.decompress(data) if file.suffix == ".gz" else data), file.name
    assert KEY not in repr(result)


def test_a_replay_needs_no_key(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    CallRecord(tmp_path).close()
    policy = APIPolicy("fake", None, agentrl.config.APIConfig(replay=str(tmp_path)))
    with pytest.raises((DataError, PolicyFailure), match="does not have"):
        asyncio.run(policy.generate(request()))


def test_native_tool_calls_play_as_text_does():
    def calling(body, headers):
        """The same game by tool calls, from messages whose calls are the protocol's own."""
        assert body["tools"][0]["function"]["name"] == "act"
        messages = []
        for message in body["messages"]:
            called = message.get("tool_calls")
            told = called[0]["function"]["arguments"] if called else message["content"]
            messages.append({"role": "user" if message["role"] == "tool" else message["role"], "content": told})
        status, answer = halving({"messages": messages}, headers)
        choice = answer["choices"][0]
        action = choice["message"]["content"].removeprefix("<action>").removesuffix("</action>")
        function = {"name": "act", "arguments": json.dumps({"action": action})}
        choice["message"] = {"content": None, "tool_calls": [{"id": "a", "type": "function", "function": function}]}
        return status, answer

    text, _, _ = evaluated(halving)
    native, _, _ = evaluated(calling, format="tools", api={"tools": "native"})
    actions = [[turn.action for turn in t.turns] for t in native.trajectories]
    assert native.success == 1.0 and actions == [[turn.action for turn in t.turns] for t in text.trajectories]
    assert native.trajectories[0].turns[0].completion.text.startswith('<tool_call>{"name": "act"')
