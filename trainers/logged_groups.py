"""Learning from logged groups: which of them a step learns from, and numbers of frozen models that are taken once."""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from agentrl.seeds import seed_of
from agentrl.segments import count_by
from agentrl.trainers.batch import Batch
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
    chosen: dict[int, None] = {}
    orders: dict[int, list[int]] = {}
    for place in range(step * num, (step + 1) * num):
        lap, number = divmod(place, len(groups))
        if lap not in orders:
            orders[lap] = list(range(len(groups)))
            random.Random(seed_of("data", seed, lap)).shuffle(orders[lap])
        chosen[orders[lap][number]] = None
    return [trajectory for number in chosen for trajectory in groups[number]]


@dataclass
class KeptNumbers:
    """Log-probs of a frozen model, taken once for each trajectory, whatever batches it comes in."""

    of_key: dict[int, Tensor] = field(default_factory=dict)
    """`StepView.key` -> [its tokens] float64."""

    def read(self, batch: Batch, measure: Callable[[Batch], Tensor]) -> Tensor:
        """The batch's numbers, [N]; `measure` is asked for the trajectories that are not known yet, all at once.

        Tokens of a trajectory are contiguous, as `build_batch` leaves them.
        """
        assert batch.view.key is not None
        keys: list[int] = batch.view.key.tolist()
        new = [number for number, key in enumerate(keys) if key not in self.of_key]
        if new:
            part = batch.keep(torch.tensor(new)) if len(new) < len(keys) else batch
            sizes = count_by(part.view.trajectory_of_token, len(new)).tolist()
            pieces = measure(part).split(sizes)
            self.of_key |= {keys[number]: piece.clone() for number, piece in zip(new, pieces, strict=True)}
        return torch.cat([self.of_key[key] for key in keys])
