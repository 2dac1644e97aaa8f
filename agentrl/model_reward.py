"""A reward model as the reward of a run (`--reward model:FOLDER`): episodes scored in batches, in place of the world.

The score stands where the world's own stood (`Outcome.score`, and the last turn's reward), so that any algorithm learns
from it; success stays the world's. Both scores are kept, as `proxy` and `world` of `Outcome.components`. Scores are
taken as they are: what compares them within a group needs no other scale. An episode that cannot be scored is an
infrastructure failure, never a number.

Every episode is written anew in the words and ids of the reward model, whoever played it: with the memory and format
that its `agentrl.json` names, so that the policy may be another model.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentrl.briefs import briefs_of
from agentrl.composition import build, world_settings
from agentrl.config import RunConfig
from agentrl.errors import ConfigError, WorldFailure
from agentrl.foreign import Tokeniser, read_episodes
from agentrl.policies.scripted import Expert
from agentrl.registry import load
from agentrl.runner import Job, Runner
from agentrl.types import Completion, Outcome, Task, Trajectory, Turn

PROXY, WORLD = "proxy", "world"
"""Names of the two scores among an outcome's components."""
COLLECT_SECONDS = 0.005
"""How long a batch waits for further episodes."""
SECONDS = 600.0
"""Deadline of a score."""

Ids = tuple[int, ...]


def judged(trajectory: Trajectory, score: float, answer: str | None = None) -> Outcome:
    """The outcome of an episode with a score in place of the world's, which is kept beside it.

    Raises WorldFailure for a score that is not finite.
    """
    own = trajectory.outcome
    if not math.isfinite(score):
        raise WorldFailure(f"reward: the score of task {trajectory.task.id!r} is {score}")
    components = {**own.components, PROXY: score, WORLD: own.score}
    return replace(own, score=score, components=components)


