"""Several processes as one trainer: they exchange small vectors and gradients, never activations."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from agentrl.errors import AgentRLError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among `size` processes; one alone needs no communication."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "Ranks":
        """The process group that is set up, or one process alone.

        Vectors of numbers stay on the CPU, so the group needs gloo beside NCCL: `init_process_group()` sets up both.
        """
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def leads(self) -> bool:
        """Rank 0 owns the curriculum, the run directory and the display."""
        return self.rank == 0

    def share(self, items: int) -> list[int]:
        """Numbers of the items that are this rank's."""
        return list(range(self.rank, items, self.size))

    def add(self, tensor: Tensor) -> Tensor:
        """Sum over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def add_all(self, tensors: Iterable[Tensor]) -> None:
        """Sum of each tensor over all ranks, in place, in one exchange a dtype."""
        if self.size == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for members in by_dtype.values():
            flat = torch.cat([m.reshape(-1) for m in members])
            dist.all_reduce(flat)
            for member, piece in zip(members, flat.split([m.numel() for m in members]), strict=True):
                member.copy_(piece.view_as(member))

    def gather(self, thing: Any) -> list[Any]:
        """What every rank holds, in the order of ranks."""
        if self.size == 1:
            return [thing]
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, thing)
        return gathered

    def first(self, act: Callable[[], T]) -> T:
        """What an act gives that rank 0 alone does, on every rank; and so the AgentRLError that it raises."""
        if self.size == 1:
            return act()
        found, failure = None, None
        if self.leads:
            try:
                found = act()
            except AgentRLError as error:
                failure = error
        found, failure = self.gather((found, failure))[0]
        if failure is not None:
            raise failure
        given: T = found
        return given
