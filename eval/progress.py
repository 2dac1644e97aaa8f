"""What an evaluation tells while it goes on: episodes over all cells, the time that is left, and the cost so far."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agentrl.display import Display, duration
from agentrl.types import ENDS, Trajectory

if TYPE_CHECKING:
    from agentrl.eval.evaluate import Plan
    from agentrl.eval.folders import Kept
    from agentrl.eval.results import EvalResult
    from agentrl.eval.seats import Seat


class Progress:
    """Counts episodes as they end, and shows them."""

    def __init__(self, display: Display, plans: "Sequence[Plan]", kept: "Sequence[Kept]") -> None:
        """kept: what is there of each cell; what that means is shown when the first is begun."""
        self._display = display
        self._num_cells = len(plans)
        self._total = sum(plan.num_episodes for plan in plans)
        before = [plan.num_episodes if k.result else len(k.played) for plan, k in zip(plans, kept, strict=True)]
        self._done = self._before = sum(before)
        self._of_cell = {plan.cell.name: number for plan, number in zip(plans, before, strict=True)}
        self._cells_over = sum(k.result is not None for k in kept)
        self._left_of: Counter[str] = Counter()
        for plan, number in zip(plans, before, strict=True):
            self._left_of[plan.cell.account] += plan.num_episodes - number
        self._paid: dict[str, tuple[Any, float | None, int]] = {}
        self._failures = 0
        self._begun: float | None = None
        self._notes = _notes(kept, self._before, self._total)

    def cell(self, plan: "Plan", seated: "Seat") -> None:
        """A cell is begun."""
        if self._begun is None:
            self._begun = time.monotonic()
            self._display.start(self._title(plan, seated), self._total)
            for note in self._notes:
                self._display.note(note)
        if hasattr(seated.policy, "usage"):
            self._paid.setdefault(plan.cell.account, (seated.policy, seated.policy.usage()["cost"], 0))
        self._tell(plan)

    def _title(self, plan: "Plan", seated: "Seat") -> str:
        if self._num_cells > 1:
            return f"{self._num_cells} cells, {self._total} episodes"
        cell = plan.cell
        how = f"{cell.split}, {cell.decoding}, {cell.repeats} a task"
        return f"{cell.config.env}: {cell.model or seated.name} on {len(plan.tasks)} tasks of {how}"

    def episode(self, plan: "Plan", trajectory: Trajectory) -> None:
        """An episode is over."""
        self._done += 1
        self._of_cell[plan.cell.name] += 1
        self._failures += ENDS[trajectory.ended].infrastructure
        if plan.cell.account in self._paid:
            policy, before, number = self._paid[plan.cell.account]
            self._paid[plan.cell.account] = policy, before, number + 1
        self._tell(plan)

    def _tell(self, plan: "Plan") -> None:
        text = "  ".join(part for part in (self._eta(), self._cost(), self._failed()) if part)
        self._display.progress(self._done, text)
        self._display.phase(plan.cell.name or "playing", self._of_cell[plan.cell.name], plan.num_episodes)

    def over(self, plan: "Plan", result: "EvalResult") -> None:
        """A cell is finished."""
        self._cells_over += 1
        if self._num_cells == 1:
            return
        low, high = result.success_interval
        share = f"success {100 * result.success:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {result.all.episodes}"
        failed = f"  failures {result.all.failures}" if result.all.failures else ""
        self._display.note(
            f"{self._cells_over}/{self._num_cells}  {plan.cell.name}  {share}{failed}  {duration(result.seconds)}"
        )

    def _eta(self) -> str:
        """By the episodes of this start; empty until one is over."""
        played = self._done - self._before
        if not played or self._begun is None or self._done >= self._total:
            return ""
        return f"ETA {duration((time.monotonic() - self._begun) / played * (self._total - self._done))}"

    def _cost(self) -> str:
        """Spent so far, and about what it will come to: by what the episodes of this start have cost."""
        parts = []
        for account, (policy, before, played) in self._paid.items():
            used = policy.usage()
            if used["cost"] is None:
                tokens = used["tokens"]
                parts.append(f"{tokens['input'] + tokens['output']:,} tokens")
                continue
            each = (used["cost"] - before) / played if played else 0.0
            left = self._left_of[account] - played
            about = f" of about {used['cost'] + each * left:.4f}" if played and left > 0 else ""
            parts.append(f"{used['cost']:.4f}{about} {used['currency']}")
        return " + ".join(parts)

    def _failed(self) -> str:
        return f"{self._failures} failures" if self._failures else ""


def _notes(kept: "Sequence[Kept]", before: int, total: int) -> list[str]:
    """What a resume should say."""
    notes = []
    if before:
        notes.append(f"going on: {before} of {total} episodes are there and are not played again")
    again, damaged = sum(found.again for found in kept), sum(found.damaged for found in kept)
    if again:
        notes.append(f"{again} episodes that ended by a failure of the infrastructure are played again")
    if damaged:
        notes.append(f"{damaged} lines that were cut when it was ended are dropped; their episodes are played again")
    return notes
