"""The expert that is learned from: it follows a gold path, and may go astray on purpose."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from agentrl.envs.scienceworld.gold import Path, gold_path, short_path
from agentrl.envs.scienceworld.variation import Variation
from agentrl.settings import require
from agentrl.types import Demonstration, Observation, Outcome, StepResult, Task

ROOMS = (
    *("art studio", "bathroom", "bedroom", "foundry", "greenhouse"),
    *("hallway", "kitchen", "living room", "outside", "workshop"),
)
"""Where one can teleport to."""
_HERE = re.compile(r"called the ([\w ]+)\.")
_ONE_OR_TWO = re.compile(r"(focus on|pick up|look at|move|pour|mix) (.+?)( (?:in)?to .+)?")
_THERE = re.compile(r"(?:go|teleport) to (.+)")


@dataclass(frozen=True, kw_only=True)
class Demonstrators:
    """How the expert demonstrates."""

    shorten: bool = True
    """Teleport where the package's gold path walks from door to door, and look once; False: the gold path as it is."""
    detours: float = 0.0
    """Share of turns before which it teleports to a wrong room, which is not learned, and back, which is."""

    def __post_init__(self) -> None:
        require(0 <= self.detours < 1, f"detours is {self.detours}; it must be from 0 to below 1")


class _Env(Protocol):
    """What is played on."""

    def reset(self, task: Task) -> Observation: ...
    def step(self, action: str) -> StepResult: ...
    def outcome(self) -> Outcome: ...
    def close(self) -> None: ...


def path_of(variation: Variation, shorten: bool) -> Path:
    """The path that the expert follows. It is shortened only where one may teleport."""
    names = variation.simplifications.split(",")
    find = short_path if shorten and {"easy", "teleportAction"} & set(names) else gold_path
    return find(variation.kind, variation.number, variation.simplifications)


def demonstrated(
    task: Task,
    env: _Env,
    variation: Variation,
    settings: Demonstrators,
    rng: random.Random,
    *,
    max_steps: int,
    tell: bool,
) -> Demonstration | None:
    """One episode of the expert; None where its path does not reach the full score.

    env: to play on, where the path's own record does not tell all.   tell: what is seen lists admissible commands.
    An episode that its detours spoil is shown without them.
    """
    path = path_of(variation, settings.shorten)
    if path.score < 100 or len(path.commands) > max_steps:
        return None
    plan = list(_with_detours(path, settings.detours, rng)) if settings.detours else [(c, True) for c in path.commands]
    if not tell and len(plan) == len(path.commands):
        return _recorded(task, path)
    played = _played(task, env, plan)
    if not played.outcome.success and settings.detours:
        played = _played(task, env, [(command, True) for command in path.commands])
    return played if played.outcome.success else None


def _recorded(task: Task, path: Path) -> Demonstration:
    seen = [Observation(text) for text in (path.opening, *path.texts)]
    steps = tuple((seen[i], command, True) for i, command in enumerate(path.commands))
    return Demonstration(task, steps, seen[-1], Outcome(True, 1.0))


def _played(task: Task, env: _Env, plan: Sequence[tuple[str, bool]]) -> Demonstration:
    observation = env.reset(task)
    steps: list[tuple[Observation, str, bool]] = []
    try:
        for planned, learn in plan:
            command = as_listed(planned, observation.admissible or ())
            steps.append((observation, command, learn))
            result = env.step(command)
            observation = result.observation
            if result.terminated or result.truncated:
                break
        return Demonstration(task, tuple(steps), observation, env.outcome())
    finally:
        env.close()


def as_listed(command: str, admissible: Sequence[str]) -> str:
    """The listed command that does the same to the same thing under fewer names, or the command as it is."""
    if command in admissible:
        return command
    parts = _ONE_OR_TWO.fullmatch(command)
    if parts is None:
        return command
    verb, thing, to = parts.groups(default="")
    words = set(thing.split())
    same = [
        other
        for other in admissible
        if other.startswith(f"{verb} ") and other.endswith(to) and words >= set(_thing(other, verb, to).split())
    ]
    return max(same, key=len, default=command)


def _thing(command: str, verb: str, to: str) -> str:
    return command.removeprefix(f"{verb} ").removesuffix(to)


def _with_detours(path: Path, share: float, rng: random.Random) -> Iterator[tuple[str, bool]]:
    found = _HERE.search(path.opening)
    room = found[1] if found else ""
    for command in path.commands:
        if room in ROOMS and rng.random() < share:
            yield f"teleport to {rng.choice([other for other in ROOMS if other != room])}", False
            if not _THERE.fullmatch(command):
                yield f"teleport to {room}", True
        there = _THERE.fullmatch(command)
        room = there[1] if there else room
        yield command, True
