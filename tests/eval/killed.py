"""Evaluations killed with SIGKILL at random moments, gone on with each time, and what has to be true of their ends.

    python -m tests.eval.killed
    python -m tests.eval.killed --kills 100 --seed 3

A matrix of a scripted policy and one behind a server on this machine is played once undisturbed, then killed so many
times. Prints one line of JSON: `problems` names what is not as it has to be. Of each end: results, episodes, tables and
pages are those of the undisturbed one (a page but for its place, its times and what calls that were cut off cost); an
episode that was on disk at a kill is there to the bit, its times included, so it was not played again; a call whose
reply was on record was not made again; what the server sent fits what was accounted for.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import re
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agentrl.cli.main import main as agentrl_main
from agentrl.policies.api_record import CALLS, calls
from agentrl.records import read_trajectories, trajectory_to_json
from tests.chat_server import ChatServer, halving
from tests.eval.cut_short import episodes, results

CONCURRENCY = 4
PAGES = ("report.html", "report.md", "report.csv", "episodes.csv")
TOLD_OF_KILLS = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+0000|\b\d+ s\b|, in \d+ starts"
    r"|Paid in all[^.]*\.\d+ USD\.( Calls without a reply: [^.]*\.)?"
)
"""What a page says of when and in how many starts it was made, and what was paid for calls that were cut off."""
PRICES = "date: 2026-01-02\ncurrency: USD\nmodels:\n  fake: {input: 1000, cached: 500, output: 2000}\n"


def matrix(folder: Path, url: str, tasks: int) -> Path:
    """The file of what is evaluated."""
    (folder / "prices.yaml").write_text(PRICES)
    api = {"prices": str(folder / "prices.yaml"), "client": "plain", "backoff": 0.01, "max_cost": 1000}
    settings = {
        "models": ["random", {"policy": "api:fake", "name": "served", "base_url": url, "api": api}],
        "worlds": [{"env": "guess", "settings": {"admissible": True}, "set": {"rollout.max_turns": 12}}],
        "memories": ["full", {"memory": "window", "settings": {"size": 8}}],
        "episodes": tasks,
        "repeats": 2,
        "set": {"rollout.concurrency": CONCURRENCY},
    }
    file = folder / "matrix.yaml"
    file.write_text(json.dumps(settings))
    return file


def digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def forked(work: Callable[[], int]) -> int:
    """A process that does some work and ends with its code."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = work()
        except BaseException as error:
            sys.stderr.write(f"child: {error!r}\n")
            sys.stderr.flush()
        os._exit(code)
    return child


