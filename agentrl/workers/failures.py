"""Ways in which an episode loses its worker: by its own fault, by a neighbour's, or for want of memory."""

from agentrl.errors import AgentRLError, WorldFailure

MAX_WORDS = 2000
"""Characters of what a world says when it fails that are kept."""


class WorkerLost(WorldFailure):
    """The worker died or hung on a request of this very episode; the next try is played in a worker of its own."""


class OutOfMemory(WorldFailure):
    """The world ran into its worker's limit of memory. What it still holds is unknown, so the worker ends."""


class Displaced(WorldFailure):
    """The worker went down under another episode; this one is played again, and it does not count as a try."""


def told(failure: BaseException) -> str:
    """Type and text of what foreign code raised: its text may be endless, or fail to be made."""
    try:
        text = str(failure)
    except BaseException as another:
        text = f"(its text cannot be made: {type(another).__name__})"
    return shortened(f"{type(failure).__name__}: {text}" if text else type(failure).__name__)


def shortened(text: str) -> str:
    """A text of at most MAX_WORDS characters; what is no Unicode is replaced."""
    text = text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS]} ..."
    return text.encode("utf-8", "replace").decode()


def in_front(error: AgentRLError, world: str, operation: str) -> AgentRLError:
    """The error with the boundary's name in front, where it is a world's own and does not have it yet."""
    if type(error) not in (WorldFailure, OutOfMemory) or str(error).startswith(world):
        return error
    return type(error)(f"{world}.{operation}: {error}")
