"""The API policy against a server on this machine that speaks the protocol."""

import asyncio
import base64
import logging
import traceback

import pytest

from agentrl.config import APIConfig
from agentrl.errors import ConfigError, PolicyFailure
from agentrl.policies.api import APIPolicy, with_images
from agentrl.types import Completion, Message, Observation, Policy, Request, Sampling, Task, View
from tests.chat_server import ChatServer, error, reply

KEY = "sk-very-secret-0123456789"


def request(*messages: Message, images: tuple[bytes, ...] = (), **sampling: object) -> Request:
    view = View(Task("guess", "t", "train", 0), "", Observation("x"))
    said = messages or ({"role": "user", "content": "ask me"},)
    return Request(view, said, None, images, Sampling(**sampling), "episode")  # type: ignore[arg-type]


def ask(answer, asked: Request | None = None, **settings) -> tuple[Completion, list[dict]]:
    """One reply of a policy whose server answers so, and what the server was sent."""

    async def run():
        async with ChatServer(answer) as server:
            policy = APIPolicy("fake", server.url, APIConfig(**({"backoff": 0.0} | settings)))
            try:
                return await policy.generate(asked or request()), server.calls
            finally:
                await policy.close()

    return asyncio.run(run())


def in_turn(*answers):
    """Answers one after the other; the last one stays."""
    left = list(answers)
    return lambda body, headers: left.pop(0) if len(left) > 1 else left[0]


def test_a_reply_has_text_finish_reason_and_usage():
    completion, calls = ask(in_turn(reply("ask 5", "length", prompt_tokens_details={"cached_tokens": 7})))
    assert completion == Completion(text="ask 5", finish="length", prompt_tokens=11, cached_tokens=7, output_tokens=3)
    assert completion.logprobs is None and completion.token_ids == []
    assert calls[0]["path"] == "/v1/chat/completions"


def test_the_server_gets_messages_and_sampling_settings():
    messages = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "ask me"})
    asked = request(*messages, temperature=0.6, top_p=0.9, top_k=4, max_new_tokens=33, seed=2**62 + 5)
    _, calls = ask(in_turn(reply("x")), asked)
    sent = {k: v for k, v in calls[0].items() if k != "path"}
    assert sent == {
        "model": "fake",
        "messages": list(messages),
        "temperature": 0.6,
        "top_p": 0.9,
        "top_k": 4,
        "max_tokens": 33,
        "seed": 5,
    }


def test_images_travel_as_data_urls_in_their_order():
    items = [{"type": "image"}, {"type": "text", "text": "and"}, {"type": "image"}]
    _, calls = ask(in_turn(reply("x")), request({"role": "user", "content": items}, images=(b"one", b"two")))
    urls = [item["image_url"]["url"] for item in calls[0]["messages"][0]["content"] if item["type"] == "image_url"]
    assert [base64.b64decode(url.removeprefix("data:image/png;base64,")) for url in urls] == [b"one", b"two"]


@pytest.mark.parametrize("images", [(), (b"one", b"two")])
def test_a_wrong_number_of_images_is_a_failure(images):
    with pytest.raises(PolicyFailure, match="more images"):
        with_images([{"role": "user", "content": [{"type": "image"}]}], images)


@pytest.mark.parametrize("status", [429, 500, 503, 408, 0])
def test_a_busy_failing_or_lost_server_is_asked_again(status):
    completion, calls = ask(in_turn(error(status), error(status), reply("ask 5")))
    assert completion.text == "ask 5" and len(calls) == 3


def test_it_is_asked_no_more_often_than_allowed():
    answer, calls = in_turn(error(503, "try later")), []

    def counting(body, headers):
        calls.append(body)
        return answer(body, headers)

    with pytest.raises(PolicyFailure, match="503"):
        ask(counting, tries=3)
    assert len(calls) == 3


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_is_a_failure_at_once(status):
    calls = []

    def refuse(body, headers):
        calls.append(body)
        return error(status, "not like this")

    with pytest.raises(PolicyFailure, match="not like this"):
        ask(refuse)
    assert len(calls) == 1


@pytest.mark.parametrize("answer", [reply(None), reply("half", "content_filter"), (200, {"choices": []}), (200, {})])
def test_an_answer_without_text_is_a_failure_and_no_empty_reply(answer):
    with pytest.raises(PolicyFailure, match="no text"):
        ask(in_turn(answer))


def test_a_server_that_is_not_there_is_a_failure():
    async def run():
        async with ChatServer(in_turn(reply("x"))) as server:
            url = server.url
        policy = APIPolicy("fake", url, APIConfig(backoff=0.0, tries=2))
        try:
            await policy.generate(request())
        finally:
            await policy.close()

    with pytest.raises(PolicyFailure, match="cannot be reached"):
        asyncio.run(run())


def test_constrained_sampling_is_refused():
    with pytest.raises(PolicyFailure, match="constrain"):
        ask(in_turn(reply("x")), request(candidates=((1, 2),)))


def test_a_key_is_asked_for_where_the_server_is_elsewhere(monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigError, match="MY_KEY"):
        APIPolicy("fake", "https://models.example/v1", APIConfig(key_variable="MY_KEY"))
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        APIPolicy("fake")


def test_the_key_reaches_the_server_and_nothing_else(monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    seen = []

    def refuse(body, headers):
        seen.append(headers["authorization"])
        return error(401, f"Incorrect API key provided: {KEY}; headers: {headers}")

    with caplog.at_level(logging.DEBUG), pytest.raises(PolicyFailure) as caught:
        ask(refuse, key_variable="MY_KEY")
    assert seen == [f"Bearer {KEY}"]
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    policy = APIPolicy("fake", "https://models.example/v1", APIConfig(key_variable="MY_KEY"))
    assert KEY not in shown + repr(policy) + str(vars(policy))


def test_one_policy_serves_several_event_loops_one_after_the_other():
    policies = []

    async def once(number):
        async with ChatServer(in_turn(reply(str(number)))) as server:
            policy = policies[0] if policies else APIPolicy("fake", server.url)
            policy.base_url = server.url
            policies.append(policy)
            text = (await policy.generate(request())).text
            await policy.close()
            return text

    assert [asyncio.run(once(1)), asyncio.run(once(2))] == ["1", "2"]


def test_it_is_a_policy_that_takes_messages():
    policy = APIPolicy("fake", "http://127.0.0.1:1/v1")
    assert isinstance(policy, Policy) and not policy.takes_ids
