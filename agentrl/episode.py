"""One try of one episode: view, prompt, reply, action, step, until one of the ways of ending (`types.ENDS`)."""

import asyncio
import contextlib
import functools
import hashlib
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from agentrl.briefs import Briefs
from agentrl.config import RolloutConfig
from agentrl.errors import BoundaryError, ConfigError, PolicyFailure, WorldFailure, boundary
from agentrl.history import History
from agentrl.seeds import seed_of
from agentrl.types import (
    ENDS,
    Completion,
    Ended,
    Memory,
    Observation,
    Outcome,
    Policy,
    PromptFormat,
    Reply,
    Request,
    Sampling,
    StepResult,
    Task,
    Trajectory,
    Turn,
    View,
)
from agentrl.workers.hosts import LiveEnv

UNREADABLE = "Your reply could not be read, so nothing happened. Answer in the form that was asked for."
"""What stands in front of the last observation after a reply in which the format found no action."""

_NO_OUTCOME = Outcome(success=False, score=0.0)


@dataclass(frozen=True, slots=True)
class Job:
    """An episode to be played."""

    task: Task
    group: str
    """Rollouts of one task in one step share it."""
    rollout: int = 0
    """Its number among them; part of its seeds."""
    step: int = 0
    """Of the run; part of its seeds. The same step means the same chance, as a validation wants it."""
    greedy: bool = False
    temperature: float | None = None
    """None: `rollout.temperature`."""
    hint: str = ""
    """Told to the agent below the world's instructions, at every turn."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What all episodes of a runner share."""

    policy: Policy
    memory: Memory
    format: PromptFormat
    renderer: Any
    rollout: RolloutConfig
    briefs: Briefs
    seed: int
    reward: Callable[[Trajectory], Any] | None
    source: Any
    """`Trajectory.source` of what is played here."""


class Clock:
    """The time of one job, over all its tries, from the first's reset on."""

    def __init__(self, rollout: RolloutConfig) -> None:
        self._wall, self._working = rollout.wall_seconds, rollout.working_seconds
        self._begun = time.monotonic()
        self.waited = 0.0
        """Seconds that replies waited for rate limits and before further tries of a call."""

    @property
    def left(self) -> float | None:
        """Seconds of wall time until the limit; None where there is none."""
        return max(0.0, self._wall + self._begun - time.monotonic()) if self._wall else None

    @property
    def over(self) -> str:
        """Which limit is reached, in words; empty while none is."""
        spent = time.monotonic() - self._begun
        if self._wall and spent >= self._wall:
            return f"it took {spent:.1f} s; rollout.wall_seconds is {self._wall:g}"
        if self._working and spent - self.waited >= self._working:
            return f"it worked for {spent - self.waited:.1f} s; rollout.working_seconds is {self._working:g}"
        return ""


class _OutOfTime(Exception):
    """The wall time ended while a reply was waited for."""


