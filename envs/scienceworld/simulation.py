"""One episode of the simulator: in the machine that all episodes of a process share, or in one of its own."""

from collections.abc import Callable
from typing import TypeVar

from agentrl.envs.scienceworld.machine import Machine, MachineDied, end_shared_machines, shared_machine
from agentrl.errors import ConfigError, WorldFailure

T = TypeVar("T")

MOST_OWN = 16
"""Machines of single episodes that a process may have at once; each takes 100 MB or more."""

_own: set[Machine] = set()


class Simulation:
    """A task that was loaded, and what was done in it.

    Where its machine has died, it is played again up to here in a new one: the same commands make the same episode. A
    request of which a second machine dies fails.
    """

    def __init__(self, task: str, variation: int, simplifications: str, *, heap: int, own: bool = False) -> None:
        """heap: MiB of the machine.   own: start one for this episode alone.

        Raises WorldFailure where the simulator cannot set the task up, MissingDependency without Java, ConfigError
        where this process has MOST_OWN machines already.
        """
        self._setup = (task, variation, simplifications)
        self._heap, self._alone = heap, own
        self._played: list[str | None] = []
        self._machine: Machine
        self._begin()

    def description(self) -> str:
        """What the task is."""
        return self._asked(lambda: self._machine.description(self._place))

    def step(self, command: str) -> tuple[str, int, bool]:
        """Play one command.   Returns what it is answered, the score from -100 to 100, and whether the task is done."""
        result = self._asked(lambda: self._machine.step(self._place, command))
        self._played.append(command)
        return result

    def valid(self) -> list[str]:
        """Every command that makes sense now. The simulator draws random numbers for it, so it is part of what was
        done."""
        found = self._asked(lambda: self._machine.valid(self._place))
        self._played.append(None)
        return found

    def close(self) -> None:
        """Leave the shared machine, or end one's own."""
        if self._alone:
            _own.discard(self._machine)
            self._machine.close()
        else:
            self._machine.give_back(self._place)

    def _begin(self) -> None:
        if self._alone:
            _own.difference_update([machine for machine in _own if not machine.alive])
            if len(_own) >= MOST_OWN:
                raise ConfigError(
                    f"strict: a worker would hold more than {MOST_OWN} Java machines; lower rollout.concurrency"
                )
            self._machine = Machine(self._heap)
            _own.add(self._machine)
        else:
            self._machine = shared_machine(self._heap)
        self._place = self._machine.take()
        error = self._machine.load(self._place, *self._setup)
        if error:
            self.close()
            raise WorldFailure(f"the simulator cannot set {self._setup[0]} {self._setup[1]} up: {error}")

    def _asked(self, ask: Callable[[], T]) -> T:
        self._revive()
        try:
            return ask()
        except MachineDied:
            self._revive()
            return ask()

    def _revive(self) -> None:
        if self._machine.alive:
            return
        self._machine.close()
        self._begin()
        for command in self._played:
            if command is None:
                self._machine.valid(self._place)
            else:
                self._machine.step(self._place, command)


def end_machines() -> None:
    """End every machine of this process; for tests, and for whoever counts processes."""
    end_shared_machines()
    while _own:
        _own.pop().close()
