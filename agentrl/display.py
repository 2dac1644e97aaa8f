"""What a run shows: live progress on a terminal, one plain line a step in a log, and the summary at the end."""

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agentrl.statistics import TOTAL, Tally

SHOWN: tuple[tuple[str, tuple[str, ...], Callable[[float], str]], ...] = (
    ("success", ("success",), lambda v: f"{100 * v:.1f} %"),
    ("reward", ("reward",), lambda v: f"{v:.3f}"),
    ("pairs in order", ("pair_accuracy", "accuracy"), lambda v: f"{100 * v:.1f} %"),
    ("entropy", ("entropy",), lambda v: f"{v:.3f}"),
    ("KL", ("kl/from_reference", "ppo/kl_from_old", "kl"), lambda v: f"{v:.2g}"),
    ("loss", ("loss",), lambda v: f"{v:.3g}"),
    ("tokens/s", ("tokens_per_second",), lambda v: f"{v:,.0f}"),
)
"""What a step's line shows: label, names of the metric (also behind a `/`), how its value is written."""

QUIET_SECONDS = 30.0
"""A log that had no line for so long gets one that says how far the phase is."""


@dataclass(frozen=True)
class SummaryRow:
    """One line of the final table."""

    name: str
    before: Tally | None
    after: Tally | None


def summary_rows(
    before: Mapping[str, Tally] | None, after: Mapping[str, Tally] | None, label: str = "success"
) -> list[SummaryRow]:
    """The final table of two validations by task kind (`statistics.tally_by_kind`): all episodes first."""
    first, last = before or {}, after or {}
    kinds = [k for k in (*first, *(k for k in last if k not in first)) if k != TOTAL]
    rows = [SummaryRow(label, first.get(TOTAL), last.get(TOTAL))]
    return rows + [SummaryRow(f"  {kind}", first.get(kind), last.get(kind)) for kind in sorted(kinds)]


def what_next(
    run_dir: str | os.PathLike[str], env: str, checkpoint: str | os.PathLike[str] | None, data: str = ""
) -> list[str]:
    """The lines under the final table: where the run is, and how to play, judge and continue it.

    data: of a world that has its tasks from there and pays nothing by itself.
    """
    lines = [f"Run directory: {os.fspath(run_dir)}"]
    if checkpoint is not None and (Path(checkpoint) / "reward_model.json").is_file():
        lines.append(f"Learn from it: agentrl train --env ENV --algo grpo --reward model:{os.fspath(run_dir)}")
    elif checkpoint is not None and data:
        lines.append(f"Talk to it:    agentrl play --env {env} --data {data} --policy {os.fspath(checkpoint)}")
    elif checkpoint is not None:
        lines.append(f"Watch it play: agentrl play --env {env} --policy {os.fspath(checkpoint)}")
        lines.append(f"Judge it:      agentrl eval --env {env} --policy {os.fspath(checkpoint)}")
    return [*lines, f"Continue it:   agentrl train --resume {os.fspath(run_dir)}"]


class _Writer(Protocol):
    def start(self, title: str, num_steps: int) -> None: ...
    def phase(self, name: str, done: int, total: int) -> None: ...
    def step(self, step: int, metrics: Mapping[str, Any]) -> None: ...
    def progress(self, done: int, text: str) -> None: ...
    def line(self, text: str) -> None: ...
    def table(self, table: Table) -> None: ...
    def close(self) -> None: ...


class Display:
    """What the training loop tells of itself. No method raises: a display that fails falls silent, the run goes on."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """stream: default standard output; live progress where it is a terminal, plain lines where it is not."""
        target = stream if stream is not None else sys.stdout
        live = target.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self._writer: _Writer | None = _Terminal(target) if live else _Log(target)

    def start(self, title: str, num_steps: int) -> None:
        """A run of `num_steps` steps begins."""
        self._tell(lambda writer: writer.start(title, num_steps))

    def phase(self, name: str, done: int, total: int) -> None:
        """Within a step: so many of the phase's episodes, batches or files are done. total 0: not known."""
        self._tell(lambda writer: writer.phase(name, done, total))

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Step `step` (1 is the first) is over."""
        self._tell(lambda writer: writer.step(step, metrics))

    def progress(self, done: int, text: str) -> None:
        """Of the steps that `start` named so many are done; text: time that is left, cost so far."""
        self._tell(lambda writer: writer.progress(done, text))

    def validation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """The policy was judged after step `step` (0: before the first)."""
        self._tell(lambda writer: writer.line(f"validation after step {step}  {_written(metrics)}"))

    def note(self, text: str) -> None:
        """Something that the user should know, in one line."""
        self._tell(lambda writer: writer.line(text))

    def finish(self, summary: Iterable[SummaryRow | str]) -> None:
        """The run is over: rows become a table of before and after with 95 % Wilson intervals, text stands under it."""
        entries = list(summary)
        rows = [entry for entry in entries if isinstance(entry, SummaryRow)]
        lines = [str(entry) for entry in entries if not isinstance(entry, SummaryRow)]

        def tell(writer: _Writer) -> None:
            writer.close()
            if rows:
                writer.table(_summary_table(rows))
            for line in lines:
                writer.line(line)

        self._tell(tell)

    def close(self) -> None:
        """Give the terminal back; `finish` does it too."""
        self._tell(lambda writer: writer.close())

    def _tell(self, what: Callable[[_Writer], None]) -> None:
        if self._writer is None:
            return
        try:
            what(self._writer)
        except Exception:  # a closed pipe, a terminal that went away, a value that cannot be written: never the run
            broken, self._writer = self._writer, None
            with contextlib.suppress(Exception):
                broken.close()


class Silent(Display):
    """Shows nothing."""

    def __init__(self) -> None:
        self._writer = None


class _Pace:
    """How long the rest will take, by the steps so far."""

    def __init__(self) -> None:
        self._num_steps = 0
        self._first: tuple[int, float] | None = None

    def start(self, num_steps: int) -> None:
        self._num_steps = num_steps
        self._first = None

    def left(self, step: int) -> str:
        """As `ETA 3 min`; empty until two steps are over."""
        now = time.monotonic()
        if self._first is None:
            self._first = (step, now)
            return ""
        first, since = self._first
        if step <= first or step >= self._num_steps:
            return ""
        return f"ETA {duration((now - since) / (step - first) * (self._num_steps - step))}"


class _Log:
    """Plain lines, each flushed: for files, pipes and terminals that cannot move the cursor."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._pace = _Pace()
        self._num_steps = 0
        self._last = time.monotonic()
        self._told = ""

    def start(self, title: str, num_steps: int) -> None:
        self._num_steps = num_steps
        self._told = ""
        self._pace.start(num_steps)
        self.line(title)

    def phase(self, name: str, done: int, total: int) -> None:
        if time.monotonic() - self._last >= QUIET_SECONDS:
            here = f"{name} {done}/{total}" if total else f"{name} {done}"
            self.line(f"  {here}  {self._told}".rstrip())

    def progress(self, done: int, text: str) -> None:
        self._told = "  ".join(part for part in (f"in all {done}/{self._num_steps}", text) if part)

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        parts = [f"step {step}/{self._num_steps}", _written(metrics), self._pace.left(step)]
        self.line("  ".join(part for part in parts if part))

    def line(self, text: str) -> None:
        self._stream.write(_one_line(text) + "\n")
        self._stream.flush()
        self._last = time.monotonic()

    def table(self, table: Table) -> None:
        Console(file=self._stream, width=100, color_system=None).print(table)
        self._stream.flush()

    def close(self) -> None:
        pass