class Episode:
    """One try. `play` returns its trajectory, whatever happens; `cause` is what ended it, where that was foreign."""

    def __init__(
        self, stage: Stage, job: Job, task: Task, env: LiveEnv, *, tries: int, name: str, clock: Clock | None = None
    ) -> None:
        """task: as it is played (its seed may be the rollout's own).   tries: of this job, this one included.

        name: this try's own, by which the policy keeps its keys and values.   clock: the job's; None: its own.
        """
        self._clock = clock or Clock(stage.rollout)
        self.cause: BoundaryError | None = None
        self._stage, self._job, self._task, self._env = stage, job, task, env
        self._tries, self._name = tries, name
        self._turns = History()
        self._observation: Observation | None = None
        self._seen: Observation | None = None  # what the world showed last, without our own words in front
        self._rendered: Any = None
        self._num_shown = 0  # images of the newest prompt that stand in turns before it
        self._world_seconds = 0.0
        self._refused = 0
        self._acted = 0
        self._sampled = 0  # tokens

    async def play(self) -> Trajectory:
        """Play to an end. Raises only what the user has to put right (ConfigError, DataError, ...)."""
        ended: Ended
        outcome = _NO_OUTCOME
        try:
            ended = await self._play()
            if not ENDS[ended].infrastructure:
                outcome = await self._env.outcome()
        except _OutOfTime:
            ended = "time_limit"
        except WorldFailure as failure:
            ended, self.cause = "world_failure", failure
        except BoundaryError as failure:
            ended, self.cause = "policy_failure", failure
        finally:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(self._stage.rollout.step_seconds):
                    await self._stage.policy.release(self._name)
            await self._env.close()
        trajectory = self._trajectory(ended, outcome)
        if self._stage.reward is not None and not ENDS[ended].infrastructure:
            try:
                await pay(trajectory, self._stage.reward, self._stage.rollout.step_seconds)
            except WorldFailure as failure:
                self.cause = failure
                trajectory = self._trajectory("world_failure", _NO_OUTCOME)
        return trajectory

    def _trajectory(self, ended: Ended, outcome: Outcome) -> Trajectory:
        failure = str(self.cause) if self.cause else None
        if ended == "time_limit":
            failure = self._clock.over or f"the world took {self._world_seconds:.1f} s"
        return Trajectory(
            task=self._task,
            group=self._job.group,
            rollout=self._job.rollout,
            turns=list(self._turns),
            final_observation=self._observation,
            outcome=outcome,
            ended=ended,
            failure=failure,
            tries=self._tries,
            source=self._stage.source,
            policy=getattr(self._stage.policy, "name", type(self._stage.policy).__name__),
            hint=self._job.hint,
        )

    async def _play(self) -> Ended:
        rollout = self._stage.rollout
        self._observation, reset_seconds = await self._env.reset(self._task)
        self._seen = self._observation
        self._world_seconds = reset_seconds
        while True:
            if self._acted >= rollout.max_turns or len(self._turns) >= 2 * rollout.max_turns:
                return "turn_limit"
            if self._clock.over:
                return "time_limit"
            with boundary(PolicyFailure, "prompt"):
                brief = self._stage.briefs(self._task)
                told = "\n\n".join(text for text in (brief.instructions, self._job.hint) if text)
                view = self._stage.memory.view(self._task, told, self._turns, self._observation, brief.tools)
            request = self._request(view, self._sampling(view))
            if request.prompt_ids is not None and self._room(request) < 0:
                return "context_limit"
            ended = await self._turn(view, request)
            if len(self._turns) == 1:
                self._turns[0].seconds["reset"] = reset_seconds
            if ended is not None:
                return ended

    def _room(self, request: Request) -> int:
        """Tokens of the context that prompt and reply would leave."""
        assert request.prompt_ids is not None
        return self._stage.rollout.max_context - len(request.prompt_ids) - request.sampling.max_new_tokens

    def _request(self, view: View, sampling: Sampling) -> Request:
        stage, ids = self._stage, None
        with boundary(PolicyFailure, "prompt"):
            messages = stage.format.messages(view)
            if stage.renderer is not None:
                before, completion = self._rendered, self._turns[-1].completion if self._turns else None
                self._rendered = stage.renderer.render(messages, None, before, completion)
                self._num_shown = len(before.images) if self._rendered.continues else 0
                ids = self._rendered.ids
            return Request(view, tuple(messages), ids, tuple(_images(messages)), sampling, self._name)

    def _sampling(self, view: View) -> Sampling:
        rollout, job = self._stage.rollout, self._job
        again = () if self._tries == 1 else ("try", self._tries)
        temperature = rollout.temperature if job.temperature is None else job.temperature
        candidates = None
        if rollout.constrain == "admissible" and view.kind == "act" and self._stage.policy.takes_ids:
            candidates = self._candidates(view)
        longest = max(map(len, candidates)) if candidates else rollout.max_new_tokens
        return Sampling(
            temperature=0.0 if job.greedy else temperature,
            top_p=rollout.top_p,
            top_k=rollout.top_k,
            max_new_tokens=longest,
            seed=seed_of(self._stage.seed, self._task.id, job.step, job.rollout, len(self._turns), *again),
            candidates=candidates,
        )

    def _candidates(self, view: View) -> tuple[tuple[int, ...], ...]:
        """Every reply that is allowed, as ids (the renderer remembers them).

        Raises ConfigError where the world or the format names none.
        """
        with boundary(PolicyFailure, "format"):
            texts = self._stage.format.candidates(view)
        if view.observation.admissible is None:
            raise ConfigError(
                f"rollout.constrain is admissible, but {self._task.env} tells no admissible actions; "
                "set rollout.constrain to none"
            )
        if texts is None:
            kind = type(self._stage.format).__name__
            raise ConfigError(
                f"rollout.constrain is admissible, but replies in the format {kind} are not one of a few texts; "
                "use --format action"
            )
        if not texts:
            raise WorldFailure(f"{self._task.env}: there is no admissible action")
        with boundary(PolicyFailure, "renderer"):
            return self._stage.renderer.distinct_replies(tuple(texts))

    async def _turn(self, view: View, request: Request) -> Ended | None:
        """Reply and step; the turn is on the trajectory once the world has answered."""
        start = time.perf_counter()
        completion = await self._complete(request)
        policy_seconds = time.perf_counter() - start
        self._clock.waited += completion.waited
        with boundary(PolicyFailure, "format"):
            reply = self._stage.format.parse(completion.text, view)
        turn = self._new_turn(view, request, completion, reply)
        turn.seconds = {"policy": policy_seconds, "world": 0.0}
        ended = None
        if view.kind == "summarise":
            self._turns.append(turn)
        else:
            ended = await self._act(turn, reply)
        return ended or self._limit(completion, request)

    def _new_turn(self, view: View, request: Request, completion: Completion, reply: Reply) -> Turn:
        rendered = self._rendered
        images = tuple(map(_hash, request.images)) if rendered is None else rendered.images[self._num_shown :]
        assert self._observation is not None
        return Turn(
            position=len(self._turns),
            observation=self._observation,
            prompt_ids=[] if rendered is None else list(rendered.new_ids),
            continues=rendered is not None and rendered.continues,
            completion=completion,
            action=reply.action,
            readable=reply.readable,
            valid=reply.readable,
            reward=0.0,
            kind=view.kind,
            report=reply.report,
            images=images,
        )

    async def _complete(self, request: Request) -> Completion:
        """The policy's reply.   Raises PolicyFailure, _OutOfTime."""
        try:
            async with asyncio.timeout(self._clock.left) as wall:
                return await self._reply(request)
        except TimeoutError:
            if not wall.expired():
                raise
        raise _OutOfTime

    async def _reply(self, request: Request) -> Completion:
        stage = self._stage
        with boundary(PolicyFailure, "policy"):
            try:
                limit = None if getattr(stage.policy, "keeps_time", False) else stage.rollout.generate_seconds
                async with asyncio.timeout(limit) as deadline:
                    completion = await stage.policy.generate(request)
            except TimeoutError:
                if not deadline.expired():
                    raise
                raise PolicyFailure(f"policy: no reply within {stage.rollout.generate_seconds:g} s") from None
            if stage.policy.takes_ids or stage.renderer is None:
                _check_lengths(completion)
                return completion
            ids = list(stage.renderer.reply_ids(completion.text))  # foreign text, tokenised once, here
            return replace(completion, token_ids=ids, logprobs=None, versions=[], allowed=None)

    async def _act(self, turn: Turn, reply: Reply) -> Ended | None:
        """What the reply's action does; a reply without one does nothing, and the agent is told so."""
        self._acted += 1
        assert self._seen is not None
        if reply.gave_up:
            self._turns.append(turn)
            return "gave_up"
        if not reply.readable and not reply.action:
            self._turns.append(turn)
            self._observation = replace(self._seen, text=f"{UNREADABLE}\n\n{self._seen.text}".rstrip())
            return self._patience(False)
        result, turn.seconds["world"] = await self._env.step(reply.action)
        self._world_seconds += turn.seconds["world"]
        return self._stepped(turn, result)

    def _stepped(self, turn: Turn, result: StepResult) -> Ended | None:
        turn.reward, turn.valid = result.reward, result.valid
        self._turns.append(turn)
        self._observation = self._seen = result.observation
        if result.terminated:
            return "done"
        if result.truncated:
            return "turn_limit"
        limit = self._stage.rollout.episode_seconds
        if limit and self._world_seconds > limit:
            return "time_limit"
        return self._patience(result.valid)

    def _patience(self, valid: bool) -> Ended | None:
        self._refused = 0 if valid else self._refused + 1
        patience = self._stage.rollout.patience
        return "gave_up" if patience and self._refused >= patience else None

    def _limit(self, completion: Completion, request: Request) -> Ended | None:
        """Did this reply use up the tokens: of the policy's context, or of the episode."""
        num_tokens = len(completion.token_ids)
        self._sampled += num_tokens or completion.output_tokens
        if completion.finish == "length" and 0 < num_tokens < request.sampling.max_new_tokens:
            return "context_limit"
        limit = self._stage.rollout.max_episode_tokens
        if limit and self._sampled >= limit:
            return "token_limit"
        return None


