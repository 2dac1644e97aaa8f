"""Episodes to learn from by imitation: a world's own demonstrations, or its solutions, written for a memory and format.

Their text is tokenised once, here; there are no log-probs of a sampler. What a step marks as not to be learned is in
the context of what follows and carries no loss.
"""

import functools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from agentrl.briefs import Brief, briefs_of
from agentrl.config import RolloutConfig
from agentrl.episode import Job
from agentrl.errors import DataError
from agentrl.foreign import Tokeniser, acting_view
from agentrl.history import History
from agentrl.policies.scripted import Expert, write
from agentrl.runner import Runner
from agentrl.seeds import seed_of
from agentrl.types import Completion, Demonstration, Memory, PromptFormat, Task, Trajectory, Turn


def demonstrations(
    world: Any,
    config: Any,
    split: str,
    num: int,
    seed: int,
    memory: Memory,
    format: PromptFormat,
    renderer: Any,
    settings: Mapping[str, Any] | None = None,
) -> list[Trajectory]:
    """Demonstrations of a split's tasks, in a seeded order.

    num: how many; 0: one for each task.   renderer: of the model that learns from them; None: turns hold no ids.
    settings: further keywords of the world's own `demonstrations`, as the share of planted mistakes.
    Raises DataError where the world has neither demonstrations nor a solution that works.
    """
    offered = getattr(world, "demonstrations", None)
    if offered is None:
        return solved(world, config, split, num, seed, memory, format, renderer)
    return list(
        as_trajectories(world, config, offered(split, config, num, seed, **(settings or {})), memory, format, renderer)
    )


def as_trajectories(
    world: Any,
    config: Any,
    shown: Iterable[Demonstration],
    memory: Memory,
    format: PromptFormat,
    renderer: Any,
) -> Iterator[Trajectory]:
    """A trajectory for each demonstration; its whole reward is the outcome's score, at the last turn."""
    briefs = briefs_of(world, config)
    for number, demonstration in enumerate(shown):
        turns = _turns(demonstration, briefs(demonstration.task), memory, format, renderer)
        if turns:
            turns[-1].reward = demonstration.outcome.score
        yield Trajectory(
            task=demonstration.task,
            group=demonstration.task.id,
            rollout=number,
            turns=turns,
            final_observation=demonstration.final_observation,
            outcome=demonstration.outcome,
            ended="done" if demonstration.outcome.success else "turn_limit",
            source="demonstration",
            policy="demonstrations",
        )


def _turns(
    demonstration: Demonstration,
    brief: Brief,
    memory: Memory,
    format: Any,
    renderer: Any,
) -> list[Turn]:
    turns = History()
    tokeniser = Tokeniser(renderer)
    for observation, action, learn in demonstration.steps:
        see = functools.partial(memory.view, demonstration.task, brief.instructions, turns, observation, brief.tools)
        view = acting_view(see, turns, format, tokeniser, observation)
        text = write(format, action, view)
        ids = tokeniser.turn(format.messages(view), text)
        reply = format.parse(text, view)
        turns.append(
            Turn(
                position=len(turns),
                observation=observation,
                prompt_ids=list(ids.prompt_ids),
                continues=ids.continues,
                completion=Completion(text, token_ids=list(ids.token_ids)),
                action=action,
                readable=True,
                valid=True,
                reward=0.0,
                report=reply.report,
                images=ids.images,
                learn=learn,
            )
        )
    return list(turns)


def solved(
    world: Any,
    config: Any,
    split: str,
    num: int,
    seed: int,
    memory: Memory,
    format: PromptFormat,
    renderer: Any,
) -> list[Trajectory]:
    """Tasks of a split played by their solutions, through the world itself; what did not succeed is left out.

    Raises DataError where nothing succeeds.
    """
    tasks = _drawn(world.tasks(split, config), num, seed)
    longest = 1
    for task in tasks:
        longest = max(longest, len(world.solution(task) or ()))
    rollout = RolloutConfig(max_turns=longest, max_context=2**31 - 1)
    runner = Runner(
        world,
        Expert(world, format=format),
        memory=memory,
        format=format,
        renderer=renderer,
        rollout=rollout,
        config=config,
        seed=seed,
    )
    with runner:
        played = runner.play(Job(task, task.id, rollout=number) for number, task in enumerate(tasks))
    found = [trajectory for trajectory in played if trajectory.outcome.success]
    if tasks and not found:
        why = next((t.failure for t in played if t.failure), "no solution earns the full reward")
        raise DataError(f"{runner.name}: there are no demonstrations of split {split!r}: {why}")
    return found


def _drawn(panel: Sequence[Task], num: int, seed: int) -> list[Task]:
    """Tasks in a seeded order, each once before any again."""
    tasks: list[Task] = []
    rounds = 0
    wanted = num or len(panel)
    while panel and len(tasks) < wanted:
        order = list(panel)
        random.Random(seed_of("demonstrations", seed, rounds)).shuffle(order)
        tasks += order[: wanted - len(tasks)]
        rounds += 1
    return tasks
