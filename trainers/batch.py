"""Trajectories become one batch: packed sequences for the model, flat tensors and indices for the algorithm (R7)."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from agentrl.models.head import Allowed
from agentrl.seeds import seed_of
from agentrl.trainers.step_view import StepView
from agentrl.types import ENDS, Observation, Trajectory, Turn

Layout = Literal["episode", "turn"]
Overlong = Literal["mask", "penalise", "keep"]


@dataclass(frozen=True)
class Stretch:
    """One sequence that the model runs once, and which of its tokens are response tokens."""

    ids: tuple[int, ...]
    places: tuple[int, ...]
    """Place in `ids` of each of its response tokens; the model predicts them one place earlier."""
    first_token: int
    """Its response tokens are [first_token, first_token + len(places)) of the batch's N."""
    images: tuple[str, ...] = ()
    """Content hashes of the images whose placeholders stand in `ids`, in order."""


@dataclass(frozen=True)
class Batch:
    """What one step trains on. N response tokens; the view has the levels above them."""

    view: StepView
    stretches: tuple[Stretch, ...]
    target: Tensor
    """[N] int64: the response tokens' ids."""
    allowed: Allowed | None
    """Mask of constrained sampling, or None where no token was constrained."""

    @property
    def num_stream_tokens(self) -> int:
        """T: tokens that the model runs."""
        return sum(len(stretch.ids) for stretch in self.stretches)

    def groups(self) -> list[list[Stretch]]:
        """The sequences, those of a group together."""
        found: dict[int, list[Stretch]] = {}
        of_token = self.view.group_of_trajectory[self.view.trajectory_of_token]
        for stretch in self.stretches:
            found.setdefault(int(of_token[stretch.first_token]), []).append(stretch)
        return list(found.values())

    def keep(self, trajectories: Tensor) -> "Batch":
        """The batch of some trajectories alone, renumbered.   trajectories: [K] int64, sorted."""
        view = self.view.keep(trajectories)
        kept = torch.isin(self.view.trajectory_of_token, trajectories)
        new_token = kept.long().cumsum(0) - 1
        stretches = tuple(
            replace(s, first_token=int(new_token[s.first_token])) for s in self.stretches if bool(kept[s.first_token])
        )
        index = kept.nonzero()[:, 0]
        allowed = None if self.allowed is None else self.allowed.select(index)
        return Batch(view, stretches, self.target[index], allowed)

    def with_view(self, view: StepView) -> "Batch":
        return replace(self, view=view)