async def pay(trajectory: Trajectory, reward: Callable[[Trajectory], Any], seconds: float) -> None:
    """Add what the user's reward function gives: a number to the last turn, or a number to each.

    An `Outcome` replaces the world's, and its score what the turns were paid: the last turn gets it.
    reward: a function or coroutine function.   seconds: deadline of the latter, unless it has `seconds` of its own.
    Raises WorldFailure for what it raises, ConfigError for a list that is not one number a turn.
    """
    with boundary(WorldFailure, "reward"):
        paid = reward(trajectory)
        if inspect.isawaitable(paid):
            async with asyncio.timeout(getattr(reward, "seconds", seconds)):
                paid = await paid
        if isinstance(paid, Outcome):
            for turn in trajectory.turns:
                turn.reward = 0.0
            trajectory.outcome, paid = paid, paid.score
        single = isinstance(paid, (int, float)) or not hasattr(paid, "__len__")
        numbers = [float(paid)] if single else [float(number) for number in paid]
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"the reward is {paid}; it must be finite")
    turns = trajectory.turns[-1:] if single else trajectory.turns
    if not single and len(numbers) != len(turns):
        raise ConfigError(
            f"the reward function returned {len(numbers)} numbers for {len(turns)} turns; "
            "it must return one number, or one a turn"
        )
    for turn, number in zip(turns, numbers, strict=False):
        turn.reward += number


def _check_lengths(completion: Completion) -> None:
    for name in ("logprobs", "versions", "allowed"):
        values = getattr(completion, name)
        if values and len(values) != len(completion.token_ids):
            raise ValueError(f"{len(values)} {name} for {len(completion.token_ids)} tokens")


def _images(messages: Any) -> list[bytes]:
    """The images of all messages, in order."""
    contents = [said["content"] for said in messages if not isinstance(said["content"], str)]
    return [item["image"] for content in contents for item in content if item["type"] == "image"]


@functools.lru_cache(256)
def _hash(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()
