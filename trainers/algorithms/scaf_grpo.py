"""Scaf-GRPO: scaffolded GRPO, which helps with the least hint that lets an unsolved task be solved (arXiv 2510.19807).

    first `exempt` of the steps: GRPO.   After that, for each group whose rollouts all failed:
    try hints h in order, knowledge -> planning -> solution, each in `parts` cumulative parts;
    the first episode o*_h that succeeds replaces one failed rollout of the group, at random;
    A, and all else, is GRPO's over the group so made:   A_i = (R_i - mean of R) / (std of R + epsilon)
    the ratio of o*_h is  p(o | q + h) / p_old(o | q + h):  turns keep the prompt they were sampled with

With 1 of 8: A = 2.4749 for the helped episode, -0.3536 for the others. No success with any hint leaves the group as it
was. Hints are never shown in a validation, and helped episodes count in no success that is logged.
The released code (JIA-Lab-research/Scaf-GRPO, commit ac9f99e) was read: it exempts 50 steps, leaves the planning tier
out (`tiers`), replaces the first rollout (`replace: first`), and plays all hints at once and takes the least that
helps, which is the same with more play. Here a level is played for all groups that still need it before the next one.
Hints are the world's own where it has `hints(task)`; otherwise made of its solution (ours): kinds of action, the
actions without what names single things, the actions. They stand below the world's instructions, at every turn.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentrl.episode import Job
from agentrl.seeds import seed_of
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part, Rehearsal
from agentrl.trainers.parts.rewrites import Hint, ladder, none_solved
from agentrl.types import ENDS, Trajectory

TIERS = ("knowledge", "planning", "solution")


@dataclass(frozen=True, kw_only=True)
class ScafConfig:
    exempt: float = 0.15
    """This share of the run's first steps goes without hints; 0.15 is the paper's."""
    tiers: tuple[str, ...] = TIERS
    """Tiers of hints, the vaguest first."""
    parts: int = 4
    """Into how many cumulative parts a tier is cut; 4 is the paper's."""
    attempts: int = 1
    """Episodes with each hint; the paper has one."""
    replace: Literal["random", "first"] = "random"
    """Which failed rollout the helped episode replaces; first as released."""

    def __post_init__(self) -> None:
        require(0 <= self.exempt <= 1, f"exempt is {self.exempt}; it must be from 0 to 1")
        require(self.parts >= 1, f"parts is {self.parts}; it must be at least 1")
        require(self.attempts >= 1, f"attempts is {self.attempts}; it must be at least 1")


def replaced(group: Sequence[Trajectory], helped: Trajectory, number: int) -> list[Trajectory]:
    """The group with one of its failed rollouts exchanged.   number: among those that were scored and failed."""
    failed = [i for i, t in enumerate(group) if ENDS[t.ended].scored and not t.outcome.success]
    place = failed[number % len(failed)]
    return [helped if i == place else t for i, t in enumerate(group)]


async def scaffold(
    groups: Sequence[list[Trajectory]], rehearsal: Rehearsal, config: ScafConfig, state: None
) -> list[list[Trajectory]]:
    """Groups that none solved get an episode that a hint helped to succeed, where there is one."""
    found: dict[int, tuple[int, Hint, Trajectory]] = {}
    exempt = rehearsal.step < config.exempt * rehearsal.num_steps
    waiting = [] if exempt else [i for i, group in enumerate(groups) if none_solved(group)]
    ladders = {i: ladder(rehearsal.hints(groups[i][0].task), config.tiers, config.parts) for i in waiting}
    num_unsolved, level, num_played = len(waiting), 0, 0
    while waiting := [i for i in waiting if i not in found and level < len(ladders[i])]:
        tries = [(i, k) for i in waiting for k in range(config.attempts)]
        played = await rehearsal.play(
            [_job(groups[i], ladders[i][level], level * config.attempts + k, rehearsal) for i, k in tries]
        )
        num_played += len(played)
        for (i, _), trajectory in zip(tries, played, strict=True):
            if trajectory.outcome.success:
                found.setdefault(i, (level, ladders[i][level], trajectory))
        level += 1
    _count(rehearsal, config, num_unsolved, num_played, [(rung, hint) for rung, hint, _ in found.values()])
    return [
        replaced(group, found[i][2], _chosen(group, rehearsal, config)) if i in found else list(group)
        for i, group in enumerate(groups)
    ]


def _job(group: Sequence[Trajectory], hint: Hint, number: int, rehearsal: Rehearsal) -> Job:
    """A rollout numbered on from the group's, so that its chance is its own."""
    rollout = 1 + max(t.rollout for t in group) + number
    return Job(group[0].task, group[0].group, rollout, rehearsal.step, hint=hint.text)


def _chosen(group: Sequence[Trajectory], rehearsal: Rehearsal, config: ScafConfig) -> int:
    if config.replace == "first":
        return 0
    return random.Random(seed_of(rehearsal.seed, "scaf-grpo", rehearsal.step, group[0].group)).randrange(2**31)


def _count(
    rehearsal: Rehearsal, config: ScafConfig, unsolved: int, played: int, helped: Sequence[tuple[int, Hint]]
) -> None:
    counts = {"unsolved_groups": unsolved, "hinted_episodes": played, "helped_groups": len(helped)}
    counts |= {f"helped_by_{tier}": sum(hint.tier == tier for _, hint in helped) for tier in config.tiers}
    rehearsal.counts |= {f"scaf/{name}": float(count) for name, count in counts.items()}
    rehearsal.counts["scaf/hint_level"] = sum(rung + 1 for rung, _ in helped) / max(len(helped), 1)


SCAF_SCAFFOLD = Part(
    name="scaffold",
    kind="rewrite",
    bind=scaffold,
    config=ScafConfig,
    section="scaf-grpo",
    needs=("hints",),
)
"""Scaf-GRPO's: the least hint that helps, for groups that nobody solved."""
SCAF_GRPO = Algorithm(
    name="scaf-grpo",
    citation=(
        "X. Zhang et al.: Scaf-GRPO: scaffolded group relative policy optimization for enhancing LLM reasoning. "
        "arXiv 2510.19807."
    ),
    rewrites=(SCAF_SCAFFOLD,),
    returns="outcome",
    advantage="group-norm",
    surrogate="ppo-clip",
    aggregate="trajectory-mean",
    settings={"ppo-clip": {"dual_clip": 0.0}},
)
