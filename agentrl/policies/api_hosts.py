"""What each kind of host takes in a chat completions request, and the body of one.

OpenAI        its API reference, "Create chat completion": max_tokens is deprecated and refused by reasoning models
Anthropic     "OpenAI SDK compatibility": temperature from 0 to 1, seed ignored, no prompt caching
Google        "OpenAI compatibility" of the Gemini API: unknown fields, seed among them, are refused
other         vLLM, SGLang, llama.cpp and what else follows OpenAI's protocol; all of these take seed and top_k
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from agentrl.config import APIConfig
from agentrl.errors import ConfigError, PolicyFailure
from agentrl.policies.api_tools import as_native, native_tools
from agentrl.types import Message, Request

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SEEDS = 2**31
"""Servers differ in how large a seed they take; all take this."""


@dataclass(frozen=True)
class Host:
    """The habits of a host."""

    key_variable: str
    max_tokens_field: str = "max_tokens"
    takes_seed: bool = True
    takes_top_k: bool = False
    takes_cache_key: bool = False
    """OpenAI's `prompt_cache_key`: requests with the same one go to where their beginning is cached."""
    highest_temperature: float = 2.0


HOSTS: Mapping[str, Host] = {
    "openai": Host("OPENAI_API_KEY", "max_completion_tokens", takes_cache_key=True),
    "anthropic": Host("ANTHROPIC_API_KEY", takes_seed=False, highest_temperature=1.0),
    "google": Host("GEMINI_API_KEY", takes_seed=False),
    "other": Host("OPENAI_API_KEY", takes_top_k=True, highest_temperature=float("inf")),
}
_ADDRESSES = {"openai.com": "openai", "anthropic.com": "anthropic", "googleapis.com": "google"}


def host_name(base_url: str | None, asked: str = "auto") -> str:
    """Which of `HOSTS` an address belongs to.   Raises ConfigError for an address with a password in it."""
    parts = urlsplit(base_url or "https://api.openai.com/v1")
    if parts.username or parts.password or parts.query:
        raise ConfigError("the server's address holds a password or a query; keys belong into the environment")
    if asked != "auto":
        return asked
    place = f".{parts.hostname or ''}"
    return next((name for ending, name in _ADDRESSES.items() if place.endswith(f".{ending}")), "other")


def is_local(base_url: str | None) -> bool:
    """Is the server on this machine."""
    return base_url is not None and urlsplit(base_url).hostname in _LOOPBACK


def body_of(model: str, host: Host, settings: APIConfig, request: Request) -> dict[str, Any]:
    """The request as the host takes it.

    Raises ConfigError for sampling that the host would ignore or refuse, PolicyFailure for images that do not fit.
    """
    sampling, refused = request.sampling, settings.leave_out
    if sampling.temperature > host.highest_temperature:
        raise ConfigError(f"temperature is {sampling.temperature:g}; the host takes up to {host.highest_temperature:g}")
    if sampling.top_k and not host.takes_top_k and "top_k" not in refused:
        raise ConfigError(f"rollout.top_k is {sampling.top_k}; the host takes no top_k; set it to 0")
    messages = with_images(request.messages, request.images)
    # A synthesis is written, not called: no tool is offered, and calls of earlier turns stay text, because hosts refuse
    # calls in a request that offers no tools.
    native = settings.tools == "native" and request.view.kind == "act"
    body: dict[str, Any] = {
        "model": model,
        "messages": as_native(messages) if native else messages,
        "temperature": sampling.temperature,
        settings.max_tokens_field or host.max_tokens_field: sampling.max_new_tokens,
    }
    if host.takes_seed:
        body["seed"] = sampling.seed % _SEEDS
    if sampling.top_p < 1:
        body["top_p"] = sampling.top_p
    if sampling.top_k:
        body["top_k"] = sampling.top_k
    if native:
        body["tools"] = native_tools(request.view)
    if host.takes_cache_key:
        body["prompt_cache_key"] = hashlib.sha256(request.view.task.id.encode()).hexdigest()[:32]
    return {name: value for name, value in body.items() if name not in refused} | settings.body


def with_images(messages: Sequence[Message], images: Sequence[bytes]) -> list[Message]:
    """The messages as the protocol wants them: image items become data URLs of the images, in order.

    images: PNG files.   Raises PolicyFailure where there are not as many as the messages show.
    """
    left = list(images)
    written: list[Message] = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            content = [_item(item, left) for item in content]
        written.append({**message, "content": content})
    if left:
        raise PolicyFailure(f"there are {len(left)} more images than the messages show")
    return written


def _item(item: dict[str, Any], images: list[bytes]) -> dict[str, Any]:
    if item.get("type") != "image":
        return item
    if not images:
        raise PolicyFailure("the messages show more images than there are")
    data = base64.b64encode(images.pop(0)).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
