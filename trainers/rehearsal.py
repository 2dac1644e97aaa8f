"""What rewrites ask for between playing and learning: further episodes, demonstrations, hints; shared by the ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentrl.episode import Job
from agentrl.errors import ConfigError
from agentrl.policies.scripted import Expert
from agentrl.rollout_metrics import summaries
from agentrl.runner import Runner
from agentrl.trainers.composition import Composition
from agentrl.trainers.ranks import Ranks
from agentrl.types import Task, Trajectory


@dataclass
class Rehearsal:
    """Of one run; `agentrl.trainers.algorithm.Rehearsal` says what rewrites see of it."""

    world: Any
    runner: Runner
    """Of the policy that is trained."""
    ranks: Ranks
    num_steps: int
    seed: int
    step: int = 0
    counts: dict[str, float] = field(default_factory=dict)
    again: list[Trajectory] = field(default_factory=list)

    @property
    def tokenizer(self) -> Any:
        """Of the model that is trained."""
        return self.runner.renderer.tokenizer

    async def rewritten(
        self, composition: Composition, trajectories: Sequence[Trajectory], step: int
    ) -> tuple[list[Trajectory], list[Trajectory], dict[str, float]]:
        """The step's episodes as the composition's rewrites leave them, those of them that are new, what is logged.

        Where a part compares with the greedy policy, each group has an episode of it beside its own, at the end.
        """
        self.step, self.counts, self.again = step, {}, []
        left = await composition.rewrite(trajectories, self) if composition.slots["rewrites"] else list(trajectories)
        if "greedy" in composition.needs:
            left += await self._greedy(left)
        known = {id(trajectory) for trajectory in (*trajectories, *self.again)}
        return left, [t for t in left if id(t) not in known], self.counts

    async def _greedy(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """One greedy episode for each group that the policy played, numbered on from its rollouts."""
        last: dict[str, Trajectory] = {}
        for trajectory in trajectories:
            if trajectory.source != "demonstration":
                last[trajectory.group] = max(last.get(trajectory.group, trajectory), trajectory, key=_rollout)
        jobs = [Job(t.task, group, t.rollout + 1, self.step, greedy=True) for group, t in last.items()]
        played = await self.play(jobs)
        for trajectory in played:
            trajectory.greedy = True
        found = summaries(played)
        self.counts |= {
            "greedy/episodes": found["episodes"],
            "greedy/failures": found["infrastructure_failures"],
            "greedy/tokens": float(sum(t.num_tokens for t in played)),
            "greedy/success": found["success"],
            "greedy/score": found["score"],
        }
        return played

    async def play(self, jobs: Sequence[Job]) -> list[Trajectory]:
        """Every rank plays its share; all get the whole, in the order of the jobs."""
        return await self._shared(self.runner, jobs)

    async def _shared(self, runner: Runner, jobs: Sequence[Job]) -> list[Trajectory]:
        own = await runner.run([jobs[i] for i in self.ranks.share(len(jobs))])
        shares = self.ranks.gather(own)
        return [shares[i % self.ranks.size][i // self.ranks.size] for i in range(len(jobs))]

    async def demonstrations(self, episodes: Sequence[tuple[Task, str]]) -> list[Trajectory | None]:
        """The world's solutions, through the world itself, in the memory and format of the run."""
        if not episodes:
            return []
        longest = max(len(self.world.solution(task) or ()) for task, _ in episodes)
        expert = self.runner.beside(Expert(self.world), max_turns=max(longest, 1), max_context=2**31 - 1)
        solved = [(task, group) for task, group in episodes if self.world.solution(task)]
        played = await self._shared(expert, [Job(task, group, 0, self.step) for task, group in solved])
        found = {t.group: t for t in played if t.outcome.success}
        return [found.get(group) for _, group in episodes]

    def hints(self, task: Task) -> Mapping[str, Sequence[str]]:
        """The world's own (`hints(task)`), or what its solution tells."""
        own = getattr(self.world, "hints", None)
        if own is not None:
            return own(task) or {}
        return hints_of_solution(self.world.solution(task) or ())


def _rollout(trajectory: Trajectory) -> int:
    return trajectory.rollout


def hints_of_solution(actions: Sequence[str]) -> dict[str, list[str]]:
    """Three tiers of help from the actions that solve a task; none without actions.

    knowledge: their first words, each once. planning: each action without the words that hold a digit, so that kinds of
    things stand for the things. solution: the actions. One word, as the answer to a puzzle, is in the last alone.
    Ours: the paper's hints are written by a larger model.
    """
    if not actions:
        return {}
    told = [[word for word in action.split() if not any(map(str.isdigit, word))] for action in actions]
    spoken = [words for words, action in zip(told, actions, strict=True) if words and len(action.split()) > 1]
    kinds = list(dict.fromkeys(words[0] for words in spoken))
    return {"knowledge": kinds, "planning": [" ".join(words) for words in spoken], "solution": list(actions)}


def refuse_without_help(composition: Composition, world: Any, tasks: Sequence[Task]) -> None:
    """Raises ConfigError where a rewrite needs solutions or hints and the first task of the panel has none."""
    for bound in composition.slots["rewrites"]:
        helped = "hints" in bound.part.needs and hasattr(world, "hints")
        if helped or not {"solutions", "hints"} & set(bound.part.needs):
            continue
        solve = getattr(world, "solution", None)
        if tasks and not (solve is not None and solve(tasks[0])):
            what = "demonstrations" if "solutions" in bound.part.needs else "hints"
            name = getattr(world, "__name__", type(world).__name__)
            raise ConfigError(
                f"part {bound.part.name!r} needs {what}, and {name} has no solution of its tasks; "
                "give the world a `solution(task)`"
            )
