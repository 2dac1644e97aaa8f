"""A panel, and episodes of its tasks as a step would have played them."""

from collections.abc import Sequence
from typing import Any

from agentrl.trainers.algorithm import Draw
from agentrl.types import Completion, Observation, Outcome, Task, Trajectory, Turn


def panel(num: int, **fields: Any) -> list[Task]:
    """Tasks 0, 1, ...; the higher the number, the harder."""
    return [Task("none", str(i), "train", i, **({"difficulty": i / num} | fields)) for i in range(num)]


def episode(task: Task, success: float, group: str = "", ended: str = "done", ids: Sequence[int] = ()) -> Trajectory:
    """One turn; success is the score, and from 1 on a success."""
    completion = Completion(text="", token_ids=list(ids))
    turn = Turn(0, Observation("seen"), [1], False, completion, "a", True, True, 0.0)
    return Trajectory(
        task=task,
        group=group or task.id,
        rollout=0,
        turns=[turn],
        final_observation=None,
        outcome=Outcome(success >= 1, success),
        ended=ended,  # type: ignore[arg-type]
    )


def group_of(task: Task, successes: Sequence[float], group: str = "") -> list[Trajectory]:
    return [episode(task, success, group) for success in successes]


def ids(draws: Sequence[Draw]) -> list[str]:
    return [draw.task.id for draw in draws]


def rollouts(draws: Sequence[Draw]) -> list[int]:
    return [draw.num_rollouts for draw in draws]