class _Builder:
    """Collects the flat lists of one batch."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.stretches: list[Stretch] = []
        self.target: list[int] = []
        self.sampled: list[float] = []
        self.allowed: list[list[int]] = []
        self.turn_of_token: list[int] = []
        self.trained: list[bool] = []
        self.turns: dict[str, list[float | int | bool]] = {
            name: [] for name in ("trajectory", "position", "acts", "sequence", "readable", "valid", "reward")
        }

    def trajectory(self, number: int, turns: Sequence[Turn], carries_loss: bool) -> None:
        ids: list[int] = []
        images: list[str] = []
        shown: list[str] = []  # up to the last response token: what comes after it is cut off
        places: list[int] = []
        acting = 0
        for turn in turns:
            if not turn.continues:
                self._close(ids, shown, places)
                ids, images, shown, places = [], [], [], []
            elif self.layout == "turn":
                self._close(ids, shown, places)
                places = []
            ids += turn.prompt_ids
            images += turn.images
            if turn.completion.token_ids:
                shown = list(images)
            self._tokens(turn, carries_loss and turn.learn)
            places += range(len(ids), len(ids) + len(turn.completion.token_ids))
            ids += turn.completion.token_ids
            row = (number, acting, turn.kind == "act", len(self.stretches), turn.readable, turn.valid, turn.reward)
            for column, value in zip(self.turns.values(), row, strict=True):
                column.append(value)
            acting += turn.kind == "act"
        self._close(ids, shown, places)

    def _tokens(self, turn: Turn, trained: bool) -> None:
        completion, num = turn.completion, len(turn.completion.token_ids)
        self.target += completion.token_ids
        self.sampled += completion.logprobs if completion.logprobs is not None else [float("nan")] * num
        self.allowed += completion.allowed if completion.allowed is not None else [[]] * num
        self.turn_of_token += [len(self.turns["trajectory"])] * num
        self.trained += [trained] * num

    def mask(self) -> Allowed | None:
        """Of constrained sampling, or None where no token was constrained."""
        if not any(self.allowed):
            return None
        counts = torch.tensor([0] + [len(a) for a in self.allowed], dtype=torch.int64)
        return Allowed(torch.tensor([i for a in self.allowed for i in a], dtype=torch.int64), counts.cumsum(0))

    def _close(self, ids: list[int], images: list[str], places: list[int]) -> None:
        if places:
            end = places[-1] + 1
            self.stretches.append(
                Stretch(tuple(ids[:end]), tuple(places), len(self.target) - len(places), tuple(images))
            )


def _trainable(trajectory: Trajectory, overlong: Overlong) -> bool:
    if trajectory.greedy:
        return False
    rule = ENDS[trajectory.ended].carries_loss
    return rule == "yes" or (rule == "overlong" and overlong != "mask")


def build_batch(
    trajectories: Sequence[Trajectory],
    *,
    layout: Layout = "episode",
    overlong: Overlong = "mask",
    turn_limit_bootstraps: bool = False,
    singleton: Literal["zero", "raw"] = "zero",
    step: int = 0,
    num_steps: int = 1,
    learning_rate: float = 0.0,
    seed: int = 0,
    on_drop: Callable[[Trajectory], None] | None = None,
) -> Batch:
    """The batch of these trajectories; those that ended by an infrastructure failure are left out.

    layout: an append-only episode as one sequence, or as a sequence a turn.
    overlong: what context_limit and token_limit mean: no loss, loss as failures (no score, no reward), or as they are.
    on_drop: called with each trajectory that is left out.
    """
    kept = [t for t in trajectories if not ENDS[t.ended].infrastructure]
    for trajectory in trajectories:
        if on_drop is not None and ENDS[trajectory.ended].infrastructure:
            on_drop(trajectory)
    builder = _Builder(layout)
    groups: dict[str, int] = {}
    for number, trajectory in enumerate(kept):
        groups.setdefault(trajectory.group, len(groups))
        builder.trajectory(number, trajectory.turns, _trainable(trajectory, overlong))
    failed = [ENDS[t.ended].carries_loss == "overlong" and overlong == "penalise" for t in kept]
    turns = builder.turns

    def integers(values: Sequence[object]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64)

    def numbers(values: Sequence[object]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    def flags(values: Sequence[object]) -> Tensor:
        return torch.tensor(values, dtype=torch.bool)

    sampled = numbers(builder.sampled)
    view = StepView(
        turn_of_token=integers(builder.turn_of_token),
        trajectory_of_turn=integers(turns["trajectory"]),
        group_of_trajectory=integers([groups[t.group] for t in kept]),
        turn_position=integers(turns["position"]),
        acts=flags(turns["acts"]),
        sequence_of_turn=integers(turns["sequence"]),
        num_groups=len(groups),
        trained=flags(builder.trained),
        in_statistics=flags([_counts(t) for t in kept]),
        bootstraps=flags(
            [ENDS[t.ended].bootstraps or (t.ended == "turn_limit" and turn_limit_bootstraps) for t in kept]
        ),
        readable=flags(turns["readable"]),
        valid=flags(turns["valid"]),
        reward=numbers([0.0 if failed[j] else r for j, r in zip(turns["trajectory"], turns["reward"], strict=True)]),  # type: ignore[index]
        score=numbers([0.0 if f else t.outcome.score for t, f in zip(kept, failed, strict=True)]),
        success=numbers([float(t.outcome.success and not f) for t, f in zip(kept, failed, strict=True)]),
        step=step,
        num_steps=num_steps,
        learning_rate=learning_rate,
        seed=seed,
        singleton=singleton,
        turn_place=integers([place for t in kept for place in range(len(t.turns))]),
        target=integers(builder.target),
        demonstrated=flags([t.source == "demonstration" for t in kept]),
        greedy=flags([t.greedy for t in kept]),
        key=integers([seed_of(t.task.id, t.group, t.rollout) for t in kept]),
        task=integers([seed_of(t.task.env, t.task.id) for t in kept]),
        observation_class=_classes([_shown(turn.observation) for t in kept for turn in t.turns]),
        answer_class=_classes([_answer(t) for t in kept]),
        components=_components(kept),
        sampled=None if bool(sampled.isnan().any()) else sampled,
    )
    return Batch(view, tuple(builder.stretches), integers(builder.target), builder.mask())


def _counts(trajectory: Trajectory) -> bool:
    """Is it in group statistics."""
    return ENDS[trajectory.ended].in_statistics and trajectory.source != "demonstration" and not trajectory.greedy


def _classes(values: Sequence[Hashable]) -> Tensor:
    """Equal values get equal numbers, in the order in which they are first met.   Returns [K] int64."""
    numbers: dict[Hashable, int] = {}
    return torch.tensor([numbers.setdefault(value, len(numbers)) for value in values], dtype=torch.int64)


def _shown(observation: Observation) -> Hashable:
    return observation.text, observation.images, observation.earlier


def _answer(trajectory: Trajectory) -> str:
    """The final answer: what the world made of it, or the last action as it stands."""
    if trajectory.outcome.answer is not None:
        return trajectory.outcome.answer
    return next((turn.action.strip() for turn in reversed(trajectory.turns) if turn.kind == "act"), "")


def _components(trajectories: Sequence[Trajectory]) -> dict[str, Tensor]:
    """The parts of the score that every trajectory has."""
    names = [set(t.outcome.components) for t in trajectories]
    shared = sorted(set.intersection(*names)) if names else []
    return {
        name: torch.tensor([t.outcome.components[name] for t in trajectories], dtype=torch.float64) for name in shared
    }


def micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Numbers of the sequences that run together: first fit, longest first; a longer one than the budget runs alone.

    lengths: tokens of each sequence.   budget: tokens of a forward pass.
    """
    bins: list[tuple[int, list[int]]] = []
    for number in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        for place, (used, members) in enumerate(bins):
            if used + lengths[number] <= budget:
                bins[place] = (used + lengths[number], [*members, number])
                break
        else:
            bins.append((lengths[number], [number]))
    return [members for _, members in bins]
