"""A model behind an OpenAI-compatible server as the policy: chat messages go out, text comes back, no ids."""

import asyncio
import base64
import os
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from agentrl.errors import ConfigError, PolicyFailure
from agentrl.types import Completion, Message, Request, Sampling

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_RETRIED = (408, 409, 429)
"""Statuses that another try may change, beside 500 and above."""
_LONGEST_WAIT = 30.0
"""Seconds between two tries, whatever the server asks for."""
_SEEDS = 2**31
"""Servers differ in how large a seed they take; all take this."""


class APIPolicy:
    """Replies by chat completions.

    A call that fails for good is a PolicyFailure, never an empty answer. The key is read from the environment when it
    is needed; it is in no representation, message or log of this class.
    """

    takes_ids = False

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        key_variable: str = "OPENAI_API_KEY",
        timeout: float = 120.0,
        tries: int = 5,
        backoff: float = 0.5,
        max_tokens_field: str = "max_tokens",
    ) -> None:
        """
        model: as the server names it.   base_url: of the server, as http://127.0.0.1:8000/v1; None: OpenAI's.
        key_variable: environment variable that holds the key; a server on this machine needs none.
        timeout: seconds for one call.   tries: calls in all for one reply.
        backoff: seconds before the second try, doubled with each further one, with a random share taken off.
        max_tokens_field: some models want max_completion_tokens instead.
        Raises ConfigError where a key is needed and the variable is empty.
        """
        if tries < 1:
            raise ConfigError(f"tries is {tries}; it must be at least 1")
        self.model = model
        self.base_url = base_url
        self.timeout = timeout
        self.tries = tries
        self.backoff = backoff
        self.max_tokens_field = max_tokens_field
        self._key_variable = key_variable
        self._clients: dict[asyncio.AbstractEventLoop, Any] = {}
        self._key()

    def __repr__(self) -> str:
        return f"APIPolicy({self.model!r}, {self.base_url!r})"

    def _key(self) -> str:
        key = os.environ.get(self._key_variable, "")
        local = self.base_url is not None and urlsplit(self.base_url).hostname in _LOOPBACK
        if not key and not local:
            raise ConfigError(f"the server needs a key: set the environment variable {self._key_variable}")
        return key or "none"

    def _client(self) -> Any:
        """The client of the running event loop: connections do not outlive the loop that they were opened in."""
        from openai import AsyncOpenAI

        loop = asyncio.get_running_loop()
        for closed in [other for other in self._clients if other.is_closed()]:
            del self._clients[closed]
        if loop not in self._clients:
            self._clients[loop] = AsyncOpenAI(
                api_key=self._key(), base_url=self.base_url, timeout=self.timeout, max_retries=0
            )
        return self._clients[loop]

    async def generate(self, request: Request) -> Completion:
        """The server's reply to `request.messages`: text, finish reason and usage; no ids, no log-probs.

        Calls that meet a busy or failing server are made again, `tries` in all.
        Raises PolicyFailure where the server refuses, cannot be reached, or answers without text.
        """
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

        if request.sampling.candidates is not None:
            raise PolicyFailure("an API policy cannot keep to given replies; use constrain: none")
        client, body = self._client(), self._body(request)
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.tries),
            wait=_wait(self.backoff),
            retry=retry_if_exception(_passes),
            reraise=True,
        )

        async def call() -> Any:
            # The client walks a request given by name against its types, at twice the cost of the call itself.
            return await client.chat.completions.create(model=self.model, messages=[], extra_body=body)

        failure = ""
        reply: Any = None
        try:
            reply = await retrying(call)
        except Exception as error:
            failure = self._without_key(f"{type(error).__name__}: {error}")
        if failure:  # raised out here, so that the client's error, which may hold the key, is not chained to it
            raise PolicyFailure(f"API model {self.model!r}: {failure}")
        return self._completion(reply)

    def _without_key(self, text: str) -> str:
        """Servers quote what they were sent; and one line is enough."""
        key = os.environ.get(self._key_variable, "")
        text = " ".join(text.split())
        return (text.replace(key, "***") if key else text)[:500]

    def _body(self, request: Request) -> dict[str, Any]:
        sampling: Sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "messages": with_images(request.messages, request.images),
            "temperature": sampling.temperature,
            "seed": sampling.seed % _SEEDS,
            self.max_tokens_field: sampling.max_new_tokens,
        }
        if sampling.top_p < 1:
            body["top_p"] = sampling.top_p
        if sampling.top_k:
            body["top_k"] = sampling.top_k
        return body

    def _completion(self, reply: Any) -> Completion:
        choices = getattr(reply, "choices", None)
        text = choices[0].message.content if choices else None
        reason = choices[0].finish_reason if choices else "none"
        if not isinstance(text, str) or reason == "content_filter":
            raise PolicyFailure(f"API model {self.model!r} gave no text (finish reason: {reason})")
        usage = reply.usage
        details = getattr(usage, "prompt_tokens_details", None)
        return Completion(
            text=text,
            finish="length" if reason == "length" else "stop",
            prompt_tokens=getattr(usage, "prompt_tokens", None) or 0,
            cached_tokens=getattr(details, "cached_tokens", None) or 0,
        )

    async def release(self, episode: str) -> None:
        """Nothing is kept for an episode."""

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()


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


def _passes(error: BaseException) -> bool:
    """Whether another try may help: the server was not reached, is busy, or failed itself."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        return error.status_code in _RETRIED or error.status_code >= 500
    return isinstance(error, APIConnectionError)


def _wait(backoff: float) -> Callable[[Any], float]:
    """Seconds before the next try: what the server asks for, else doubling with a random share; never long."""
    from tenacity import wait_random_exponential

    doubling = wait_random_exponential(multiplier=backoff, max=_LONGEST_WAIT)

    def wait(state: Any) -> float:
        response = getattr(state.outcome.exception(), "response", None)
        asked = response.headers.get("retry-after", "") if response is not None else ""
        try:
            return min(max(float(asked), 0.0), _LONGEST_WAIT)
        except ValueError:
            return float(doubling(state))

    return wait
