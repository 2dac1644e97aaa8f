"""The episodes that live in one worker, and the requests that are carried out on them, in order."""

import contextlib
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from agentrl.errors import AgentRLError, BoundaryError, WorldFailure
from agentrl.types import Observation, Outcome, StepResult
from agentrl.workers.answers import check_observation, check_outcome, check_step
from agentrl.workers.failures import OutOfMemory, shortened, told
from agentrl.workers.wire import Answer


@dataclass(frozen=True)
class EnvSource:
    """Where another process finds a world's Env class."""

    module: str
    qualname: str
    file: str | None
    """Where the module stands, for one that is on no import path."""
    arguments: tuple[Any, ...] = ()
    """What the class is called with."""
    preload: tuple[str, ...] = ()
    """Further modules that are imported once, before workers are forked."""

    @classmethod
    def of(cls, env_class: type, arguments: tuple[Any, ...]) -> "EnvSource | None":
        """None for a class that no other process can import: of a script, a notebook, or inside a function.

        A class may have a static `preload(*arguments)` that names modules which take long to import.
        """
        module = sys.modules.get(env_class.__module__)
        if module is None or env_class.__module__ == "__main__":
            return None
        preload = getattr(env_class, "preload", tuple)(*(arguments if hasattr(env_class, "preload") else ()))
        file = getattr(module, "__file__", None)
        source = cls(env_class.__module__, env_class.__qualname__, file, arguments, tuple(preload))
        try:
            found = source._attribute(module)
        except AttributeError:
            return None
        return source if found is env_class else None

    def _attribute(self, module: ModuleType) -> Any:
        found: Any = module
        for name in self.qualname.split("."):
            found = getattr(found, name)
        return found

    def load(self) -> Callable[[], Any]:
        """Import the class; what it returns makes one fresh Env."""
        env_class = self._attribute(import_module(self.module, self.file))
        return lambda: env_class(*self.arguments)


def import_module(name: str, file: str | None) -> ModuleType:
    """A module by its name, or, where it is on no import path, from its file under that name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if file is None or not name.startswith(error.name or "\0"):
            raise
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {name!r} from {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class Slots:
    """Many episodes interleaved in one thread: an Env each, made at reset and dropped at close."""

    def __init__(self) -> None:
        self._make: Callable[[], Any] | None = None
        self._envs: dict[int, Any] = {}

    def carry_out(self, operation: str, slot: int, argument: Any) -> Answer:
        """One request; whatever the world raises is in the answer."""
        start = time.perf_counter()
        try:
            value = self._carry_out(operation, slot, argument)
        except BaseException as failure:  # also `sys.exit`, or a Ctrl-C of its own: it ends its episode, no other
            return Answer(error=_as_ours(failure), seconds=time.perf_counter() - start)
        return Answer(value, seconds=time.perf_counter() - start)

    def _carry_out(self, operation: str, slot: int, argument: Any) -> Observation | StepResult | Outcome | None:
        if operation == "step":
            return check_step(self._envs[slot].step(argument))
        if operation == "reset":
            if self._make is None:
                raise WorldFailure("the worker was not started")
            self._envs[slot] = self._make()
            return check_observation(self._envs[slot].reset(argument))
        if operation == "outcome":
            return check_outcome(self._envs[slot].outcome())
        if operation == "close":
            env = self._envs.pop(slot, None)
            if env is not None and hasattr(env, "close"):
                env.close()
            return None
        if operation == "start":
            self._make = argument.load() if isinstance(argument, EnvSource) else argument
            return None
        raise WorldFailure(f"a worker knows no {operation!r}")

    def close(self) -> None:
        """Close what still lives, whatever it raises."""
        while self._envs:
            _, env = self._envs.popitem()
            with contextlib.suppress(BaseException):
                env.close()


def _as_ours(failure: BaseException) -> AgentRLError:
    """Errors that the user can put right as they are; everything else as a WorldFailure with type and text."""
    if isinstance(failure, AgentRLError) and (
        isinstance(failure, WorldFailure) or not isinstance(failure, BoundaryError)
    ):
        return type(failure)(shortened(str(failure)))
    if isinstance(failure, MemoryError):
        return OutOfMemory(told(failure))
    return WorldFailure(told(failure))
