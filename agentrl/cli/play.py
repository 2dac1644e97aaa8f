"""Play a world in the terminal, yourself or any policy, and see each turn.

agentrl play --env guess                         you play; ctrl-D gives up
agentrl play --env guess --policy expert
agentrl play --env alfworld --policy tiny --task 3
"""

import argparse
import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agentrl.cli.eval import add_policy, configuration
from agentrl.cli.parser import add_settings, printable, warn_of_programs, whole_number, write
from agentrl.errors import ConfigError, nearest
from agentrl.interruption import hand_over

if TYPE_CHECKING:
    from agentrl.types import Completion, Request, Task, Trajectory

A_DAY = 86400.0
"""A person may think for as long, in seconds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_policy(parser, default="human")
    parser.add_argument("--split", default="", help="default: the world's split of what was never seen")
    parser.add_argument("--task", default="0", help="a task's id, or its place in the split; default 0")
    parser.add_argument("--rollout", type=whole_number(), default=0, help="which episode of the task, for its seeds")
    add_settings(parser, training=False)


class Shown:
    """A policy whose every turn is shown: what it is asked, what it says."""

    def __init__(self, policy: Any, *, by_human: bool) -> None:
        self._policy, self._by_human, self._turn = policy, by_human, 0
        self.takes_ids = policy.takes_ids
        self.source = getattr(policy, "source", "sampled" if policy.takes_ids else "api")

    async def generate(self, request: "Request") -> "Completion":
        """Show the newest observation, hand the request on, show the reply."""
        self._turn += 1
        if not self._by_human:
            write(f"\n[{self._turn}] {printable(request.view.observation.transcript)}")
        completion: Completion = await self._policy.generate(request)
        if not self._by_human:
            write(f"  > {printable(completion.text)}")
        return completion

    async def release(self, episode: str) -> None:
        await self._policy.release(episode)

    async def close(self) -> None:
        await self._policy.close()


def run(args: argparse.Namespace) -> int:
    """Play one episode.   Raises AgentRLError for what a user can put right, and for a world or policy that fails."""
    from agentrl.briefs import briefs_of
    from agentrl.composition import build, world_settings
    from agentrl.errors import PolicyFailure, WorldFailure
    from agentrl.registry import load
    from agentrl.runner import Runner
    from agentrl.types import ENDS

    config, word = configuration(args)
    warn_of_programs(config)
    world = load("env", config.env)
    world_config = world_settings(world, config.env_settings)
    split = args.split or world.VALIDATION
    if split not in world.SPLITS:
        raise ConfigError(
            f"{config.env} has no split {split!r}{nearest(split, world.SPLITS)} (splits: {', '.join(world.SPLITS)})"
        )
    task = find_task(world.tasks(split, world_config), args.task, split)
    seat = load("evaluation", "agentrl.eval.evaluate:seat")(word, config, world, base_url=args.base_url)
    written = build("format", config.format, config.format_settings)
    if getattr(seat.policy, "format", ...) is None:
        seat.policy.format = written
    by_human = word == "human"
    patience = A_DAY if by_human else config.rollout.generate_seconds
    rollout = replace(config.rollout, tries=1, generate_seconds=patience)
    runner = Runner(
        world,
        Shown(seat.policy, by_human=by_human),
        memory=build("memory", config.memory, config.memory_settings),
        format=written,
        renderer=seat.renderer,
        rollout=rollout,
        config=world_config,
        seed=config.seed,
    )
    write(f"{config.env}, {split}, task {printable(task.id)}" + (f" ({task.kind})" if task.kind else ""))
    instructions = briefs_of(world, world_config)(task).instructions
    if instructions and not by_human:  # a person is told with the first turn
        write("\n" + printable(instructions))
    hand_over()
    trajectory = asyncio.run(_play(runner, seat.policy, task, args.rollout, args.greedy))
    if by_human and trajectory.ended == "policy_failure":
        write("\nthe input has ended")
        return 0
    for line in ending(trajectory):
        write(line)
    if ENDS[trajectory.ended].infrastructure:
        failure = PolicyFailure if trajectory.ended == "policy_failure" else WorldFailure
        raise failure(trajectory.failure or trajectory.ended)
    return 0


def find_task(panel: Any, wanted: str, split: str) -> "Task":
    """The task of that id or place.   Raises ConfigError with the nearest id, or how many there are."""
    if wanted.isdigit():
        if int(wanted) < len(panel):
            found: Task = panel[int(wanted)]
            return found
        raise ConfigError(f"split {split!r} has {len(panel)} tasks; their places are 0 to {len(panel) - 1}")
    ids = {task.id: task for task in panel}
    if wanted not in ids:
        raise ConfigError(f"split {split!r} has no task {wanted!r}{nearest(wanted, ids)}")
    return ids[wanted]


async def _play(runner: Any, policy: Any, task: "Task", rollout: int, greedy: bool) -> "Trajectory":
    from agentrl.runner import Job

    try:
        (trajectory,) = await runner.run([Job(task, "play", rollout, 0, greedy=greedy)])
        played: Trajectory = trajectory
        return played
    finally:
        await runner.close()
        await policy.close()


def ending(trajectory: "Trajectory") -> list[str]:
    """What there is to say of an episode that is over."""
    lines = []
    if trajectory.final_observation is not None and trajectory.final_observation.text:
        lines += ["", printable(trajectory.final_observation.text)]
    turns = [turn for turn in trajectory.turns if turn.kind == "act"]
    refused = sum(not (turn.readable and turn.valid) for turn in turns)
    outcome = "success" if trajectory.outcome.success else "no success"
    lines += [
        "",
        f"{outcome}, score {trajectory.outcome.score:g}, reward {trajectory.reward:g}; ended: {trajectory.ended} "
        f"after {len(turns)} turns" + (f", {refused} of them refused" if refused else ""),
    ]
    return lines
