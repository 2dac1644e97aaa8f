"""Plays episodes of any world in a test: synchronous or asynchronous, with or without settings."""

import asyncio
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agentrl.envs import alfworld
from agentrl.types import Observation, Outcome, StepResult, Task

OFFICIAL = Path(__file__).parent / "data" / "alfworld"
"""Seven official games in compact files."""


async def _now(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _play(env: Any, task: Task, actions: Iterable[str]) -> tuple[Observation, list[StepResult], Outcome]:
    first = await _now(env.reset(task))
    results: list[StepResult] = []
    for action in actions:
        results.append(await _now(env.step(action)))
        if results[-1].terminated or results[-1].truncated:
            break
    return first, results, env.outcome()


def play(env: Any, task: Task, actions: Iterable[str]) -> tuple[Observation, list[StepResult], Outcome]:
    """An episode by fixed actions, to their end or its own."""
    return asyncio.run(_play(env, task, actions))


def close(env: Any) -> None:
    asyncio.run(_now(env.close()))


def official(split: str, **settings: Any) -> list[Task]:
    return alfworld.tasks(split, alfworld.Config(data=str(OFFICIAL), **settings))
