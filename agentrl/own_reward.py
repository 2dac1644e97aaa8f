"""The reward that a run names: a function of one's own (`module:function`), or what judges in place of the world.

`model:FOLDER` is a reward model, `judge:FILE.yaml` a model behind an API; a module of one's own with such a name has to
be called otherwise.
"""

import dataclasses
import inspect
import math
from collections.abc import Awaitable, Callable
from typing import Any

from agentrl.config import RunConfig
from agentrl.errors import ConfigError, WorldFailure
from agentrl.registry import load
from agentrl.settings import require
from agentrl.types import Outcome, Trajectory

Reward = Callable[[Trajectory], Any]

SCHEMES = {"model": "agentrl.model_reward:ModelReward", "judge": "agentrl.judges:JudgeReward"}
"""What stands before the colon -> a class, made with (what stands behind it, the configuration, the world)."""
_CHECKS = {"model": "agentrl.model_reward:refuse_what_is_none", "judge": "agentrl.judges:read_judge"}
"""The same -> what refuses it before anything is loaded."""
_READING = {"outcome": "reward-sum", "last-turn-outcome": "turn-reward"}
"""Returns that read the outcome alone -> those that credit the same turns with what was paid."""


class NamedReward:
    """A function of a module: trajectory -> a number for its last turn, or one a turn, or an Outcome in place of the
    world's; or a coroutine function.

    One that fails on its first episode stops the run, since it then hardly works on any: ConfigError. Later it costs
    the episode it fails on, as a world does: WorldFailure. Both name the function and the task.
    """

    def __init__(self, name: str) -> None:
        """name: `module:function`.   Raises UnknownName, ConfigError where there is no such function."""
        if ":" not in name:
            raise ConfigError(f"reward is {name!r}; write module:function, as rewards:brevity for rewards.py's brevity")
        self.name = name
        self._function = load("reward", name)
        self._proven = False
        if not callable(self._function):
            kind = type(self._function).__name__
            raise ConfigError(f"reward {name!r} is {kind}; it must be a function of a trajectory")

    def __call__(self, trajectory: Trajectory) -> Any:
        """What the function pays, checked; awaitable where the function is a coroutine function."""
        try:
            paid = self._function(trajectory)
            return self._awaited(paid, trajectory) if inspect.isawaitable(paid) else self._checked(paid)
        except Exception as error:
            raise self._failure(error, trajectory) from error

    async def _awaited(self, coming: Awaitable[Any], trajectory: Trajectory) -> float | list[float] | Outcome:
        try:
            return self._checked(await coming)
        except Exception as error:
            raise self._failure(error, trajectory) from error

    def _checked(self, paid: Any) -> float | list[float] | Outcome:
        if isinstance(paid, Outcome):
            self._checked(paid.score)
            return paid
        many = hasattr(paid, "__len__") and not isinstance(paid, (str, bytes))
        numbers = [float(number) for number in paid] if many else [float(paid)]
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"it returned {paid}; it must be finite")
        self._proven = True
        return numbers if many else numbers[0]

    def _failure(self, error: Exception, trajectory: Trajectory) -> ConfigError | WorldFailure:
        kind = WorldFailure if self._proven else ConfigError
        return kind(f"reward {self.name} on task {trajectory.task.id!r}: {type(error).__name__}: {error}")


def reward_of(config: RunConfig, given: Any = None, world: Any = None) -> Reward | None:
    """The reward function of a run: the one that is given, or the one that `reward` names.   world: one's own.

    Raises as NamedReward; DataError for a reward model or a judge's file that cannot be read.
    """
    if given is not None or not config.reward:
        found: Reward | None = given
        return found
    scheme, _, what = config.reward.partition(":")
    if scheme in SCHEMES:
        made: Reward = load("reward", SCHEMES[scheme])(what, config, world)
        return made
    return NamedReward(config.reward)


def learning_from_reward(config: RunConfig) -> RunConfig:
    """The configuration under which what `reward` pays is learned from: with returns that read what turns were paid.

    What judges in place of the world stands in the outcome and in the turn rewards, so that any returns read it.

    Raises ConfigError where the algorithm reads no rewards and there is no such returns part for it.
    """
    if not config.reward:
        return config
    from agentrl.composition import compose

    scheme, _, what = config.reward.partition(":")
    if scheme in SCHEMES:
        load("reward", _CHECKS[scheme])(what)
    else:
        NamedReward(config.reward)  # is it there
    composition = compose(config)
    parts = composition.parts
    learns = composition.algorithm.learns_from != "data" and "demonstrations" not in composition.needs
    if config.data and composition.algorithm.learns_from != "episodes":
        return config  # what is learned from was scored before; the reward is for what is judged
    if scheme in SCHEMES:
        require(learns, f"reward is {config.reward!r}, and {config.algo} plays no episodes that could be scored")
        return config
    if any("reward" in part.needs for slot in ("returns", "advantage") for part in parts[slot]):
        return config
    standing = next((part.name for part in parts["returns"]), "none")
    compares = parts["advantage"] or parts["pairing"]
    if not compares or "returns" in config.parts or standing not in _READING:
        raise ConfigError(
            f"reward is {config.reward!r}, which is added to the turn rewards, and {config.algo} with returns "
            f"{standing!r} does not read them; use one that has an advantage, and --set parts.returns=reward-sum"
        )
    return dataclasses.replace(config, parts={**config.parts, "returns": _READING[standing]})
