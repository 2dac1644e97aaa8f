"""An evaluation against a server that misbehaves on command, and what is to be true of it whatever the server does.

`tests/core/test_api_storm.py` plays a small one, `python -m benchmarks.api_storm` a thousand episodes at once.
"""

import asyncio
import gzip
import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import agentrl
from tests.chat_server import Answer, ChatServer, error, halving

KEY = "sk-canary-4f1d0c7b2a"
PRICES = "date: 2026-01-02\ncurrency: USD\nmodels:\n  fake: {input: 1000, cached: 500, output: 2000}\n"
FAULTS = ("500", "503", "lost", "hang", "cut", "malformed", "no choices", "html", "slow", "429")


@dataclass
class Misbehaving:
    """Plays `guess` by halving; of every request the first answers may be bad, by a number drawn from the request."""

    share: float = 0.3
    """Of requests whose first answers are bad."""
    storm_every: int = 400
    """Of so many calls the last quarter meets nothing but 429."""
    faults: tuple[str, ...] = FAULTS
    most_hangs: int = 40
    """Later ones are lost connections: a hang holds one of the few places that a storm leaves until its deadline."""
    paid: Counter[str] = field(default_factory=Counter)
    """Request -> whole replies that were sent, for which a host would ask money."""
    owed: float = 0.0
    """What a host would ask for all replies at most, cut and unreadable ones included, by `PRICES`."""
    bad: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    _seen: Counter[str] = field(default_factory=Counter)

    def __call__(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, dict[str, Any]] | Answer:
        self.calls += 1
        request = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        self._seen[request] += 1
        if self.storm_every and self.calls % self.storm_every >= 0.75 * self.storm_every:
            self.bad["storm"] += 1
            return Answer(429, json.dumps({"error": {"message": f"busy, {KEY}"}}).encode(), {"Retry-After": "0.02"})
        drawn = int(request[:8], 16) / 2**32
        num_bad = 1 + int(request[8:10], 16) % 3 if drawn < self.share else 0
        if self._seen[request] <= num_bad:
            place = int(request[10:14], 16) + self._seen[request]
            return self._bad(self.faults[place % len(self.faults)], body, headers)
        self.paid[request] += 1
        return self._replied(body, headers)

    def _replied(self, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        status, answer = halving(body, headers)
        usage = {"prompt_tokens": len(json.dumps(body)) // 4, "completion_tokens": 12}
        self.owed += (usage["prompt_tokens"] * 1000 + 12 * 2000) / 1e6
        return status, answer | {"usage": usage}

    def _bad(self, fault: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, dict[str, Any]] | Answer:
        if fault == "hang" and self.bad["hang"] >= self.most_hangs:
            fault = "lost"
        self.bad[fault] += 1
        if fault in ("500", "503"):
            return error(int(fault), f"failed with {headers.get('authorization')}")
        if fault == "429":
            return Answer(429, b"{}", {"Retry-After-Ms": "5"})
        if fault == "lost":
            return error(0)
        data = json.dumps(self._replied(body, headers)[1]).encode()  # the host has made it, and may ask money for it
        answers = {
            "hang": Answer(hangs=True),
            "cut": Answer(data=data, cut=len(data) // 2),
            "malformed": Answer(data=data[: len(data) // 2]),
            "no choices": Answer(data=b'{"choices": []}'),
            "html": Answer(data=f"<html>{KEY}</html>".encode(), headers={"Content-Type": "text/html"}),
        }
        if fault == "slow":
            self.bad["slow"] -= 1  # it is a reply like any other
            self.paid[hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()] += 1
            return Answer(data=data, pieces=40)
        return answers[fault]


@dataclass
class Storm:
    """What an evaluation against it came to."""

    server: Misbehaving
    result: Any
    out: Path

    @property
    def scores(self) -> list[tuple[str, float]]:
        return [(t.task.id, t.outcome.score) for t in self.result.trajectories]

    @property
    def policy(self) -> dict[str, Any]:
        return dict(self.result.usage["policy"])

    def files_with_key(self) -> list[str]:
        """Files of the evaluation that hold the key."""
        found = []
        for file in self.out.rglob("*"):
            if file.is_file():
                data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
                if KEY.encode() in data:
                    found.append(file.name)
        return found

    def checks(self, clean: "Storm") -> list[tuple[str, str, bool]]:
        """(what has to be, the numbers, is it so), beside an evaluation in which the server behaved."""
        policy, server = self.policy, self.server
        failed, lost = policy["failed"], policy["failed"].get("lost", 0)
        late = lost - sum(server.bad[name] for name in ("lost", "hang", "cut"))  # whole replies after the deadline
        same = sum(ours == theirs for ours, theirs in zip(self.scores, clean.scores, strict=False))
        replies, stored, paid = policy["replies"], self.result.usage["episodes"]["replies"], server.paid.total()
        beyond = policy["calls"] - server.calls
        keys, num_files = self.files_with_key(), sum(file.is_file() for file in self.out.rglob("*"))
        return [
            (
                "every episode is there",
                f"{len(self.scores)} of {len(clean.scores)}",
                len(self.scores) == len(clean.scores),
            ),
            ("none failed", f"{self.result.all.failures} did", self.result.all.failures == 0),
            ("scores of a clean run", f"{same} of {len(clean.scores)}", self.scores == clean.scores),
            (
                "calls = replies + failed calls",
                f"{policy['calls']} = {replies} + {sum(failed.values())}",
                policy["calls"] == replies + sum(failed.values()),
            ),
            ("every call is counted", f"{beyond} beyond the server's, {late} late", 0 <= beyond <= max(late, 0)),
            ("no reply is lost", f"{replies}, {stored} stored, {paid} sent", replies == stored <= paid),
            ("none is paid for twice", f"{paid - replies} more sent, {late} late", paid - replies <= max(late, 0)),
            (
                "spending is known of",
                f"owed at most {server.owed:.2f}, counted {policy['cost']:.2f}",
                server.owed <= policy["cost"] + 1e-9,
            ),
            ("the key is in no file", f"{len(keys)} of {num_files} files", not keys),
            ("the key is not shown", "repr of the result", KEY not in repr(self.result)),
        ]

    def problems(self, clean: "Storm") -> list[str]:
        """What is not as it has to be; nothing, beside an evaluation in which the server behaved."""
        return [f"{what}: {numbers}" for what, numbers, holds in self.checks(clean) if not holds]

    def limit_checks(self, limit: float) -> list[tuple[str, str, bool]]:
        """The same of an evaluation whose money does not reach for all episodes."""
        failures = [t.failure for t in self.result.trajectories if t.failure]
        refused = sum("api.max_cost" in failure for failure in failures)
        spent, owed, keys = self.policy["cost"], self.server.owed, self.files_with_key()
        return [
            ("the limit in money is kept", f"{spent:.2f} of {limit:.2f}", 0 < spent <= limit),
            ("and what the host may ask for", f"at most {owed:.2f}", owed <= spent + 1e-9),
            ("episodes end for it alone", f"{refused} of {len(failures)} failures", 0 < refused == len(failures)),
            ("the key is in no file", f"{len(keys)} files", not keys),
        ]


def play(server: Misbehaving, out: Path, episodes: int, repeats: int, concurrency: int, **api: Any) -> Storm:
    """Evaluate against a server on this machine, with the key of the tests in the environment."""
    prices = out.parent / f"{out.name}-prices.yaml"
    prices.write_text(PRICES, encoding="utf-8")
    settings = {"prices": str(prices), "backoff": 0.01, "timeout": 5.0, "host": "other"} | api

    async def run() -> Any:
        async with ChatServer(server) as listening:
            return await asyncio.to_thread(
                agentrl.evaluate,
                env="guess",
                policy="api:fake",
                base_url=listening.url,
                out=out,
                episodes=episodes,
                repeats=repeats,
                api=settings,
                rollout={"concurrency": concurrency, "tries": 1},
            )

    before = os.environ.get("OPENAI_API_KEY")
    os.environ["OPENAI_API_KEY"] = KEY
    try:
        return Storm(server, asyncio.run(run()), out)
    finally:
        os.environ.pop("OPENAI_API_KEY")
        if before is not None:
            os.environ["OPENAI_API_KEY"] = before