class _Terminal:
    """A live block at the foot of the terminal: progress over steps, the last step's metrics, the phase."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._pace = _Pace()
        self._live: Live | None = None
        self._title, self._num_steps, self._step = "", 0, 0
        self._metrics = self._left = ""
        self._phase: tuple[str, int, int] = ("", 0, 0)

    def start(self, title: str, num_steps: int) -> None:
        self.close()
        self._title, self._num_steps = title, num_steps
        self._pace.start(num_steps)
        self._console.print(Text(_one_line(title), style="bold"))
        self._live = Live(console=self._console, get_renderable=self._block, refresh_per_second=4, transient=True)
        self._live.start()

    def phase(self, name: str, done: int, total: int) -> None:
        self._phase = (name, done, total)

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._step, self._metrics, self._left = step, _written(metrics), self._pace.left(step)
        self.line(f"step {step}/{self._num_steps}  {self._metrics}")

    def progress(self, done: int, text: str) -> None:
        self._step, self._left = done, text

    def line(self, text: str) -> None:
        self._console.print(Text(_one_line(text)), highlight=False)

    def table(self, table: Table) -> None:
        self._console.print(table)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _block(self) -> RenderableType:
        name, done, total = self._phase
        steps = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(self._num_steps, 1), completed=self._step, width=40)
        steps.add_row(bar, f"{self._step}/{self._num_steps}", self._left)
        if name:
            inner = ProgressBar(total=total or None, completed=done, width=40, pulse=not total)
            steps.add_row(inner, f"{done}/{total}" if total else str(done), name)
        return Group(steps)


def _summary_table(rows: Sequence[SummaryRow]) -> Table:
    table = Table(title="What was learned", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for head in ("before", "after"):
        table.add_column(head, justify="right")
        table.add_column("95 % interval", justify="right")
        table.add_column("episodes", justify="right")
    failures = any(t.failures for row in rows for t in (row.before, row.after) if t)
    if failures:
        table.add_column("infrastructure failures", justify="right")
    for row in rows:
        cells = [cell for tally in (row.before, row.after) for cell in tally_cells(tally)]
        if failures:
            cells.append(str(sum(t.failures for t in (row.before, row.after) if t)))
        table.add_row(Text(row.name), *cells)
    return table


def tally_cells(tally: Tally | None) -> tuple[str, str, str]:
    """Success, its 95 % Wilson interval, and the number of scored episodes, as a table shows them."""
    if tally is None:
        return "-", "", ""
    if not tally.episodes:
        return "-", "", "0"
    low, high = tally.interval
    return f"{100 * tally.success:.1f} %", f"{100 * low:.1f}-{100 * high:.1f} %", str(tally.episodes)


def _written(metrics: Mapping[str, Any]) -> str:
    """The shown metrics among those given, in one line."""
    parts = []
    for label, names, write in SHOWN:
        value = _find(metrics, names)
        if value is not None:
            parts.append(f"{label} {write(value) if math.isfinite(value) else '-'}")
    return "  ".join(parts)


def _find(metrics: Mapping[str, Any], names: Sequence[str]) -> float | None:
    """The first of the names that is there as a number; a bare name is also found behind a `/`."""
    for name in names:
        keys = [name, *(key for key in metrics if "/" not in name and key.rpartition("/")[2] == name)]
        for key in keys:
            with contextlib.suppress(TypeError, ValueError, KeyError):
                return float(metrics[key])
    return None


def duration(seconds: float) -> str:
    """A time as a person says it: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _one_line(text: str) -> str:
    """Without line breaks and control characters: what a world or a model says must not move the cursor."""
    return "".join(c if c.isprintable() else " " for c in text)
