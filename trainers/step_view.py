"""What an algorithm's parts see of one step, flat tensors and indices, and what they return: terms of the loss."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Level = Literal["token", "turn", "trajectory", "pair"]


@dataclass(frozen=True)
class Term:
    """A summand of the loss: one value a token, turn, trajectory or pair, times what the aggregate weighs it."""

    values: Tensor
    """[N], [U], [J] or [P], by `level`; with gradient."""
    level: Level = "token"
    weight: float = 1.0
    aggregate: str | None = None
    """Name of an aggregate of its own; None: the algorithm's."""
    of: Tensor | None = None
    """[N] bool: the tokens over which the aggregate is taken, where not all that carry loss: a mean of its own."""


@dataclass(frozen=True)
class Credit:
    """What an advantage part gives that has a critic: the advantage, and what the values are to become."""

    advantage: Tensor
    """[N] float."""
    value_target: Tensor
    """[N] or [U] float, by `level`."""
    level: Literal["token", "turn"] = "token"
    """token: of the values before each response token; turn: of those at the start of each turn."""


@dataclass(frozen=True)
class Channels:
    """What an advantage part gives that has two advantages: the surrogate's terms are taken for each, and added up.

    Losses that scale with the advantage, as clipped ones do, are blended by scaling the channels (COPO).
    """

    first: Tensor
    """[N] float."""
    second: Tensor
    """[N] float."""


@dataclass(frozen=True)
class Pairs:
    """What a pairing part gives: which trajectories are compared."""

    pairs: Tensor
    """[P, 2] int64 into the trajectories: the better one first."""
    weight: Tensor
    """[P] float: what a pair counts beside the others."""


