"""Learning from logged groups: which of them a step learns from, and which are kept to judge by."""

from collections.abc import Collection, Sequence

from agentrl.foreign import drawn_numbers
from agentrl.types import Trajectory


def by_group(trajectories: Sequence[Trajectory]) -> list[list[Trajectory]]:
    """The trajectories of each group, in the order in which they are first met."""
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        groups.setdefault(trajectory.group, []).append(trajectory)
    return list(groups.values())


def held_out(
    groups: Sequence[list[Trajectory]], judged: Collection[str]
) -> tuple[list[list[Trajectory]], list[list[Trajectory]]]:
    """Groups to learn from, and those of tasks that are judged on (`judged`: ids), which are not learned from.

    Where nothing would be left to learn from, the second is empty.
    """
    own = [group for group in groups if group[0].task.id not in judged]
    held = [group for group in groups if group[0].task.id in judged]
    return (own, held) if own else (list(groups), [])


def drawn_groups(groups: Sequence[Sequence[Trajectory]], num: int, seed: int, step: int) -> list[Trajectory]:
    """What a step learns from: `num` groups, each once before any again, in an order that the seed shuffles.

    A step has a group at most once: one that would come twice, where a lap begins within the step, is left out.
    """
    chosen = dict.fromkeys(drawn_numbers(len(groups), num, seed, step))
    return [trajectory for number in chosen for trajectory in groups[number]]
