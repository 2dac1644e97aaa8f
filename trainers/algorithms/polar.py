"""POLAR: a reward model that tells policies apart (arXiv 2507.05197): is this answer of the policy that gave that one.

    input         {prompt}{between}{reference}{separator}{prompt}{between}{candidate}{end}
    pre-training  L = - log sigma(r(p, A1, A2) - r(p, A1, B1))       A1, A2 of one policy, B1 of another
    fine-tuning   L = - log sigma(r(p, A, B) - r(p, A, C))           A before B before C by preference

Under a reward with a KL penalty, the reward is up to a constant the log density ratio of the target policy and the one
to begin with; so r is taught to be high where both answers come from one policy, without any labels, and is then tuned
by preferences. Both losses are Bradley-Terry's of two candidates beside one reference. A group of three or more that
are scored makes them: the best is the reference (or a demonstration, or `reference` of logged rows), and every ordered
two of the others are a pair. Groups of a pool of policies, as pre-training wants them, are made by `contrasts`.

Read: the paper, sections 3-4 and appendices D-E; the released reward function (InternLM/POLAR, 80626f3) and training
loss (InternLM/xtuner, 00796c1: ranking, no penalty). Appendix D.2.1 names (second, third) as the negative pair, eq. 8
and the data (best, third): eq. 8 is here. Released: head without bias, AdamW (0.9, 0.95), learning rate 1e-5, clip 1,
one epoch, batch 320, 3 % warm-up; pre-training samples at temperature 1, top-p 0.9, top-k 50, since low temperatures
give too little contrast and high ones blur the policies. Data of pre-training and how they were made are not released.
Ours: the head has a bias, which no pair can see; episodes of several turns are written as their replies with what was
observed between them; texts that spell a separator lose it.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentrl.models.polar_form import PolarForm, PolarWriter, best_reference
from agentrl.seeds import seed_of
from agentrl.trainers.algorithm import Algorithm, Part, Rehearsal
from agentrl.trainers.algorithms.reward_model import BRADLEY_TERRY
from agentrl.types import Trajectory

Group = list[Trajectory]


def contrasts(pool: Mapping[str, Sequence[Trajectory]], seed: int = 0) -> list[Group]:
    """Groups for pre-training: for each task, two answers of one policy and one of another, drawn by the seed.

    pool: policy -> its episodes, several of a task.
    Returns a group a (task, policy with two answers), scored 2 for the reference, 1 for the answer of the same policy,
    0 for the other policy's. None where no two policies answered, or both candidates say the same.
    """
    answers: dict[str, dict[str, list[Trajectory]]] = {}
    for policy, episodes in pool.items():
        for trajectory in episodes:
            if trajectory.turns:
                answers.setdefault(trajectory.task.id, {}).setdefault(policy, []).append(trajectory)
    groups = []
    for task, by_policy in answers.items():
        for policy, own in by_policy.items():
            others = sorted(other for other in by_policy if other != policy)
            if len(own) < 2 or not others:
                continue
            rng = random.Random(seed_of("polar", seed, task, policy))
            first, second = rng.sample(own, 2)
            third = rng.choice(by_policy[rng.choice(others)])
            if _said(second) == _said(third):
                continue
            scored = zip((first, second, third), (2.0, 1.0, 0.0), strict=True)
            name = f"polar/{seed}/{task}/{policy}"
            groups.append([_scored(episode, name, place, score) for place, (episode, score) in enumerate(scored)])
    return groups


def _said(trajectory: Trajectory) -> list[str]:
    return [turn.completion.text for turn in trajectory.turns]


def _scored(trajectory: Trajectory, group: str, rollout: int, score: float) -> Trajectory:
    outcome = replace(trajectory.outcome, score=score)
    return replace(trajectory, group=group, rollout=rollout, outcome=outcome, source="logged")


def beside_reference(group: Sequence[Trajectory], writer: PolarWriter) -> Group:
    """The candidates of a group, each written beside what it is compared with; none where there is no reference.

    A trajectory with a `reference` of its own is a candidate; of the others the best is the reference.
    """
    own = [trajectory for trajectory in group if trajectory.turns and trajectory.reference]
    written = [writer.written(trajectory, trajectory.reference) for trajectory in own]
    rest = [trajectory for trajectory in group if trajectory.turns and not trajectory.reference]
    best = best_reference(rest)
    if best is not None:
        text = writer.answer(rest[best])
        written += [writer.written(candidate, text) for number, candidate in enumerate(rest) if number != best]
    return written


async def _polar_input(groups: Sequence[Group], rehearsal: Rehearsal, config: PolarForm, state: Any) -> list[Group]:
    writer = PolarWriter(rehearsal.tokenizer, config)
    written = [beside_reference(group, writer) for group in groups]
    rehearsal.again += [trajectory for group in written for trajectory in group]  # they are stored as they came
    return written


POLAR_INPUT = Part(name="polar-input", kind="rewrite", bind=_polar_input, config=PolarForm, section="polar")
"""Writes each episode of a group beside the best of them, for a reward model that compares with a reference."""
POLAR = Algorithm(
    name="polar",
    citation=(
        "S. Dou et al.: Pre-trained policy discriminators are general reward models. NeurIPS 2025. arXiv 2507.05197."
    ),
    rewrites=(POLAR_INPUT,),
    returns="outcome",
    pairing="all-pairs",
    advantage=None,
    surrogate=BRADLEY_TERRY,
    aggregate="pair-mean",
    learns_from="data",
)
