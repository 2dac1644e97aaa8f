"""TensorBoard reads what is written for it, also after a file that was cut, and after a resume."""

import builtins
from pathlib import Path

import pytest

from agentrl.event_log import EventLog

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every curve, as TensorBoard shows it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(point.step, round(point.tensor_proto.float_val[0], 6)) for point in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    } | {tag: [(p.step, round(p.value, 6)) for p in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_every_finite_number_is_a_point(tmp_path: Path) -> None:
    log = EventLog(tmp_path, 0)
    log.log(1, {"loss": 0.5, "words": "x", "bad": float("nan"), "number": 3}, "train")
    log.log(300, {"loss": -0.25}, "train")
    log.log(300, {"success": 1.0}, "validation")
    assert curves(tmp_path) == {
        "train/loss": [(1, 0.5), (300, -0.25)],
        "train/number": [(1, 3.0)],
        "validation/success": [(300, 1.0)],
    }


def test_a_resumed_run_hides_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    first = EventLog(tmp_path, 0)
    for step in range(1, 6):
        first.log(step, {"loss": 1.0}, "train")
    again = EventLog(tmp_path, 4)
    for step in range(4, 7):
        again.log(step, {"loss": 2.0}, "train")
    assert curves(tmp_path)["train/loss"] == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0)]


def test_a_disk_that_is_full_for_a_while_costs_those_points_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path, 0)
    log.log(1, {"loss": 1.0}, "train")
    with monkeypatch.context() as patch:

        def full(*arguments: object, **settings: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(builtins, "open", full)
        log.log(2, {"loss": 2.0}, "train")
    log.log(3, {"loss": 3.0}, "train")
    assert curves(tmp_path)["train/loss"] == [(1, 1.0), (3, 3.0)]