class ModelReward:
    """Scores one episode at a time, as a runner asks, in batches of those that come together."""

    seconds = SECONDS

    def __init__(self, name: str, config: RunConfig, world: Any = None) -> None:
        """name: folder of a reward model, or of the run that trained it.   world: one's own; None: the config's.

        Raises DataError for what is no reward model, ConfigError where its references cannot be had.
        """
        from agentrl.models.polar_form import PolarWriter
        from agentrl.models.reward_model import load_reward_model

        self._model = load_reward_model(name, dtype=config.model.dtype, device=config.model.device)
        self._world = world if world is not None else load("env", config.env)
        self._world_config = world_settings(self._world, config.env_settings)
        self._briefs = briefs_of(self._world, self._world_config)
        spoken, reward = self._model.model.defaults, self._model.form
        self._memory = build("memory", spoken.get("memory", config.memory), spoken.get("memory_settings", {}))
        self._format = build("format", spoken.get("format", config.format), spoken.get("format_settings", {}))
        self._alone = config.rollout.deterministic
        self._writer = PolarWriter(self._model.model.tokenizer, reward.polar) if reward.form == "polar" else None
        self._named: dict[str, str] = {}
        self._solutions: dict[tuple[str, int], str] = {}
        self._expert: Runner | None = None
        if self._writer is not None:
            self._find_references(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[tuple[Ids, asyncio.Future[float]]] = []
        self._scoring: asyncio.Task[None] | None = None
        self._playing: dict[tuple[str, int], asyncio.Future[str]] = {}

    async def __call__(self, trajectory: Trajectory) -> Outcome:
        """The episode's outcome with the score of the reward model.   Raises WorldFailure where there is none."""
        if self._loop is not asyncio.get_running_loop():  # what another one left behind is nobody's any more
            self._loop, self._waiting, self._scoring, self._playing = asyncio.get_running_loop(), [], None, {}
        return judged(trajectory, await self._score(await self._ids(trajectory)))

    async def _ids(self, trajectory: Trajectory) -> Ids:
        from agentrl.models.reward_model import read_ids

        if not any(turn.completion.text or turn.completion.token_ids for turn in trajectory.turns):
            raise WorldFailure(f"reward: an episode of task {trajectory.task.id!r} holds no reply that could be scored")
        if self._writer is None:
            return read_ids(self._written(trajectory))
        return read_ids(self._writer.written(trajectory, await self._reference(trajectory)))

    def _written(self, trajectory: Trajectory) -> Trajectory:
        """The episode in the ids of the reward model."""
        turns: list[Turn] = []
        brief, tokeniser = self._briefs(trajectory.task), Tokeniser(self._model.model.renderer)
        for turn in trajectory.turns:
            view = self._memory.view(trajectory.task, brief.instructions, turns, turn.observation, brief.tools)
            ids = tokeniser.turn(self._format.messages(view), turn.completion.text)
            if ids.images:
                raise ConfigError("the episodes hold images, which a reward model cannot be shown yet; name a judge")
            said = Completion(turn.completion.text, token_ids=list(ids.token_ids))
            turns.append(replace(turn, prompt_ids=list(ids.prompt_ids), continues=ids.continues, completion=said))
        return replace(trajectory, turns=turns)

    # ---- batches

    async def _score(self, ids: Ids) -> float:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[float] = loop.create_future()
        self._waiting.append((ids, answer))
        if self._scoring is None:
            self._scoring = loop.create_task(self._score_all())
        return await answer

    async def _score_all(self) -> None:
        """Score what waits, and what comes meanwhile, a batch after the other; the model works in a thread."""
        try:
            while self._waiting:
                await asyncio.sleep(COLLECT_SECONDS)
                waiting, self._waiting = self._waiting, []
                await self._answer(waiting)
        finally:
            self._scoring = None

    async def _answer(self, waiting: Sequence[tuple[Ids, asyncio.Future[float]]]) -> None:
        sequences = [ids for ids, _ in waiting]
        try:
            scores = (await asyncio.to_thread(self._model.score_ids, sequences, alone=self._alone)).tolist()
        except Exception as error:
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(WorldFailure(f"reward: {type(error).__name__}: {error}"))
            return
        for (_, answer), score in zip(waiting, scores, strict=True):
            if not answer.done():
                answer.set_result(score)

    # ---- references of a policy discriminator

    def _find_references(self, config: RunConfig) -> None:
        assert self._writer is not None
        source = config.reward_settings.references
        if source:
            best: dict[str, Trajectory] = {}
            for trajectory in read_episodes(source):
                found = best.setdefault(trajectory.task.id, trajectory)
                if trajectory.outcome.score > found.outcome.score:
                    best[trajectory.task.id] = trajectory
            self._named = {task: self._writer.answer(found) for task, found in best.items()}
            return
        if getattr(self._world, "solution", None) is None:
            raise ConfigError(
                "this reward model compares with a reference, and the world has no solutions; name episodes to compare "
                "with, as --set reward_settings.references=runs/demonstrations"
            )
        shown = build("format", config.format, config.format_settings)
        rollout = replace(RunConfig().rollout, max_context=2**31 - 1, workers=1)
        expert = Expert(self._world, format=shown)
        self._expert = Runner(self._world, expert, format=shown, rollout=rollout, config=self._world_config)

    async def _reference(self, trajectory: Trajectory) -> str:
        """What this episode is compared with: its own, that of `references`, or the world's solution, played."""
        task, key = trajectory.task, (trajectory.task.id, trajectory.task.seed)
        if trajectory.reference or task.id in self._named:
            return trajectory.reference or self._named[task.id]
        if key not in self._solutions:
            if key not in self._playing:  # all rollouts of a task wait for one
                self._playing[key] = asyncio.ensure_future(self._solved(task))
            try:
                self._solutions[key] = await asyncio.shield(self._playing[key])
            finally:
                self._playing.pop(key, None)
        return self._solutions[key]

    async def _solved(self, task: Task) -> str:
        assert self._writer is not None
        actions = None if self._expert is None else self._world.solution(task)
        if self._expert is None or not actions:
            raise WorldFailure(f"reward: there is no reference for task {task.id!r}")
        expert = self._expert.beside(self._expert.policy, max_turns=len(actions))
        (played,) = await expert.run([Job(task, task.id)])
        if played.failure or not played.turns:
            raise WorldFailure(f"reward: the reference of task {task.id!r} failed: {played.failure}")
        return self._writer.answer(played)

    async def close(self) -> None:
        """End the workers in which solutions are played; the next one starts new ones."""
        if self._expert is not None:
            await self._expert.close()


def refuse_what_is_none(name: str) -> None:
    """Raises DataError for what is no reward model, before anything is loaded."""
    from agentrl.models.reward_model import form_of, reward_model_folder

    form_of(reward_model_folder(Path(name)))
