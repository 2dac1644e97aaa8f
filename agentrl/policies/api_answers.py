"""Reads what a chat completions server answered: reply, reasoning, tool calls, usage, and how long it asks to wait."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from agentrl.policies.api_tools import call_text
from agentrl.policies.api_transport import Answer
from agentrl.types import Completion


class Unread(Exception):
    """An answer that is no reply."""

    def __init__(self, what: str, final: bool = False) -> None:
        """final: another try would not change it."""
        super().__init__(what)
        self.final = final


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as the server counted them."""

    input: int
    """Of the prompt, the cached ones included."""
    output: int
    """Of the reply, reasoning included."""
    cached: int = 0
    reasoning: int = 0

    def as_dict(self) -> dict[str, int]:
        """Its fields; `dataclasses.asdict` takes ten times as long, at every call of a run."""
        return {
            "input": self.input,
            "output": self.output,
            "cached": self.cached,
            "reasoning": self.reasoning,
        }


def json_of(answer: Answer) -> dict[str, Any]:
    """The object in an answer.   Raises Unread for what is none: HTML, a JSON text that is cut."""
    try:
        found = json.loads(answer.data)
    except ValueError:
        kind = answer.headers.get("content-type", "") or "unnamed type"
        raise Unread(f"an answer of {len(answer.data)} bytes ({kind}) that is no JSON") from None
    if not isinstance(found, dict):
        raise Unread(f"an answer that is a {type(found).__name__}, not an object")
    return found


def usage_of(reply: Mapping[str, Any]) -> Usage | None:
    """What the call used; None where the server does not say.

    Cached tokens: OpenAI's, Google's and vLLM's `prompt_tokens_details`, DeepSeek's `prompt_cache_hit_tokens`, or
    Anthropic's `cache_read_input_tokens`, as gateways pass it on.
    """
    told = reply.get("usage")
    if not isinstance(told, Mapping) or not isinstance(told.get("prompt_tokens"), int):
        return None
    prompt, total = told["prompt_tokens"], _number(told, "total_tokens")
    # Google counts thoughts in the total alone.
    output = max(_number(told, "completion_tokens"), total - prompt)
    cached = (
        _number(told.get("prompt_tokens_details"), "cached_tokens")
        or _number(told, "prompt_cache_hit_tokens")
        or _number(told, "cache_read_input_tokens")
    )
    reasoning = _number(told.get("completion_tokens_details"), "reasoning_tokens")
    if not reasoning and output > _number(told, "completion_tokens"):
        reasoning = output - _number(told, "completion_tokens")
    return Usage(prompt, output, min(cached, prompt), min(reasoning, output))


def _number(values: Any, name: str) -> int:
    found = values.get(name) if isinstance(values, Mapping) else None
    return found if isinstance(found, int) and found > 0 else 0


def completion_of(reply: Mapping[str, Any], usage: Usage | None = None) -> Completion:
    """The reply as a completion, without its cost.   usage: of the reply; None: the server did not say.

    A reply that the token limit cut before its first word is empty; any other without words or a tool call is none.
    Raises Unread for an answer without a reply.
    """
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
    message = choice.get("message")
    reason = choice.get("finish_reason")
    if not isinstance(message, Mapping):
        raise Unread("no text (no choice)")
    if reason in ("content_filter", "refusal"):
        raise Unread(f"no text (finish reason: {reason})", final=True)
    text, calls = _text(message.get("content")), _calls(message)
    if text is None and not calls:
        if reason != "length":
            raise Unread(f"no text (finish reason: {reason})")
        text = ""
    usage = usage or Usage(0, 0)
    return Completion(
        text="\n".join(part for part in (text or "", *calls) if part),
        finish="length" if reason == "length" else "stop",
        prompt_tokens=usage.input,
        cached_tokens=usage.cached,
        reasoning=_reasoning(message),
        output_tokens=usage.output,
        reasoning_tokens=usage.reasoning,
    )


def _text(content: Any) -> str | None:
    """The text of a message; of one in pieces, of all that are text."""
    if isinstance(content, list):
        return "".join(str(item.get("text", "")) for item in content if isinstance(item, Mapping)) or None
    return content if isinstance(content, str) else None


def _calls(message: Mapping[str, Any]) -> list[str]:
    """The first tool call, as text: one reply is one action."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list) or not calls or not isinstance(calls[0], Mapping):
        return []
    function = calls[0].get("function")
    if not isinstance(function, Mapping):
        return []
    arguments = function.get("arguments", "")
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return [call_text(str(function.get("name", "")), written)]


def _reasoning(message: Mapping[str, Any]) -> str:
    """`reasoning_content` of DeepSeek, vLLM and SGLang, or `reasoning` of OpenRouter and newer vLLM."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(message.get(name), str) and message[name]:
            return str(message[name])
    return ""


def asked_to_wait(answer: Answer) -> float | None:
    """Seconds that a server asks to wait for; None where it does not say.

    `retry-after-ms`; `retry-after` in seconds or as a date; `retryDelay` in the body of Google's errors ("34s").
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        told = answer.headers.get(name, "").strip()
        try:
            return max(0.0, float(told) * unit)
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
        except (ValueError, TypeError):
            pass
    return _google_delay(answer.data) if b"retryDelay" in answer.data else None


def _google_delay(data: bytes) -> float | None:
    try:
        found = json.loads(data)
        error = (found[0] if isinstance(found, list) else found)["error"]
        delays = [item["retryDelay"] for item in error["details"] if "retryDelay" in item]
        return max(0.0, float(delays[0].removesuffix("s")))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def is_out_of_credit(answer: Answer) -> bool:
    """A 429 that no waiting helps against: the account has nothing left."""
    return b"insufficient_quota" in answer.data or b"credit balance is too low" in answer.data


def error_text(answer: Answer) -> str:
    """What a server says of an error, in one line: the status, and its message where it gives one."""
    try:
        found = json.loads(answer.data)
        found = found[0] if isinstance(found, list) and found else found
        told = found["error"]["message"] if isinstance(found["error"], Mapping) else found["error"]
    except (ValueError, KeyError, TypeError, IndexError):
        told = answer.data[:300].decode(errors="replace")
    return " ".join(f"status {answer.status}: {told}".split())
