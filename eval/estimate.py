"""What an evaluation will take, before it is played: episodes, and of models behind an API calls, tokens and money.

The first tasks are played with replies as long as they may be, through the cell's own world, memory and format; no
model is asked. From there prompts are taken to grow on as they did. Tokens are estimated at four characters each.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentrl.errors import AgentRLError
from agentrl.eval.cells import Cell
from agentrl.eval.evaluate import Plan, plans_of
from agentrl.eval.folders import PLAYED_AGAIN, RESULTS, stored_cells
from agentrl.eval.played import read_played
from agentrl.policies.api_answers import Usage
from agentrl.policies.api_prices import Price, price_of
from agentrl.records import read_trajectories
from agentrl.runner import Job, Runner
from agentrl.types import Completion, PromptFormat, Request, Trajectory, View
from agentrl.usage import usage_of

_TRIED_TASKS = 3
_TRIED_TURNS = 30
_CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of one cell: at most, if every episode takes all its turns and every reply its tokens."""

    cell: Cell
    tasks: int
    episodes: int
    """That are left to be played."""
    turns: int = 0
    """Of an episode; 0: of no matter, for nothing is paid."""
    input_tokens: int = 0
    output_tokens: int = 0
    price: Price | None = None
    is_api: bool = False
    unknown: str = ""
    """Why there is no estimate."""

    @property
    def calls(self) -> int:
        return self.episodes * self.turns

    @property
    def cost(self) -> float | None:
        """In the currency of the price; None where that is not known."""
        return self.price.of(Usage(self.input_tokens, self.output_tokens)) if self.price is not None else None

    @property
    def seconds(self) -> float:
        """That its limits a minute alone make of it."""
        api = self.cell.config.api
        by_calls = 60 * self.calls / api.requests_per_minute if api.requests_per_minute else 0.0
        tokens = self.input_tokens + self.output_tokens
        return max(by_calls, 60 * tokens / api.tokens_per_minute if api.tokens_per_minute else 0.0)


def estimate(plan: Plan, episodes: int | None = None) -> Estimate:
    """What a cell will take at most.   episodes: that are left to be played; None: all.   Asks no model.

    Raises DataError for a file of prices that is none.
    """
    cell = plan.cell
    left = plan.num_episodes if episodes is None else episodes
    found = Estimate(cell=cell, tasks=len(plan.tasks), episodes=left)
    word = cell.policy if isinstance(cell.policy, str) else ""
    if not word.startswith("api:"):
        return found
    price = price_of(word.removeprefix("api:"), cell.config.api.prices)
    try:
        sizes, turns = asyncio.run(_tried(plan))
    except AgentRLError as error:
        return replace(found, is_api=True, price=price, unknown=str(error))
    prompts = sum(sizes[:turns]) + sum(_grown(sizes, turn) for turn in range(len(sizes), turns))
    return replace(
        found,
        is_api=True,
        price=price,
        turns=turns,
        input_tokens=left * prompts // _CHARACTERS_A_TOKEN,
        output_tokens=left * turns * cell.config.rollout.max_new_tokens,
    )


def _grown(sizes: Sequence[int], turn: int) -> int:
    """The size of a later prompt, as a straight line through the last half of those that were seen."""
    middle, last = sizes[len(sizes) // 2], sizes[-1]
    span = len(sizes) - 1 - len(sizes) // 2
    slope = max(0.0, (last - middle) / span) if span else 0.0
    return int(last + slope * (turn - len(sizes) + 1))


async def _tried(plan: Plan) -> tuple[list[int], int]:
    """Characters of the prompts of the longest episode that was tried, and the turns of an episode at most."""
    rollout = plan.cell.config.rollout
    tried = replace(rollout, max_turns=min(rollout.max_turns, _TRIED_TURNS), tries=1, workers=1, constrain="none")
    policy = _Longest(plan.format, plan.world, _CHARACTERS_A_TOKEN * rollout.max_new_tokens)
    async with Runner(
        plan.world,
        policy,
        memory=plan.memory,
        format=plan.format,
        rollout=replace(tried, concurrency=1),
        config=plan.world_config,
        seed=plan.cell.config.seed,
    ) as runner:
        jobs = [Job(task, f"try/{number}") for number, task in enumerate(plan.tasks[:_TRIED_TASKS])]
        played = await runner.run(jobs)
    failed = next((t.failure for t in played if not t.turns), None)
    if failed:
        raise AgentRLError(failed)
    sizes = max(policy.sizes.values(), key=len)
    return sizes, _turns(played, rollout.max_turns)


def _turns(played: Sequence[Trajectory], most: int) -> int:
    """An episode's turns at most: the limit, or fewer in a world that ended every episode that was tried as early."""
    ended = [t.ended == "done" or (t.ended == "turn_limit" and len(t.turns) < min(most, _TRIED_TURNS)) for t in played]
    lengths = {len(t.turns) for t in played}
    return lengths.pop() if all(ended) and len(lengths) == 1 and len(played) > 1 else most


class _Longest:
    """Replies that are as long as they may be, around an action that is admissible where the world tells."""

    takes_ids = False
    source = "logged"
    keeps_time = True

    def __init__(self, format: PromptFormat, world: Any, length: int) -> None:
        """length: of a reply, in characters."""
        self._format, self._guess, self._filler = format, getattr(world, "guess", None), "x" * length
        self.sizes: dict[str, list[int]] = {}
        """episode -> characters of its prompts."""

    async def generate(self, request: Request) -> Completion:
        size = sum(len(str(message["content"])) for message in request.messages)
        self.sizes.setdefault(request.episode, []).append(size)
        return Completion(self._reply(request.view, request.sampling.seed))

    def _reply(self, view: View, seed: int) -> str:
        action = "look"
        if view.observation.admissible:
            action = view.observation.admissible[seed % len(view.observation.admissible)]
        elif self._guess is not None:
            action = str(self._guess(view.task, seed))
        for filled in ({"report": self._filler}, {"thought": self._filler}):
            text = self._format.write("" if view.kind == "summarise" else action, view, **filled)
            if self._filler in text:
                break
        return text

    async def release(self, episode: str) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What is left of a cell that was begun."""

    cell: Cell
    episodes: int
    left: int
    usage: Mapping[str, Any] | None = None
    """Of the episodes that are over; None where nobody counts it."""


def rests(out: str | os.PathLike[str]) -> list[Rest]:
    """What is left of every cell of an evaluation; takes no lock.   Raises RunDirectoryError, DataError."""
    found = []
    for plan in plans_of(stored_cells(out)):
        folder = Path(out) / plan.cell.name
        if (folder / RESULTS).exists():
            episodes = read_trajectories(folder / "trajectories" / "step-000000.jsonl.gz", with_images=False)
        else:
            episodes = list(read_played(folder, with_images=False).episodes.values())
        over = [episode for episode in episodes if episode.ended not in PLAYED_AGAIN]
        is_api = isinstance(plan.cell.policy, str) and plan.cell.policy.startswith("api:")
        usage = usage_of(over) if is_api and over else None
        left = plan.num_episodes - len(over)
        found.append(Rest(cell=plan.cell, episodes=plan.num_episodes, left=left, usage=usage))
    return found
