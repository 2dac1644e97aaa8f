"""What hosts answer and what they take: published schemas in tests/core/data/api, written for these tests."""

import json
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from agentrl.config import APIConfig
from agentrl.errors import ConfigError
from agentrl.policies.api_answers import (
    Unread,
    Usage,
    asked_to_wait,
    completion_of,
    error_text,
    is_out_of_credit,
    json_of,
    usage_of,
)
from agentrl.policies.api_hosts import HOSTS, body_of, host_name, is_local
from agentrl.policies.api_tools import as_native, call_text, native_tools
from agentrl.policies.api_transport import Answer
from agentrl.prompts.tool_calls import ToolCalls
from agentrl.types import Observation, Request, Sampling, Task, View

DATA = Path(__file__).parent / "data" / "api"


def answer(name: str) -> dict:
    return json.loads((DATA / f"{name}.json").read_text())


def request(tools: tuple[dict, ...] = (), **sampling) -> Request:
    view = View(Task("guess", "t", "train", 0), "", Observation("x"), tools=tools)
    return Request(view, ({"role": "user", "content": "hi"},), None, (), Sampling(**sampling), "episode")


@pytest.mark.parametrize(
    ("name", "usage", "reasoning"),
    [
        ("openai", Usage(1117, 146, 1024, 128), ""),
        ("anthropic", Usage(40, 9), ""),
        ("google", Usage(40, 109, 0, 100), ""),
        ("deepseek", Usage(64, 70, 32, 61), "Halves. <action>ask 9</action>"),
        ("vllm", Usage(64, 30, 48, 0), "Halves."),
        ("openrouter", Usage(64, 30, 0, 12), "Halves."),
    ],
)
def test_each_hosts_reply_usage_and_reasoning_are_read(name, usage, reasoning):
    reply = answer(name)
    found = completion_of(reply, usage_of(reply))
    assert usage_of(reply) == usage
    assert (found.text, found.finish, found.reasoning) == ("<action>ask 5</action>", "stop", reasoning)
    assert (found.prompt_tokens, found.output_tokens) == (usage.input, usage.output)
    assert (found.cached_tokens, found.reasoning_tokens) == (usage.cached, usage.reasoning)


def test_a_native_tool_call_becomes_the_text_that_a_trained_policy_would_write():
    found = completion_of(answer("openai_tools"), usage_of(answer("openai_tools")))
    assert found.text == '<tool_call>{"name": "act", "arguments": {"action": "ask 5"}}</tool_call>'
    assert found.finish == "stop"


def test_a_tool_call_with_broken_arguments_stays_visible_and_unreadable():
    assert call_text("act", '{"action": ') == '<tool_call>{"name": "act", "arguments": {"action": }</tool_call>'


def test_messages_with_tool_calls_become_the_protocols_own():
    said = 'I halve.\n<tool_call>{"name": "act", "arguments": {"action": "ask 5"}}</tool_call>'
    messages = [
        {"role": "user", "content": "start"},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "higher"},
    ]
    first, called, result = as_native(messages)
    assert first == messages[0] and called["content"] == "I halve."
    use = called["tool_calls"][0]
    assert json.loads(use["function"]["arguments"]) == {"action": "ask 5"}
    assert result == {"role": "tool", "tool_call_id": use["id"], "content": "higher"}


def test_a_reply_without_a_readable_call_stays_text():
    messages = [{"role": "assistant", "content": "<tool_call>{broken}</tool_call>"}, {"role": "user", "content": "x"}]
    assert as_native(messages) == messages


def test_a_world_with_tools_offers_those_and_one_without_offers_one():
    own = {"name": "search", "description": "Look it up.", "parameters": {"type": "object", "properties": {}}}
    assert native_tools(request((own,)).view) == [{"type": "function", "function": own}]
    (act,) = native_tools(request().view)
    assert act["function"]["name"] == "act" and act["function"]["parameters"]["required"] == ["action"]


def test_a_reply_cut_before_its_first_word_is_empty_and_any_other_without_words_is_none():
    reply = answer("openai")
    reply["choices"][0]["message"]["content"] = None
    reply["choices"][0]["finish_reason"] = "length"
    assert completion_of(reply).text == "" and completion_of(reply).finish == "length"
    reply["choices"][0]["finish_reason"] = "stop"
    with pytest.raises(Unread, match="no text"):
        completion_of(reply)