def serve(log: Path, told: int) -> int:
    """Answer until killed; every reply that is sent is a line of the log, written before it is sent."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def answer(body: dict[str, Any], headers: dict[str, str]) -> Any:
        os.write(file, f"{digest(body)}\n".encode())
        return halving(body, headers)

    async def run() -> None:
        async with ChatServer(answer) as server:
            os.write(told, server.url.encode())
            os.close(told)
            await asyncio.Event().wait()

    asyncio.run(run())
    return 0


def ended_in(child: int, seconds: float) -> bool:
    """Did a process end by itself in so many seconds, well; else it is killed."""
    handle = os.pidfd_open(child)
    try:
        well = bool(select.select([handle], [], [], seconds)[0])
        if not well:
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if well and code != 0:
            raise RuntimeError(f"an evaluation ended with {code}")
        return well
    finally:
        os.close(handle)


def on_disk(out: Path) -> dict[tuple[str, str, int], Any]:
    """Every episode that is over, to the bit."""
    found = {}
    for folder in out.glob("*/"):
        for line in (folder / "played.jsonl").read_bytes().split(b"\n")[:-1] if _is(folder / "played.jsonl") else ():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                record.pop("at")
                found[folder.name, record["group"], record["rollout"]] = record
        if _is(folder / "results.json"):
            for episode in read_trajectories(folder / "trajectories" / "step-000000.jsonl.gz"):
                record = json.loads(json.dumps(trajectory_to_json(episode)))
                found[folder.name, record["group"], record["rollout"]] = record
    return found


def _is(path: Path) -> bool:
    return path.exists()


def replied(out: Path) -> Counter[str]:
    """The requests whose replies are on record, and in how many cells: the first turns of some are the same."""
    found: Counter[str] = Counter()
    for file in out.rglob(CALLS):
        found.update(digest(call["body"]) for call in calls(file) if call.get("final") and not call.get("failure"))
    return found


def pages(out: Path) -> dict[str, str]:
    """Name -> text of each page and table, without its place and what it tells of kills."""
    found = (path for name in PAGES for path in sorted(out.rglob(name)))
    return {str(path.relative_to(out)): TOLD_OF_KILLS.sub("", path.read_text().replace(str(out), "")) for path in found}


class Trial:
    """One evaluation, killed or not, and what is wrong with it."""

    def __init__(self, folder: Path, file: Path, log: Path) -> None:
        self.out, self.file, self.log = folder, file, log
        self.problems: list[str] = []
        self.kills = 0
        self._from = 0
        self._from = self._sent().total()
        self._seen: dict[tuple[str, str, int], Any] = {}
        self._replied: Counter[str] = Counter()

    def _sent(self) -> Counter[str]:
        lines = self.log.read_text().split() if self.log.exists() else []
        return Counter(lines[self._from :])

    def go(self, seconds: float) -> bool:
        """Begin or go on, for so long at most.   Returns whether it came to its end."""
        known = self._sent()
        words = ["--resume", str(self.out)] if (self.out / "matrix.json").exists() else ["--matrix", str(self.file)]
        words += [] if words[0] == "--resume" else ["--out", str(self.out)]
        over = ended_in(forked(lambda: quiet(["eval", *words, "--quiet"])), seconds)
        recorded = replied(self.out)
        unrecorded = (self._sent() - known - (recorded - self._replied)).total()
        if unrecorded > (0 if over else CONCURRENCY):
            self.problems.append(f"{unrecorded} calls were made again, or are not on record")
        now = on_disk(self.out)
        changed = [key for key, record in self._seen.items() if now.get(key) != record]
        if changed:
            self.problems.append(f"{len(changed)} episodes that were over were played again, or lost: {changed[0]}")
        self._seen, self._replied = now, recorded
        self.kills += not over
        return over

    def check(self, whole: "Trial", replies: int) -> None:
        """Hold the end beside that of an undisturbed one, to which the server has sent so many replies."""
        for folder in sorted(path.parent for path in whole.out.glob("*/results.json")):
            own = self.out / folder.name
            if without_policy(results(own)) != without_policy(results(folder)):
                self.problems.append(f"{folder.name}: other results")
            if episodes(own) != episodes(folder):
                self.problems.append(f"{folder.name}: other episodes")
            if (own / "played.jsonl").exists():
                self.problems.append(f"{folder.name}: played.jsonl is left")
        own, undisturbed = pages(self.out), pages(whole.out)
        if own.keys() != undisturbed.keys() or not own:
            self.problems.append(f"other pages: {sorted(own.keys() ^ undisturbed.keys())}")
        else:
            self.problems += [f"{name}: another page" for name in own if own[name] != undisturbed[name]]
        sent, account = self.sent(), json.loads((self.out / "spending-served.json").read_text())
        counts = account["counts"]
        if counts["calls"] != counts["replies"] + sum(counts["failed"].values()):
            self.problems.append("calls do not add up")
        if not counts["replies"] <= sent <= counts["calls"]:
            self.problems.append(f"the server sent {sent} replies, {counts['calls']} calls are accounted for")
        if sent - replies > CONCURRENCY * self.kills:
            self.problems.append(f"{sent - replies} more replies than calls that were in progress at a kill")

    def sent(self) -> int:
        """Replies that the server has sent to it."""
        return self._sent().total()


def without_policy(found: dict[str, Any]) -> dict[str, Any]:
    """Results without the calls of the policy, among which are those that a kill cut off."""
    return {**found, "usage": found["usage"]["episodes"]} if "usage" in found else found


def quiet(words: list[str]) -> int:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return agentrl_main(words)


def killed(folder: Path, kills: int, seed: int, tasks: int) -> dict[str, Any]:
    """The matrix, once undisturbed; then killed so many times in all.   Returns what came of it."""
    read, told = os.pipe()
    log = folder / "sent.log"
    server = forked(lambda: serve(log, told))
    os.close(told)
    try:
        file = matrix(folder, os.read(read, 200).decode(), tasks)
        whole = Trial(folder / "whole" / "evaluation", file, log)
        begun = time.monotonic()
        assert whole.go(600), "the undisturbed evaluation did not end"
        longest = time.monotonic() - begun
        replies = whole.sent()
        rng, done, ends, problems, moments = random.Random(seed), 0, 0, [], []
        trial = Trial(folder / "killed" / "evaluation", file, log)
        while done < kills or ends == 0:
            wait = rng.uniform(0, longest) if done < kills else 600
            if not trial.go(wait):
                done += 1
                moments.append(round(wait, 2))
                continue
            ends += 1
            trial.check(whole, replies)
            problems += trial.problems
            shutil.rmtree(trial.out)
            trial = Trial(folder / "killed" / "evaluation", file, log)
        return {"kills": done, "ends": ends, "seconds": round(longest, 2), "moments": moments, "problems": problems}
    finally:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", type=int, default=25)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = killed(Path(folder), args.kills, args.seed, args.tasks)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
