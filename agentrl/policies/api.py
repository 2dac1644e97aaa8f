"""A model behind a chat completions server as the policy: messages go out, text comes back, no ids.

What a request looks like is in api_hosts, how it travels in api_transport, what comes back in api_answers, what calls
may come to in api_limits and api_prices, and what is kept of them in api_record.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentrl.config import APIConfig
from agentrl.errors import ConfigError, PolicyFailure
from agentrl.policies.api_account import Account
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
from agentrl.policies.api_hosts import HOSTS, body_of, host_name, is_local, with_images
from agentrl.policies.api_limits import Budget, Pace
from agentrl.policies.api_prices import check_money_limit, price_of
from agentrl.policies.api_record import CallRecord, Replay, data_of, digest, response_of, unused_replies
from agentrl.policies.api_transport import Answer, Transport, Unreached, transport
from agentrl.types import Completion, Request

__all__ = ["APIPolicy", "with_images"]

_RETRIED = (408, 409, 425)
"""Statuses that another try may change, beside 429, and 500 and above."""
_DOUBLED = 30.0
"""Seconds at most between two tries, where the server does not say."""
_IMAGE_TOKENS = 40_000
"""That an image counts for at most: the hosts' own rules give up to 37,000 for one."""
_TOOL_TOKENS = 1024
"""That hosts add to a prompt with tools."""


class TryAgain(Exception):
    """A call that gave no reply, and of which another try may."""

    def __init__(self, what: str, asked: float | None, busy: bool) -> None:
        """asked: seconds that the server asks to wait.   busy: the server has too much to do (429)."""
        super().__init__(what)
        self.asked, self.busy = asked, busy


@dataclass(slots=True)
class _Call:
    """One reply that is asked for, over all tries."""

    body: dict[str, Any]
    data: bytes
    """The body as JSON."""
    hash: str
    input: int
    """Tokens that the prompt has at most."""
    output: int
    episode: str
    waited: float = 0.0
    tries: int = 0
    failed: int = 0
    """Tries that failed by more than a busy server."""


@dataclass(slots=True)
class _Tried:
    """What one try came to."""

    completion: Completion | None = None
    answer: Answer | None = None
    usage: Usage | None = None
    failure: str = ""
    kind: str = ""
    """Of failure: a status, `lost`, `unread`, `cancelled`."""
    paid: bool = True
    """May it have been paid for, where `usage` does not say."""
    again: bool = True
    """Of a failure: may another try change it."""

    @property
    def busy(self) -> bool:
        return self.kind == "429"


@dataclass
class Counts:
    """What the calls of a policy came to."""

    replies: int = 0
    calls: int = 0
    """Tries included."""
    failed: Counter[str] = field(default_factory=Counter)
    """Calls without a reply, by what was wrong: a status, `lost`, `unread`, `cancelled`, `killed`."""
    waited: float = 0.0
    """Seconds, over all replies."""
    tokens: Counter[str] = field(default_factory=Counter)
    """As the server counted them: input, cached, output, reasoning."""

    def as_dict(self) -> dict[str, Any]:
        """As results.json holds it."""
        return {
            "replies": self.replies,
            "calls": self.calls,
            "failed": dict(sorted(self.failed.items())),
            "waited_seconds": self.waited,
            "tokens": {name: self.tokens[name] for name in ("input", "cached", "output", "reasoning")},
        }

    def add(self, before: Mapping[str, Any]) -> None:
        """Count what was counted before, as `as_dict` tells it; calls in progress then are failed ones: `killed`."""
        self.replies += before["replies"]
        self.calls += before["calls"]
        self.waited += before["waited_seconds"]
        self.failed.update(before["failed"])
        self.tokens.update(before["tokens"])
        killed = before["calls"] - before["replies"] - sum(before["failed"].values())
        if killed > 0:
            self.failed["killed"] += killed