@pytest.mark.parametrize("data", [b"<html>", b'{"choices": [', b"[]", b""])
def test_an_answer_that_is_no_object_is_unread(data):
    with pytest.raises(Unread, match="an answer"):
        json_of(Answer(200, {"content-type": "text/html"}, data))


def test_missing_usage_is_unknown():
    assert usage_of({}) is None and usage_of({"usage": None}) is None and usage_of({"usage": {}}) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_what_a_server_asks_to_wait_is_read(headers, seconds):
    assert asked_to_wait(Answer(429, headers, b"")) == seconds


def test_a_date_to_wait_for_is_read():
    wait = asked_to_wait(Answer(429, {"retry-after": formatdate(time.time() + 60, usegmt=True)}, b""))
    assert wait is not None and 55 < wait <= 60


def test_googles_delay_is_read_from_the_body():
    busy = Answer(429, {}, (DATA / "google_busy.json").read_bytes())
    assert asked_to_wait(busy) == 34.5 and "exhausted" in error_text(busy) and not is_out_of_credit(busy)


def test_an_empty_account_is_no_busy_server():
    assert is_out_of_credit(Answer(429, {}, b'{"error": {"code": "insufficient_quota"}}'))


def test_hosts_are_known_by_their_addresses():
    assert host_name(None) == "openai" and host_name("https://api.openai.com/v1") == "openai"
    assert host_name("https://api.anthropic.com/v1/") == "anthropic"
    assert host_name("https://generativelanguage.googleapis.com/v1beta/openai/") == "google"
    assert host_name("https://openai.com.example.org/v1") == "other"
    assert host_name("http://10.0.0.1/v1", "google") == "google"
    assert is_local("http://127.0.0.1:1/v1") and not is_local(None) and not is_local("http://10.0.0.1")


@pytest.mark.parametrize("url", ["http://me:sk-1@host/v1", "https://host/v1?key=sk-1"])
def test_an_address_with_a_key_in_it_is_refused_and_not_quoted(url):
    with pytest.raises(ConfigError, match="environment") as caught:
        host_name(url)
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("openai", {"temperature", "max_completion_tokens", "seed", "prompt_cache_key"}),
        ("anthropic", {"temperature", "max_tokens"}),
        ("google", {"temperature", "max_tokens"}),
        ("other", {"temperature", "max_tokens", "seed"}),
    ],
)
def test_each_host_gets_what_it_takes(host, names):
    assert set(body_of("m", HOSTS[host], APIConfig(), request())) == {"model", "messages"} | names


def test_fields_are_left_out_added_and_renamed():
    settings = APIConfig(
        leave_out=("temperature", "seed"), body={"reasoning_effort": "low"}, max_tokens_field="max_completion_tokens"
    )
    body = body_of("m", HOSTS["other"], settings, request(max_new_tokens=9))
    assert body["max_completion_tokens"] == 9 and body["reasoning_effort"] == "low"
    assert not {"temperature", "seed", "max_tokens"} & set(body)


@pytest.mark.parametrize(("host", "sampling"), [("anthropic", {"temperature": 1.2}), ("google", {"top_k": 4})])
def test_sampling_that_a_host_would_change_is_refused(host, sampling):
    with pytest.raises(ConfigError, match="the host takes"):
        body_of("m", HOSTS[host], APIConfig(), request(**sampling))


def test_tools_are_offered_natively():
    body = body_of("m", HOSTS["other"], APIConfig(tools="native"), request())
    assert body["tools"][0]["function"]["name"] == "act"


def test_a_call_of_a_worlds_own_tool_is_the_action_as_json():
    own = {"name": "search", "description": "Look it up.", "parameters": {"type": "object", "properties": {}}}
    view = request((own,)).view
    form = ToolCalls()
    reply = form.parse('I look.\n<tool_call>{"name": "search",\n"arguments": {"query": "a <b>"}}</tool_call>', view)
    assert reply.readable and json.loads(reply.action) == {"name": "search", "arguments": {"query": "a <b>"}}
    assert form.parse(form.write(reply.action, view), view) == reply
    assert not form.parse('<tool_call>{"arguments": {}}</tool_call>', view).readable
