"""TensorBoard events of a run: the same numbers as metrics.jsonl, one curve a name."""

import contextlib
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EventLog:
    """Writes to a folder `tensorboard/`; a failure there never stops a run, since metrics.jsonl has everything."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """first_step: a resumed run hides what an earlier start wrote from this step on."""
        self._writer: Any = None
        with contextlib.suppress(ImportError, OSError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=first_step or None, flush_secs=30)

    def log(self, step: int, metrics: Mapping[str, Any], prefix: str) -> None:
        """Add one point to every curve whose value is a finite number."""
        if self._writer is None:
            return
        with contextlib.suppress(OSError):
            for name, value in metrics.items():
                if isinstance(value, (int, float)) and math.isfinite(value):
                    self._writer.add_scalar(f"{prefix}/{name}", value, step)

    def close(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None
