"""Where a critic's values are read: before each response token, around each turn, and after a cut episode's end.

All values of a batch are one vector of M = N + 2 U + J slots: before each of N response tokens, at the start and at the
end of each of U turns, and at the end of the final observation of each of J trajectories (0 where none is read).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agentrl.models.renderer import Rendered
from agentrl.segments import count_by
from agentrl.trainers.step_view import StepView
from agentrl.types import Trajectory, Turn

NextPrompt = Callable[[Trajectory], Rendered | None]
"""A trajectory -> what the agent would have been shown next, or None where that cannot be read."""


@dataclass(frozen=True)
class ValueStretch:
    """One sequence that the critic runs once."""

    ids: tuple[int, ...]
    places: tuple[int, ...]
    """Places in `ids` after which a value is read."""
    slots: tuple[int, ...]
    """Which of the M slots each of them fills."""
    trajectory: int
    images: tuple[str, ...] = ()
    """Content hashes of the images whose placeholders stand in `ids`, in order."""


@dataclass(frozen=True)
class ValueReads:
    """All that is read of a batch, in the order of its view."""

    stretches: tuple[ValueStretch, ...]
    num_tokens: int
    num_turns: int
    num_trajectories: int
    unread_ends: int = 0
    """Cut episodes whose final observation could not be read: their last value is that after the last response."""

    @property
    def num_slots(self) -> int:
        return self.num_tokens + 2 * self.num_turns + self.num_trajectories

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """[M] -> [N] before tokens, [U] at starts, [U] at ends, [J] after."""
        return values.split([self.num_tokens, self.num_turns, self.num_turns, self.num_trajectories])

    def keep(self, view: StepView, trajectories: Tensor) -> "ValueReads":
        """Those of some trajectories alone, renumbered as `view.keep` does.

        view: before it was cut.   trajectories: [K] int64, sorted.
        """
        here = torch.zeros(self.num_trajectories, dtype=torch.bool)
        here[trajectories] = True
        of_turn = here[view.trajectory_of_turn]
        of_token = of_turn[view.turn_of_token]
        kept = torch.cat([of_token, of_turn, of_turn, here])
        new_slot = (kept.long().cumsum(0) - 1).tolist()
        new_trajectory = (here.long().cumsum(0) - 1).tolist()
        stretches = tuple(
            replace(s, slots=tuple(new_slot[slot] for slot in s.slots), trajectory=new_trajectory[s.trajectory])
            for s in self.stretches
            if here[s.trajectory]
        )
        return ValueReads(stretches, int(of_token.sum()), int(of_turn.sum()), len(trajectories), self.unread_ends)


class _Builder:
    """Collects the sequences of one batch."""

    def __init__(self, num_tokens: int, num_turns: int) -> None:
        self.stretches: list[ValueStretch] = []
        self.unread_ends = 0
        self._num_tokens, self._num_turns = num_tokens, num_turns
        self._token = self._turn = 0
        self._open()

    def _open(self) -> None:
        self._ids: list[int] = []
        self._images: list[str] = []
        self._places: list[int] = []
        self._slots: list[int] = []

    def _close(self, trajectory: int) -> None:
        if self._places:
            self.stretches.append(
                ValueStretch(tuple(self._ids), tuple(self._places), tuple(self._slots), trajectory, tuple(self._images))
            )
        self._open()

    def _read(self, slot: int) -> None:
        """After the newest id; a model says nothing before the first one."""
        if self._ids:
            self._places.append(len(self._ids) - 1)
            self._slots.append(slot)

    def trajectory(self, number: int, turns: Sequence[Turn], next_prompt: Rendered | None, bootstraps: bool) -> None:
        for turn in turns:
            if not turn.continues:
                self._close(number)
            self._ids += turn.prompt_ids
            self._images += turn.images
            self._read(self._num_tokens + self._turn)
            for token in turn.completion.token_ids:
                self._read(self._token)
                self._ids.append(token)
                self._token += 1
            self._read(self._num_tokens + self._num_turns + self._turn)
            self._turn += 1
        if bootstraps:
            self._after(number, next_prompt)
        self._close(number)

    def _after(self, number: int, next_prompt: Rendered | None) -> None:
        if next_prompt is None:
            self.unread_ends += 1
        elif next_prompt.continues:
            self._ids += next_prompt.new_ids
        else:
            self._close(number)
            self._ids = list(next_prompt.ids)
            self._images = list(next_prompt.images)
        self._read(self._num_tokens + 2 * self._num_turns + number)


def value_reads(trajectories: Sequence[Trajectory], view: StepView, next_prompt: NextPrompt) -> ValueReads:
    """What is read of a batch that was just built.

    trajectories: those that are in it, in order.   view: of the whole batch.
    next_prompt: asked of those that bootstrap.
    """
    builder = _Builder(view.num_tokens, view.num_turns)
    for number, (trajectory, bootstraps) in enumerate(zip(trajectories, view.bootstraps.tolist(), strict=True)):
        prompt = next_prompt(trajectory) if bootstraps else None
        builder.trajectory(number, trajectory.turns, prompt, bootstraps)
    return ValueReads(
        tuple(builder.stretches), view.num_tokens, view.num_turns, view.num_trajectories, builder.unread_ends
    )


def with_values(view: StepView, reads: ValueReads, values: Tensor) -> StepView:
    """The view with the critic's values at the rollout's version.   values: [M]."""
    value, start, end, after = reads.split(values)
    filled = count_by(view.turn_of_token, view.num_turns) > 0
    end = torch.where(filled, end, start)
    return view.with_fields(value=value, value_at_start=start, value_at_end=end, value_after=after)


def with_current_values(view: StepView, reads: ValueReads, values: Tensor) -> StepView:
    """The view with the critic's values as they are now.   values: [M], with gradient."""
    value, start, _, _ = reads.split(values)
    return view.with_fields(current_value=value, current_value_at_start=start)
