"""Runs programs that nobody has read, with tests, so that they can reach nothing and cannot forge what is said of them.

`judge(program, tests)` blocks, `judge_soon` is awaited; `available()` says how programs are kept in on this machine.
docs/sandbox.md has the threat model, the limits, and what remains possible.
"""

from agentrl.sandbox.isolation import REMEDY, WAYS, Isolation, available, find_isolation
from agentrl.sandbox.run import judge, judge_soon
from agentrl.sandbox.words import CallTests, Exchange, ExchangeTests, Limits, Tests, Verdict

__all__ = [
    "REMEDY",
    "WAYS",
    "CallTests",
    "Exchange",
    "ExchangeTests",
    "Isolation",
    "Limits",
    "Tests",
    "Verdict",
    "available",
    "find_isolation",
    "judge",
    "judge_soon",
]
