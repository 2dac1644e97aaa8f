"""What a program is told to do, what it may use, and what is said of it in the end."""

from dataclasses import dataclass

from agentrl.settings import require


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one run of a program with all its tests may use."""

    cpu_seconds: int = 3
    """Processor time of a process of the program, in whole seconds."""
    wall_seconds: float = 10.0
    """Time of the whole run by the clock, from when the sandbox stands."""
    memory: int = 512
    """MiB of memory: address space of each process, and what all of them hold together."""
    processes: int = 16
    """Processes and threads that the program may have at once."""
    disk: int = 16
    """MiB of files, in a folder that lives in memory and ends with the run."""
    output: int = 1024
    """KiB that a program may print for a test, or return for a call."""

    def __post_init__(self) -> None:
        for name in ("cpu_seconds", "processes", "disk", "output"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; it must be at least 1")
        require(self.wall_seconds > 0, f"wall_seconds is {self.wall_seconds}; it must be above 0")
        require(self.memory >= 64, f"memory is {self.memory}; an interpreter needs at least 64 MiB")


@dataclass(frozen=True, slots=True)
class CallTests:
    """Tests that call the program's functions: `assert candidate([1, 2]) == 3`.

    They run in a process of their own, which the program cannot see; what the functions return comes to them as plain
    values (numbers, texts, lists, tuples, sets, dictionaries, bytes, None), never as an object of the program's.
    """

    checks: tuple[str, ...]
    """Python statements; each counts as passed where it raises nothing."""
    names: tuple[str, ...]
    """How the checks call the program's functions: `name`, or `name=expression` for what stands for it there."""
    setup: str = ""
    """Statements before the first check: imports, and functions that the checks need."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the program reads on its standard input, and what it must print."""

    given: str
    expected: str


@dataclass(frozen=True, slots=True)
class ExchangeTests:
    """Tests by standard input and output: the program is run once for each; it never sees what is expected.

    White space at the ends of lines and empty lines at the end do not count. It must end with exit code 0.
    """

    exchanges: tuple[Exchange, ...]


Tests = CallTests | ExchangeTests


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a run."""

    passed: int
    """Tests that were passed."""
    total: int
    """Tests that there were."""
    why: str
    """Of the first that was not: what went wrong, at most 300 characters; empty where all were passed."""
    seconds: float
    """By the clock, from when the sandbox stood."""
    isolation: str
    """How the program was kept in: `bubblewrap`, `namespaces`, or `none`."""

    @property
    def right(self) -> bool:
        """Were there tests, and were all passed."""
        return 0 < self.total == self.passed
