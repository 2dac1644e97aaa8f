"""What a worker's world has started, found through the kernel's table of processes, measured and ended (Linux).

A world may fork, and its children may leave their group, their session and their parent. Workers and the nursery are
*subreapers*: who has lost its parent becomes a child of the nearest of them, so that everything that a world ever
started stands below its worker, and below the nursery once the worker is gone. Elsewhere the group alone is killed.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_UNITS = 1024
"""Of the sizes in /proc: kB."""


def control(option: int, value: int) -> None:
    """One call of prctl; nothing where there is none."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value)


def die_with_parent() -> None:
    """From now on the system kills this process when its parent ends."""
    control(_PR_SET_PDEATHSIG, signal.SIGKILL)


def outlive_parent() -> None:
    """From now on it does not."""
    control(_PR_SET_PDEATHSIG, 0)


def adopt_orphans() -> None:
    """From now on descendants of this process that lose their parent become its children."""
    control(_PR_SET_CHILD_SUBREAPER, 1)


def children(pid: int) -> list[int]:
    """Of a process, zombies too; empty where it is gone or the system does not tell."""
    if not os.path.exists("/proc/self/task"):
        return []
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        return _children_by_scan(pid)
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def _children_by_scan(pid: int) -> list[int]:
    """The same for a kernel that lists no children."""
    return [number for number in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(number) == pid]


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _stat(pid: int) -> list[str]:
    """State, parent, ... of a process; empty where it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()
    return []


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for number in found:  # grows while it is gone through
        found += [child for child in children(number) if child not in found]
    return found


def is_alive(pid: int) -> bool:
    """Is it there, and no zombie."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def memory(pids: Collection[int], limit: int) -> int:
    """Bytes that processes hold and share with no file; what they share with each other counts once (above `limit`)."""
    held = sum(_field(pid, "status", ("RssAnon:", "RssShmem:", "VmSwap:")) for pid in pids)
    if held <= limit or len(pids) == 1:
        return held
    shared_out = [_field(pid, "smaps_rollup", ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")) for pid in pids]
    return sum(shared_out) if all(shared_out) else held


def _field(pid: int, name: str, labels: tuple[str, ...]) -> int:
    total = 0
    with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", encoding="utf-8") as file:
        for line in file:
            if line.startswith(labels):
                total += int(line.split()[1]) * _UNITS
    return total


def kill_group(pid: int) -> None:
    """Kill a process and its group, if they are there."""
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(pid, signal.SIGKILL)


def kill_children(spared: Collection[int], seconds: float) -> None:
    """Kill and bury the children of this process but the spared, and whoever becomes its child thereby.

    seconds: what forks faster than it can be killed, or cannot die, is left after so long.
    """
    end = time.monotonic() + seconds
    while True:
        strays = [pid for pid in children(os.getpid()) if pid not in spared]
        for pid in strays:  # all stand still before the first dies: none of them forks meanwhile
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGSTOP)
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not strays or time.monotonic() > end:
            return
        for pid in strays:
            _bury(pid, end)


def _bury(pid: int, end: float) -> None:
    """Wait until a killed child is gone."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < end:
            time.sleep(0.001)