class APIPolicy:
    """Replies by chat completions.

    A call that fails for good is a PolicyFailure, never an empty answer. The key is read from the environment when it
    is needed; it is in no representation, message, record or log of this class.
    """

    takes_ids = False
    keeps_time = True
    """Each call has its own deadline (`api.timeout`): waiting for a rate limit is no working time."""

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        settings: APIConfig | None = None,
        *,
        concurrency: int = 128,
    ) -> None:
        """
        model: as the server names it.   base_url: of the server, as http://127.0.0.1:8000/v1; None: OpenAI's.
        concurrency: calls at once, where the settings name none.
        With `settings.replay` no server is asked, and no key is needed.
        Raises ConfigError where a key is needed and the variable is empty, or a limit cannot be kept; DataError where
        there is no record to replay.
        """
        self.model, self.base_url = model, base_url
        self.settings = settings = settings or APIConfig()
        self._host = HOSTS[host_name(base_url, settings.host)]
        self._key_variable = settings.key_variable or self._host.key_variable
        self._transports: dict[asyncio.AbstractEventLoop, Transport] = {}
        self.price = price_of(model, settings.prices)
        check_money_limit(model, settings.max_cost, self.price)
        self.budget = Budget(settings.max_tokens, settings.max_cost, self.price)
        self.pace = Pace(settings.concurrency or concurrency, settings.requests_per_minute, settings.tokens_per_minute)
        self.counts = Counts()
        self._record: CallRecord | None = None
        self._account: Account | None = None
        self._paid: dict[str, dict[str, Any]] = {}
        self._replay = Replay(settings.replay) if settings.replay else None
        if self._replay is None:
            self._key()

    def __repr__(self) -> str:
        return f"APIPolicy({self.model!r}, {self.base_url!r})"

    def record_in(self, folder: str | os.PathLike[str] | None) -> None:
        """Write every call from now on to `calls.jsonl.gz` of a folder; None: no longer.   Raises DataError."""
        if self._record is not None:
            self._record.close()
        self._record = None if folder is None or self._replay is not None else CallRecord(folder)

    def keep_account(self, path: str | os.PathLike[str]) -> None:
        """Keep what all calls come to in a file; what stands there counts as spent, calls in progress with the worst.

        Raises DataError where that is not possible.
        """
        if self._account is not None and self._account.path == Path(path):
            return
        self._account = Account(path)
        spent = self._account.before
        if spent:
            self.budget.add(spent["tokens"], spent["cost"], spent["unknown_calls"])
            self.counts.add(spent["counts"])
        self._keep_accounts()

    def _keep_accounts(self) -> None:
        if self._account is not None:
            budget = self.budget
            self._account.write(budget.tokens, budget.cost, budget.unknown_calls, budget.held, self.counts.as_dict())

    def take_up(self, folder: str | os.PathLike[str], done: Container[str]) -> None:
        """Use the recorded replies of episodes that were cut off, once each, before new ones are asked for.

        done: `TASK/ROLLOUT` of episodes that are over.   Raises DataError.
        """
        self._paid |= unused_replies(folder, done)

    def usage(self) -> dict[str, Any]:
        """What its calls came to so far: counts, tokens, cost and where the prices are from."""
        known = self.price is not None
        return self.counts.as_dict() | {
            "cost": self.budget.cost if known else None,
            "currency": self.price.currency if self.price else None,
            "prices_of": self.price.date if self.price else None,
            "calls_of_unknown_usage": self.budget.unknown_calls,
            "replayed": self._replay is not None,
        }

    def _key(self) -> str:
        key = os.environ.get(self._key_variable, "").strip()
        if not key and not is_local(self.base_url):
            raise ConfigError(f"the server needs a key: set the environment variable {self._key_variable}")
        return key or "none"

    def _transport(self) -> Transport:
        """That of the running event loop: connections do not outlive the loop that they were opened in."""
        loop = asyncio.get_running_loop()
        for closed in [other for other in self._transports if other.is_closed()]:
            del self._transports[closed]
        if loop not in self._transports:
            self._transports[loop] = transport(self.settings, self.base_url, self._key())
        return self._transports[loop]

    async def generate(self, request: Request) -> Completion:
        """The server's reply to `request.messages`: text, reasoning, finish reason, usage, cost; no ids, no log-probs.

        Calls that meet a busy or failing server are made again.
        Raises PolicyFailure where the server refuses, cannot be reached, or answers without text, or where a limit of
        the run is reached; DataError for a request that is not in the record that is replayed.
        """
        if request.sampling.candidates is not None:
            raise PolicyFailure("an API policy cannot keep to given replies; use constrain: none")
        body = body_of(self.model, self._host, self.settings, request)
        name, data = digest(body, request.sampling.seed)
        if self._replay is not None:
            return self._replayed(self._replay.reply(name))
        if name in self._paid:
            return self._replayed(self._paid.pop(name), counted=True)
        most = _most_tokens(len(data), request, body)
        call = _Call(body, data, name, most, request.sampling.max_new_tokens, request.episode)
        failure = ""
        try:
            completion = await self._asked(call)
            completion.waited = call.waited
            return completion
        except TryAgain as error:
            failure = f"API model {self.model!r}: {error}"
        except PolicyFailure as error:
            failure = str(error)
        if self._record is not None:
            self._record.add({"hash": name, "time": time.time(), "failure": failure, "final": True})
        # raised out here, so that no error of the client, which may hold the key, is chained to it
        raise PolicyFailure(failure)

    async def _asked(self, call: _Call) -> Completion:
        """Try until there is a reply.   Raises TryAgain after the last try, PolicyFailure for a refusal."""
        try:  # most calls need no second try, and are spared what tenacity takes for the first
            return await self._attempt(call)
        except TryAgain as error:
            pause = self._wait(call, error)
            if self._gives_up(call, error, pause):
                raise
        await asyncio.sleep(pause)

        from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

        def wait(state: RetryCallState) -> float:
            return self._wait(call, state.outcome.exception())  # type: ignore[union-attr,arg-type]

        def stop(state: RetryCallState) -> bool:
            return self._gives_up(call, state.outcome.exception(), state.upcoming_sleep)  # type: ignore[union-attr,arg-type]

        retrying = AsyncRetrying(wait=wait, stop=stop, retry=retry_if_exception_type(TryAgain), reraise=True)
        return await retrying(self._attempt, call)

    def _wait(self, call: _Call, error: TryAgain) -> float:
        """Seconds before the next try: what the server asks for, else doubling, of which a random share is taken."""
        if error.asked is not None:
            return error.asked
        return min(_DOUBLED, self.settings.backoff * 2.0 ** min(call.tries - 1, 20)) * random.uniform(0.5, 1.0)

    def _gives_up(self, call: _Call, error: TryAgain, wait: float) -> bool:
        settings = self.settings
        enough = call.waited + wait > settings.patience if error.busy else call.failed >= settings.tries
        if enough or wait > settings.longest_wait:
            return True
        call.waited += wait
        self.counts.waited += wait
        return False

    async def _attempt(self, call: _Call) -> Completion:
        """One call, within all limits.   Raises TryAgain or PolicyFailure where it gives no reply."""
        expected = call.input / 4 + call.output
        waited = await self.pace.enter(expected)
        call.waited += waited
        self.counts.waited += waited
        entered = time.monotonic()
        tried, cost = _Tried(failure="cancelled", kind="cancelled"), None
        try:
            held = await self.budget.reserve(call.input, call.output)
            call.tries += 1
            self.counts.calls += 1
            self._keep_accounts()
            started = time.time()
            try:
                tried = await self._try(call)
            finally:
                cost = self.budget.settle(held, tried.usage, tried.paid)
                self._noted(call, tried, started, cost)
                self._keep_accounts()
        finally:
            self.pace.leave(expected, tried.usage.input + tried.usage.output if tried.usage else None)
        if tried.completion is not None:
            self.pace.went_well()
            tried.completion.cost = cost
            return tried.completion
        if not tried.again:
            raise PolicyFailure(f"API model {self.model!r}: {tried.failure}")
        asked = asked_to_wait(tried.answer) if tried.answer is not None else None
        error = TryAgain(tried.failure, asked, tried.busy)
        if tried.busy:
            self.pace.too_busy(entered, min(self._wait(call, error), self.settings.longest_wait))
        else:
            call.failed += 1
        raise error

    async def _try(self, call: _Call) -> _Tried:
        """One call, whatever comes of it."""
        try:
            answer = self._without_key(await self._transport().post(call.body, call.data))
        except Unreached as error:
            return _Tried(failure=self._hidden(str(error)), kind="lost", paid=error.sent)
        if answer.status != 200:
            again = answer.status in _RETRIED or answer.status >= 500
            again = again or (answer.status == 429 and not is_out_of_credit(answer))
            failure = error_text(answer)[:500]
            return _Tried(answer=answer, failure=failure, kind=str(answer.status), paid=False, again=again)
        usage = None
        try:
            reply = json_of(answer)
            usage = usage_of(reply)
            return _Tried(completion_of(reply, usage), answer, usage)
        except Unread as error:
            return _Tried(None, answer, usage, f"the server gave {error}", "unread", again=not error.final)

    def _noted(self, call: _Call, tried: _Tried, started: float, cost: float | None) -> None:
        """Count the try, and write it down."""
        counts, usage = self.counts, tried.usage
        if tried.completion is None:
            counts.failed[tried.kind] += 1
        else:
            counts.replies += 1
        if usage is not None:
            counts.tokens.update(usage.as_dict())
        if self._record is None:
            return
        line: dict[str, Any] = {"hash": call.hash, "episode": call.episode, "try": call.tries, "time": started}
        line["waited"] = call.waited
        line |= {"seconds": time.time() - started, "body": call.body}
        if tried.answer is not None:
            line |= {"status": tried.answer.status, **response_of(tried.answer.data)}
        line |= {"usage": usage.as_dict() if usage else None, "cost": cost}
        line |= {"failure": tried.failure} if tried.completion is None else {"final": True}
        self._record.add(line)

    def _replayed(self, call: Mapping[str, Any], counted: bool = False) -> Completion:
        """The reply of a recorded call, read anew.   counted: the call is among the counts already."""
        answer = Answer(200, {}, data_of(call))
        reply = json_of(answer)
        usage = usage_of(reply)
        completion = completion_of(reply, usage)
        completion.cost = self.price.of(usage) if self.price and usage else None
        completion.waited = float(call["waited"])
        if not counted:
            self.counts.replies += 1
            self.counts.tokens.update(usage.as_dict() if usage else {})
        return completion

    def _without_key(self, answer: Answer) -> Answer:
        """Servers quote what they were sent."""
        key = os.environ.get(self._key_variable, "").strip().encode()
        return answer._replace(data=answer.data.replace(key, b"***")) if key and key in answer.data else answer

    def _hidden(self, text: str) -> str:
        key = os.environ.get(self._key_variable, "").strip()
        text = " ".join(text.split())
        return (text.replace(key, "***") if key else text)[:500]

    async def release(self, episode: str) -> None:
        """Nothing is kept for an episode."""

    async def close(self) -> None:
        """Close the connections of the running event loop, and the record."""
        self.record_in(None)
        if self._account is not None:
            self._account.close()
            self._account = None
        found = self._transports.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found.close()


def _most_tokens(size: int, request: Request, body: Mapping[str, Any]) -> int:
    """Tokens that a prompt has at most: no tokenizer makes more of a text than it has bytes.

    size: bytes of the request as JSON, whose punctuation outweighs what a chat template puts between messages.
    """
    pictures = sum(4 * -(-len(image) // 3) for image in request.images)
    return size - pictures + len(request.images) * _IMAGE_TOKENS + (_TOOL_TOKENS if body.get("tools") else 0)
