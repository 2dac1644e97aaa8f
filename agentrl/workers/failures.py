"""Two ways in which an episode loses its worker: by its own fault, or by a neighbour's."""

from agentrl.errors import WorldFailure


class WorkerLost(WorldFailure):
    """The worker died or hung on a request of this very episode; the next try is played in a worker of its own."""


class Displaced(WorldFailure):
    """The worker went down under another episode; this one is played again, and it does not count as a try."""
