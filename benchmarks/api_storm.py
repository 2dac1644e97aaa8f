"""A thousand episodes at concurrency 128 against a server that misbehaves on command.

    python -m benchmarks.api_storm
    python -m benchmarks.api_storm --tasks 50 --repeats 2 --client plain

429 storms with Retry-After, 500s, hangs, lost and cut connections, malformed JSON, empty choices, HTML, slow pieces.
Three evaluations: a clean one, the storm, and the storm with half of the money that the clean one cost. What the server
did and what has to be true of it is printed as each ends; the exit status is 1 where something is not as it has to be.
Server and agent share a process: about four milliseconds of processor time a call, and some minutes on a busy machine,
where `--timeout` must be long enough that whole answers are not taken for lost ones (they would be counted as late).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.api_storm import Misbehaving, Storm, play


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--concurrency", type=int, default=128)
    parser.add_argument("--client", choices=["openai", "plain"], default="openai")
    parser.add_argument("--timeout", type=float, default=20.0, help="deadline of a call; a hang lasts so long")
    args = parser.parse_args()
    how = args.tasks, args.repeats, args.concurrency
    api = {"client": args.client, "timeout": args.timeout}
    with tempfile.TemporaryDirectory() as folder:
        clean = _timed("clean", Misbehaving(share=0.0, storm_every=0), Path(folder), how, api)
        storm = _timed("storm", Misbehaving(), Path(folder), how, api)
        holds = _table(storm.checks(clean))
        limit = clean.policy["cost"] / 2
        limited = _timed("limited", Misbehaving(), Path(folder), how, api | {"max_cost": limit})
        holds = _table(limited.limit_checks(limit)) and holds
    return 0 if holds else 1


def _timed(name: str, server: Misbehaving, folder: Path, how: tuple[int, int, int], api: dict[str, Any]) -> Storm:
    wall, processor = time.perf_counter(), time.process_time()
    played = play(server, folder / name, *how, **api)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(
        f"\n{name}: {len(played.scores)} episodes, {wall:.0f} s ({processor:.0f} s of processor time), "
        f"{server.calls} calls, {played.policy['replies']} replies",
        flush=True,
    )
    if server.bad:
        print(
            "  the server's: " + ", ".join(f"{number} {what}" for what, number in sorted(server.bad.items()) if number)
        )
        print("  failed calls: " + ", ".join(f"{number} {what}" for what, number in played.policy["failed"].items()))
    return played


def _table(checks: Sequence[tuple[str, str, bool]]) -> bool:
    """Print what was checked; does all of it hold."""
    for what, numbers, holds in checks:
        print(f"  {'yes' if holds else 'NO':4}{what:32}{numbers}", flush=True)
    return all(holds for _, _, holds in checks)


if __name__ == "__main__":
    sys.exit(main())