@dataclass(frozen=True, kw_only=True)
class StepView:
    """One step's batch in the letters of the papers: N response tokens, U turns, J trajectories, G groups, P pairs.

    Tokens of a turn are contiguous and in order; turns and trajectories may stand in any order.
    A field that no part declared is None.
    """

    turn_of_token: Tensor
    """[N] int64."""
    trajectory_of_turn: Tensor
    """[U] int64."""
    group_of_trajectory: Tensor
    """[J] int64."""
    turn_position: Tensor
    """[U] int64, 0-based place among the acting turns; a summarise turn has that of the next acting one."""
    acts: Tensor
    """[U] bool: an acting turn (a summarise turn counts for tokens and aggregates, not for what numbers turns)."""
    sequence_of_turn: Tensor
    """[U] int64: the packed sequence in which the turn stands."""
    num_groups: int
    trained: Tensor
    """[N] bool: carries loss; denominators of aggregates are over these."""
    in_statistics: Tensor
    """[J] bool: counts in group statistics."""
    bootstraps: Tensor
    """[J] bool: cut, not ended: a value stands for what would have come."""
    readable: Tensor
    """[U] bool: the format could read the reply."""
    valid: Tensor
    """[U] bool: the world accepted the action."""
    reward: Tensor
    """[U] float: what the world paid, and what rewards parts added."""
    score: Tensor
    """[J] float: the outcome's score."""
    success: Tensor
    """[J] float, 0 or 1."""
    step: int = 0
    num_steps: int = 1
    learning_rate: float = 0.0
    """Of this step, as the schedule has it."""
    seed: int = 0
    """Of the run: random selections are keyed by it, the step, and what is selected (R6)."""
    singleton: Literal["zero", "raw"] = "zero"
    turn_place: Tensor | None = None
    """[U] int64, 0-based place among all turns of the trajectory, summarise turns too; read as `order_of_turn`."""
    target: Tensor | None = None
    """[N] int64: the ids of the response tokens."""
    demonstrated: Tensor | None = None
    """[J] bool: said by a demonstrator, not by the policy; such a trajectory is in no statistics."""
    greedy: Tensor | None = None
    """[J] bool: played by the greedy policy, to compare others with; it is in no statistics, carries no loss, and is
    there until the advantage is known."""
    key: Tensor | None = None
    """[J] int64: what a trajectory is in its step (task, group, rollout), the same in any order of the batch."""
    task: Tensor | None = None
    """[J] int64: which task a trajectory is of, the same in every step of every run."""
    observation_class: Tensor | None = None
    """[U] int64: turns with the same number answered the same observation, text and images."""
    answer_class: Tensor | None = None
    """[J] int64: trajectories with the same number gave the same answer (`Outcome.answer`, or the last action)."""
    components: Mapping[str, Tensor] = field(default_factory=dict)
    """name -> [J] float: what the score is made of, where every trajectory's world tells (`Outcome.components`)."""
    probes: Mapping[str, Tensor] = field(default_factory=dict)
    """name -> [N] float: what the probes of the parts read from the logits, of the current policy; with gradient where
    a probe has a slope."""
    sampled_probes: Mapping[str, Tensor] = field(default_factory=dict)
    """name -> [N] float: the same, of the policy at the rollout's version."""
    pairs: Tensor | None = None
    """[P, 2] int64 into [J]: chosen, rejected; both of one group."""
    pair_weight: Tensor | None = None
    """[P] float: what a pair counts beside the others."""
    sampled: Tensor | None = None
    """[N] log-probs of the sampling engine."""
    old: Tensor | None = None
    """[N] log-probs of the trainer at the rollout's version; of earlier steps' episodes, before this step's updates."""
    reference: Tensor | None = None
    """[N] log-probs of the reference policy."""
    guidance: Tensor | None = None
    """[N] log-probs of the guidance model, which is frozen."""
    mismatched: Tensor | None = None
    """[J] float: log p - log p_ref of another trajectory's first reply after this one's first prompt, of the policy at
    the rollout's version; nan where there is no other."""
    judged: Tensor | None = None
    """[J] float: scores of the reward model that is trained, with gradient."""
    current: Tensor | None = None
    """[N] log-probs, with gradient."""
    entropy: Tensor | None = None
    """[N] nats, of the current policy, with gradient."""
    sampled_entropy: Tensor | None = None
    """[N] nats, of the policy at the rollout's version."""
    value: Tensor | None = None
    """[N] float, of the critic at the rollout's version, read before each response token."""
    value_at_start: Tensor | None = None
    """[U] float, the same, read before the turn's first token; a turn without tokens: at the end of its prompt."""
    value_at_end: Tensor | None = None
    """[U] float, the same, read after the turn's last token; a turn without tokens: at the end of its prompt."""
    value_after: Tensor | None = None
    """[J] float, the same, at the end of the final observation of an episode that bootstraps; 0 of any other."""
    current_value: Tensor | None = None
    """[N] float, of the critic as it is now, with gradient."""
    current_value_at_start: Tensor | None = None
    """[U] float, the same, before the turn's first token."""
    value_target: Tensor | None = None
    """[N] float: what `current_value` is to become."""
    turn_value_target: Tensor | None = None
    """[U] float: what `current_value_at_start` is to become."""
    returns: Tensor | None = None
    """[U] float."""
    advantage: Tensor | None = None
    """[N] float."""
    second_advantage: Tensor | None = None
    """[N] float, of an advantage part with two channels: read by the composition alone."""

    @property
    def num_tokens(self) -> int:
        return len(self.turn_of_token)

    @property
    def num_turns(self) -> int:
        return len(self.trajectory_of_turn)

    @property
    def num_trajectories(self) -> int:
        return len(self.group_of_trajectory)

    @property
    def order_of_turn(self) -> Tensor:
        """[U] int64: what turns of one trajectory are sorted by, a summarise turn before the acting one it helps."""
        return 2 * self.turn_position + self.acts.long() if self.turn_place is None else self.turn_place

    @property
    def trajectory_of_token(self) -> Tensor:
        """[N] int64."""
        return self.trajectory_of_turn[self.turn_of_token]

    @property
    def group_of_turn(self) -> Tensor:
        """[U] int64."""
        return self.group_of_trajectory[self.trajectory_of_turn]

    def size(self, level: Level) -> int:
        """How many values a level has."""
        if level == "pair":
            return 0 if self.pairs is None else len(self.pairs)
        return {"token": self.num_tokens, "turn": self.num_turns, "trajectory": self.num_trajectories}[level]

    def with_fields(self, **changes: object) -> "StepView":
        """The same view with some fields replaced."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def keep(self, trajectories: Tensor) -> "StepView":
        """The view of some trajectories alone, renumbered; groups keep their numbers, pairs that lose a side go.

        trajectories: [K] int64, sorted.
        """
        new_trajectory = torch.full((self.num_trajectories,), -1, dtype=torch.int64)
        new_trajectory[trajectories] = torch.arange(len(trajectories))
        turns = (new_trajectory[self.trajectory_of_turn] >= 0).nonzero()[:, 0]
        new_turn = torch.full((self.num_turns,), -1, dtype=torch.int64)
        new_turn[turns] = torch.arange(len(turns))
        tokens = (new_turn[self.turn_of_token] >= 0).nonzero()[:, 0]
        rows = {"turn_of_token": tokens, "trajectory_of_turn": turns, "group_of_trajectory": trajectories}
        changes: dict[str, Tensor] = {}
        for name, level in _LEVELS.items():
            value = getattr(self, name)
            if value is not None:
                changes[name] = value[{"N": tokens, "U": turns, "J": trajectories}[level]]
        changes["turn_of_token"] = new_turn[self.turn_of_token[rows["turn_of_token"]]]
        changes["trajectory_of_turn"] = new_trajectory[self.trajectory_of_turn[turns]]
        changes["sequence_of_turn"] = torch.unique(changes["sequence_of_turn"], return_inverse=True)[1]
        by_level = {"components": trajectories, "probes": tokens, "sampled_probes": tokens}
        for name, kept in by_level.items():
            changes[name] = {key: value[kept] for key, value in getattr(self, name).items()}  # type: ignore[assignment]
        if self.pairs is not None:
            pairs = new_trajectory[self.pairs]
            whole = (pairs >= 0).all(1)
            changes["pairs"] = pairs[whole]
            if self.pair_weight is not None:
                changes["pair_weight"] = self.pair_weight[whole]
        return self.with_fields(**changes)


_LEVELS = {
    name: level
    for level, names in {
        "N": "trained target sampled old reference guidance current entropy sampled_entropy advantage second_advantage"
        " value current_value value_target",
        "U": "turn_position turn_place acts sequence_of_turn readable valid reward returns observation_class"
        " value_at_start value_at_end current_value_at_start turn_value_target",
        "J": "group_of_trajectory in_statistics bootstraps score success key answer_class value_after demonstrated"
        " task greedy mismatched judged",
    }.items()
    for name in names.split()
}
