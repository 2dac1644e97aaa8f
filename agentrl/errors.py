"""Every error that agentrl raises on purpose: one message each, so that all survive the way out of a worker process.

AgentRLError              anything that a user can put right; the command line prints it in one line, exit code 2
├── ConfigError           a setting that is unknown, or a value that cannot be
├── UnknownName           a name that no one has registered
├── MissingDependency     a package, program or data set that is not installed
├── DataError             a file that is missing, damaged or not of the form it should be
├── RunDirectoryError     a run directory that is in use, incomplete or of another run
└── BoundaryError         something foreign failed, with the boundary's name (the runner alone catches these)
    ├── WorldFailure      a world raised, hung or died
    └── PolicyFailure     a policy or its server raised, hung or died
"""

import contextlib
from collections.abc import Iterable, Iterator


class AgentRLError(Exception):
    """Anything that a user can put right. Takes one message."""


class ConfigError(AgentRLError):
    """A setting that is unknown, or a value that cannot be."""


class UnknownName(AgentRLError):
    """A name that no one has registered."""


class MissingDependency(AgentRLError):
    """A package, program or data set that is not installed."""


class DataError(AgentRLError):
    """A file that is missing, damaged or not of the form it should be."""


class RunDirectoryError(AgentRLError):
    """A run directory that is in use, incomplete or of another run."""


class BoundaryError(AgentRLError):
    """Something foreign failed; the message begins with the boundary's name."""


class WorldFailure(BoundaryError):
    """A world raised, hung or died."""


class PolicyFailure(BoundaryError):
    """A policy or its server raised, hung or died."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest of the known names, or an empty string."""
    from difflib import get_close_matches  # late: the command line imports this file before it can catch a Ctrl-C

    near = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown_name(kind: str, name: str, known: Iterable[str], listing: str) -> UnknownName:
    """The error for a name that is not there: what was wrong, the nearest, the command that lists all."""
    return UnknownName(f"unknown {kind} {name!r}{nearest(name, known)} (agentrl list {listing})")


def missing_package(what: str, package: str, install: str) -> MissingDependency:
    """The error for a package that is not installed: what needs it, and the command that puts it right."""
    return MissingDependency(f"{what} needs {package!r}, which is not installed. Run: {install}")


@contextlib.contextmanager
def boundary(error: type[BoundaryError], name: str) -> Iterator[None]:
    """Turn whatever escapes foreign code inside into `error`, with the boundary's name in front.

    KeyboardInterrupt, SystemExit and cancellation pass as they are; so does an error that is already of that type, and
    one that the user can put right (a DataError of a damaged game file).
    """
    try:
        yield
    except Exception as failure:
        if isinstance(failure, error) or (isinstance(failure, AgentRLError) and not isinstance(failure, BoundaryError)):
            raise
        raise error(f"{name}: {type(failure).__name__}: {failure}") from failure
