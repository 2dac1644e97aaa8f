"""A buffer of rollouts: groups of earlier steps are learned from again, beside those of this step; ours.

    batch = this step's groups, and `share` times as many, drawn without replacement from those of the last `steps`

Groups are kept and drawn whole, so that an episode is compared with those of the policy that played it. `old` is the
policy as it stands before this step's updates, for all of them; `sampled` are the log-probs that they were played with:
a surrogate or modifier that reads both corrects for their age (`mdpo-off-policy`, `engine-correction`). The buffer is
in the checkpoint. What a task holds for its world alone is not kept, and episodes with images are refused.
"""

import dataclasses
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.errors import ConfigError
from agentrl.records import trajectory_from_json, trajectory_to_json
from agentrl.seeds import seed_of
from agentrl.settings import require
from agentrl.trainers.algorithm import Part, Rehearsal
from agentrl.trainers.step_view import StepView
from agentrl.types import ENDS, Trajectory


@dataclass(frozen=True, kw_only=True)
class PastRolloutsConfig:
    steps: int = 4
    """Steps whose rollouts are kept; older ones are forgotten."""
    share: float = 1.0
    """Groups of earlier steps for each one of this step, as far as there are such groups."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"steps is {self.steps}; it must be at least 1")
        require(self.share >= 0, f"share is {self.share}; it must not be negative")


class PastRollouts:
    """The last steps' groups, the oldest first."""

    def __init__(self, config: PastRolloutsConfig) -> None:
        self.config = config
        self._kept: deque[tuple[int, list[list[Trajectory]]]] = deque(maxlen=config.steps)

    @property
    def num_episodes(self) -> int:
        return sum(len(group) for _, groups in self._kept for group in groups)

    def draw(self, num_groups: int, seed: int) -> list[tuple[int, list[Trajectory]]]:
        """(step, group) for so many groups, or all there are; the oldest first.   seed: of the choice."""
        held = [(step, group) for step, groups in self._kept for group in groups]
        chosen = random.Random(seed).sample(range(len(held)), min(num_groups, len(held)))
        return [held[number] for number in sorted(chosen)]

    def keep(self, step: int, groups: Sequence[Sequence[Trajectory]]) -> None:
        """Remember what the policy played in a step, and forget the oldest.   Raises ConfigError for images."""
        played = [[_kept(t) for t in group if _is_rollout(t)] for group in groups]
        if any(turn.observation.images for group in played for t in group for turn in t.turns):
            raise ConfigError("part 'past-rollouts' keeps text alone, and this world shows images; leave the part out")
        self._kept.append((step, [group for group in played if group]))

    def update(self, view: StepView) -> None:
        """Nothing: the buffer is filled with what was played, before anything is learned."""

    def state_dict(self) -> dict[str, Any]:
        return {
            "steps": [
                {"step": step, "groups": [[trajectory_to_json(t) for t in group] for group in groups]}
                for step, groups in self._kept
            ]
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._kept.clear()
        for record in state["steps"]:
            groups = [[trajectory_from_json(one) for one in group] for group in record["groups"]]
            self._kept.append((int(record["step"]), groups))


def _is_rollout(trajectory: Trajectory) -> bool:
    """Played by the policy, by no demonstrator, and to an end; what was logged comes again by itself."""
    return trajectory.source not in ("demonstration", "logged") and not ENDS[trajectory.ended].infrastructure


def _kept(trajectory: Trajectory) -> Trajectory:
    """Without what the world keeps in the task, as it will be after a resume too."""
    return dataclasses.replace(trajectory, task=dataclasses.replace(trajectory.task, data=None))


async def bring_again(
    groups: Sequence[list[Trajectory]], rehearsal: Rehearsal, config: PastRolloutsConfig, state: PastRollouts
) -> list[list[Trajectory]]:
    """This step's groups, and behind them groups of earlier steps."""
    seed = seed_of(rehearsal.seed, "past-rollouts", rehearsal.step)
    drawn = state.draw(int(config.share * len(groups) + 1e-9), seed)
    state.keep(rehearsal.step, groups)
    rehearsal.again += [trajectory for _, group in drawn for trajectory in group]
    rehearsal.counts |= {
        "past_rollouts/groups": float(len(drawn)),
        "past_rollouts/episodes": float(sum(len(group) for _, group in drawn)),
        "past_rollouts/age": sum(rehearsal.step - step for step, _ in drawn) / max(len(drawn), 1),
        "past_rollouts/held": float(state.num_episodes),
    }
    return [*groups, *(group for _, group in drawn)]


PAST_ROLLOUTS = Part(
    name="past-rollouts",
    kind="rewrite",
    bind=bring_again,
    config=PastRolloutsConfig,
    state=PastRollouts,
    needs=("past",),
    active=lambda config: config.share > 0,
    ours=True,
)
"""Groups of the last steps are learned from again, out of a buffer that is in the checkpoint."""
