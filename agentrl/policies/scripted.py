"""Policies without a model, for tests, baselines and demonstrations; they write in the runner's format."""

import random
import re
from collections.abc import Callable
from typing import Any, Literal

from agentrl.errors import ConfigError
from agentrl.seeds import seed_of
from agentrl.types import Completion, PromptFormat, Request, Task, View

Source = Literal["sampled", "demonstration", "logged", "api"]

_REMEMBERED_TASKS = 4096
_LONGEST_LINE = 160
_LONGEST_SYNTHESIS = 1_200
"""Characters of a scripted policy's synthesis, and of what it holds of one turn."""
_LONGEST_REPORT = 400
"""Characters of its report, which is written anew every turn."""


class Scripted:
    """Replies with what a function says.

    function: View -> the text of the reply.
    """

    takes_ids = False
    source: Source = "logged"

    def __init__(self, function: Callable[[View], str], *, name: str = "scripted") -> None:
        self._function = function
        self.name = name

    async def generate(self, request: Request) -> Completion:
        return Completion(self._function(request.view))

    async def release(self, episode: str) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing is kept."""


class _Writer:
    """A scripted policy that chooses an action and lets the format write it."""

    takes_ids = False
    source: Source = "logged"

    def __init__(self, format: PromptFormat | None) -> None:
        self.format = format
        """The runner sets its own where there is none."""

    def choose(self, request: Request) -> str:
        raise NotImplementedError

    async def generate(self, request: Request) -> Completion:
        action = self.choose(request) if request.view.kind == "act" else ""
        return Completion(write(self.format, action, request.view))

    async def release(self, episode: str) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing is kept."""


def write(format: Any, action: str, view: View) -> str:
    """The reply that holds an action; where the format wants a report, it is a plain one.

    Where a synthesis is asked for, it is a plain one, whatever the action.
    Raises ConfigError without a format, DataError for an action that the format cannot hold.
    """
    if format is None:
        raise ConfigError("a scripted policy needs the format in which it replies; pass format=...")
    if view.kind == "summarise":
        return str(format.write("", view, report=plain_synthesis(view)))
    text: str = format.write(action, view, report=plain_report(view))
    return text


def plain_report(view: View) -> str:
    """What was done so far, an action a line; the newest that fit.   Tags are left out."""
    lines = [*(view.report or "").splitlines(), *(_line(exchange.action) for exchange in view.exchanges[-1:])]
    return _newest(lines, _LONGEST_REPORT)


def plain_synthesis(view: View) -> str:
    """What was done and what came of it, a line a turn, behind the lines of the synthesis before; the newest that fit.

    Tags are left out: no format may take them for its own.
    """
    came = [*(exchange.observation for exchange in view.exchanges[1:]), view.observation]
    lines = (view.report or "").splitlines()
    for exchange, observation in zip(view.exchanges, came, strict=True):
        lines.append(f"{_line(exchange.action)}: {_line(observation.text)}")
    return _newest(lines, _LONGEST_SYNTHESIS) or "nothing yet"


def _newest(lines: list[str], most: int) -> str:
    """The last lines, as many as have so many characters together, one at least."""
    lines = [line for line in lines if line.strip()]
    while len(lines) > 1 and sum(map(len, lines)) > most:
        lines.pop(0)
    return "\n".join(lines)


def _line(text: str) -> str:
    """A text in one line, without tags."""
    return " ".join(re.sub(r"</?\w+>", " ", text[:_LONGEST_LINE]).split())


class RandomAdmissible(_Writer):
    """One of the admissible actions, each as likely; the same for the same seeds, at any concurrency.

    world: a world's module. Where a moment has no admissible actions, it is asked for a blind guess, if it has
    `guess(task, seed)`: an action of the right form by somebody who does not know what is asked.
    """

    name = "random"

    def __init__(self, seed: int = 0, *, world: Any = None, format: PromptFormat | None = None) -> None:
        super().__init__(format)
        self._seed = seed
        self._guess: Callable[[Task, int], str] | None = getattr(world, "guess", None)

    def choose(self, request: Request) -> str:
        """Raises ConfigError where the world tells no admissible actions and guesses none."""
        seed = seed_of(self._seed, request.sampling.seed)
        if not request.view.observation.admissible and self._guess is not None:
            return self._guess(request.view.task, seed)
        actions = _admissible(request.view)
        return actions[random.Random(seed).randrange(len(actions))]


class Expert(_Writer):
    """Plays the world's own solution of a task, action by action; after its end, or without one, the first admissible.

    world: a world's module; anything with `solution(task)`.
    """

    name = "expert"
    source: Source = "demonstration"

    def __init__(self, world: Any, *, format: PromptFormat | None = None) -> None:
        super().__init__(format)
        self._world = world
        self._solutions: dict[tuple[str, int], tuple[str, ...]] = {}

    def _solution(self, task: Task) -> tuple[str, ...]:
        key = (task.id, task.seed)
        if key not in self._solutions:
            if len(self._solutions) >= _REMEMBERED_TASKS:
                self._solutions.clear()
            self._solutions[key] = tuple(self._world.solution(task) or ())
        return self._solutions[key]

    def choose(self, request: Request) -> str:
        """Raises ConfigError where there is neither a solution nor an admissible action."""
        actions, turn = self._solution(request.view.task), request.view.turn
        return actions[turn] if turn < len(actions) else _admissible(request.view)[0]


def _admissible(view: View) -> tuple[str, ...]:
    actions = view.observation.admissible
    if not actions:
        raise ConfigError(
            f"{view.task.env} tells no admissible actions, and this policy knows no others; use another policy"
        )
    return actions
