"""A thousand episodes at concurrency 128 against a server that misbehaves on command.

    python -m benchmarks.api_storm
    python -m benchmarks.api_storm --tasks 50 --client plain

429 storms with Retry-After, 500s, hangs, lost and cut connections, malformed JSON, empty choices, HTML, slow pieces.
Prints what the server did, what the policy counted, and `as it has to be` or what is not: every episode accounted for,
the scores of a clean run, no reply lost or paid for twice, spending under the limit, the key in no file.
"""

import argparse
import tempfile
import time
from pathlib import Path

from tests.api_storm import Misbehaving, play


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--concurrency", type=int, default=128)
    parser.add_argument("--client", choices=["openai", "plain"], default="openai")
    args = parser.parse_args()
    how = args.tasks, args.repeats, args.concurrency
    with tempfile.TemporaryDirectory() as folder:
        clean = play(Misbehaving(share=0.0, storm_every=0), Path(folder) / "clean", *how, client=args.client)
        started = time.perf_counter()
        storm = play(Misbehaving(), Path(folder) / "storm", *how, client=args.client)
        print(f"{len(storm.scores)} episodes, {time.perf_counter() - started:.0f} s, {storm.server.calls} calls")
        print(f"the server: {dict(storm.server.bad)}; the policy: {storm.policy}")
        print("; ".join(storm.problems(clean)) or "as it has to be")
        limit = clean.policy["cost"] / 2
        limited = play(Misbehaving(), Path(folder) / "limited", *how, client=args.client, max_cost=limit)
        failed = limited.result.all.failures
        print(
            f"limit {limit:.4f}: spent {limited.policy['cost']:.4f}, owed at most {limited.server.owed:.4f}, "
            f"{len(limited.scores) - failed} episodes played, {failed} refused, key in {limited.files_with_key()}"
        )


if __name__ == "__main__":
    main()
