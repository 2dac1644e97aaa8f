"""What calls may come to: at once, in a minute, and in the whole run.

`Pace` halves the number of calls at once when the server is too busy and adds one for every round of calls that went
well; it spreads calls over the minute. `Budget` keeps tokens and money under their limits at any concurrency: what a
call may cost at worst is set aside before it is made, and put right when its usage is known.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

from agentrl.errors import PolicyFailure
from agentrl.policies.api_answers import Usage
from agentrl.policies.api_prices import Price


class LimitReached(PolicyFailure):
    """The run's limit of tokens or money has no room for another call."""


class Waiting:
    """Coroutines that wait for a change, first come, first served."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Until `wake` reaches this one."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.wake()  # its turn passes to the next
            raise

    def wake(self, everyone: bool = False) -> None:
        """Let the first go on, or all."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                if not everyone:
                    return


class Pace:
    """When a call may be made."""

    def __init__(self, most: int, requests_per_minute: float = 0.0, tokens_per_minute: float = 0.0) -> None:
        """most: calls at once while the server can follow.   0 a minute: no limit."""
        self.most = most
        self.limit = float(most)
        """Calls at once as of now."""
        self.busy = 0
        self._request_seconds = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._token_seconds = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._resumes = self._next_request = self._next_tokens = self._cut = 0.0
        self._waiting = Waiting()

    async def enter(self, tokens: float) -> float:
        """Wait for a place; `leave` gives it back.   tokens: that the call may come to.   Returns seconds waited."""
        asked, waited = time.monotonic(), False
        while True:
            if self.busy >= int(self.limit):
                waited = True
                await self._waiting.wait()
                continue
            now = time.monotonic()
            until = max(self._resumes, self._next_request, self._next_tokens)
            if until <= now:
                break
            waited = True
            self.busy += 1  # the place is held over the wait, so that those behind queue and do not all wake at once
            try:
                await asyncio.sleep(until - now)
            finally:
                self._free()
        self.busy += 1
        self._next_request = max(now, self._next_request) + self._request_seconds
        self._next_tokens = max(now, self._next_tokens) + tokens * self._token_seconds
        return now - asked if waited else 0.0

    def leave(self, tokens: float, used: float | None) -> None:
        """The call is over.   tokens: as at `enter`.   used: what it came to; None where that is not known."""
        if used is not None:
            self._next_tokens += (used - tokens) * self._token_seconds
        self._free()

    def went_well(self) -> None:
        """One more call at once for every round of calls that went well."""
        self.limit = min(float(self.most), self.limit + 1.0 / self.limit)

    def too_busy(self, entered: float, wait: float) -> None:
        """Half as many calls at once, once for all calls that were on their way, and none before `wait` seconds."""
        now = time.monotonic()
        if entered >= self._cut:
            self.limit = max(1.0, self.limit / 2)
            self._cut = now
        self._resumes = max(self._resumes, now + wait)

    def _free(self) -> None:
        self.busy -= 1
        self._waiting.wake(everyone=self.limit - self.busy > 1)


@dataclass(slots=True)
class Held:
    """What is set aside for one call."""

    input: int
    output: int
    cost: float


@dataclass
class Budget:
    """Tokens and money of a run."""

    max_tokens: int = 0
    max_cost: float = 0.0
    price: Price | None = None
    tokens: int = 0
    """Spent: what calls used, and the worst case of calls of which that never became known."""
    cost: float = 0.0
    """The same in money; 0 where the price is not known."""
    unknown_calls: int = 0
    """Calls that may have been paid for and gave no usage: their worst case counts as spent."""
    _held_tokens: int = 0
    _held_cost: float = 0.0
    _calls: int = 0
    _waiting: Waiting = field(default_factory=Waiting)

    @property
    def held(self) -> tuple[int, float, int]:
        """Set aside for calls in progress: tokens, money, and how many calls these are."""
        return self._held_tokens, self._held_cost, self._calls

    def add(self, tokens: int, cost: float, unknown_calls: int) -> None:
        """Count what was spent before."""
        self.tokens += tokens
        self.cost += cost
        self.unknown_calls += unknown_calls

    async def reserve(self, input: int, output: int) -> Held:
        """Set a call's worst case aside; waits while calls in progress may still give something back.

        Raises LimitReached where there is no room and nothing is in progress.
        """
        held = Held(input, output, self.price.of(Usage(input, output)) if self.price else 0.0)
        while not self._fits(held):
            if not self._calls:
                raise LimitReached(self._reached(held))
            await self._waiting.wait()
        self._held_tokens += input + output
        self._held_cost += held.cost
        self._calls += 1
        return held

    def settle(self, held: Held, usage: Usage | None, paid: bool = True) -> float | None:
        """Put right what was set aside.   usage: None and paid: not known, the worst case stays spent.

        Returns the call's cost; None where it is not known.
        """
        self._held_tokens -= held.input + held.output
        self._held_cost -= held.cost
        self._calls -= 1
        if not self._calls:
            self._held_tokens, self._held_cost = 0, 0.0
        cost = None
        if usage is not None:
            cost = self.price.of(usage) if self.price else None
            self.tokens += usage.input + usage.output
            self.cost += cost or 0.0
        elif paid:
            self.unknown_calls += 1
            self.tokens += held.input + held.output
            self.cost += held.cost
        self._waiting.wake(everyone=True)
        return cost

    def _fits(self, held: Held) -> bool:
        tokens = self.tokens + self._held_tokens + held.input + held.output
        cost = self.cost + self._held_cost + held.cost
        return not (self.max_tokens and tokens > self.max_tokens) and not (self.max_cost and cost > self.max_cost)

    def _reached(self, held: Held) -> str:
        if self.max_tokens and self.tokens + held.input + held.output > self.max_tokens:
            return (
                f"api.max_tokens is {self.max_tokens} and {self.tokens} are spent; another call may need "
                f"{held.input + held.output}"
            )
        return f"api.max_cost is {self.max_cost:g} and {self.cost:.6g} is spent; another call may cost {held.cost:.6g}"
