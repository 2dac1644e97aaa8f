"""What a turn costs deep in an episode, and what memories are worth by the number of turns that one is given.

    python benchmarks/long_episodes.py
    python benchmarks/long_episodes.py --trails 64 --svg docs/images/long_episodes.svg

The world is `chain`, the policy a reader that knows only what a memory shows it, so that nothing but the framework
takes time. First table: one episode of 2,048 turns. Tokens of a prompt, and processor time of a turn with its view,
messages, prompt ids, step and record, at turn 20 and at turn 2,000 (a median over 34 turns around each, the least of
the repeats); bytes that a turn adds to memory, early and late: what the trajectory itself keeps of it. The template
shows no system message, so that only what may grow is counted. `full` stands beside it until its context is full; its
prompts do not continue here, since a reply does not come back letter by letter from this tokenizer of whole words.
Second table: success by the number of turns allowed, on trails of 1 to 2,047 letters, each power of two as likely; a
reader does the same under any limit, so that one long episode tells of all. Goal: turn 2,000 within 10 % of turn 20
with `workspace`, in tokens and in time.
"""

import argparse
import asyncio
import re
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from agentrl.config import RolloutConfig
from agentrl.curve import draw_shares
from agentrl.envs import chain
from agentrl.envs.chain.reader import Known, reader
from agentrl.memory.full import Full
from agentrl.memory.summary import Summary
from agentrl.memory.window import Window
from agentrl.memory.workspace import Workspace
from agentrl.models.renderer import Renderer
from agentrl.models.tiny.build import Vocabulary, build_tokenizer
from agentrl.prompts.conversation import SUMMARISE
from agentrl.prompts.report import RULES, SYNTHESIS, ReportAndAction
from agentrl.runner import Job, Runner
from agentrl.types import Completion, Request, Trajectory

TURNS = 2048
EARLY, LATE, AROUND = 20, 2000, 17
SPAN = 85
BUDGETS = (2, 8, 32, 128, 512, 2048)
CHATTER = 20
UNLIMITED = 2**31 - 1


class Clocked:
    """A policy that notes when it is asked: processor seconds, and bytes that are held."""

    takes_ids = False
    source = "logged"
    name = "reader"

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.seconds: list[float] = []
        self.sizes: list[int] = []
        self.bytes: list[int] = []

    async def generate(self, request: Request) -> Completion:
        self.seconds.append(time.process_time())
        self.sizes.append(len(request.prompt_ids or ()))
        self.bytes.append(tracemalloc.get_traced_memory()[0])
        return await self.inner.generate(request)  # type: ignore[no-any-return]

    async def release(self, episode: str) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing is kept."""


def played(memory: Any, config: chain.Config, max_context: int, renderer: Any) -> tuple[list[Trajectory], Clocked]:
    """Every trail of the split that is held out."""
    form = ReportAndAction()
    policy = Clocked(reader(form))
    rollout = RolloutConfig(max_turns=TURNS, max_context=max_context, max_new_tokens=64, concurrency=1)
    jobs = [Job(task, task.id) for task in chain.tasks("valid", config)]

    async def run() -> list[Trajectory]:
        async with Runner(
            chain, policy, memory=memory, format=form, renderer=renderer, rollout=rollout, config=config
        ) as runner:
            return await runner.run(jobs)

    return asyncio.run(run()), policy


def around(values: Sequence[float], turn: int) -> float:
    """Median over the turns around one; turns are numbered from 1."""
    return median(values[turn - AROUND : turn + AROUND])


def print_costs(renderer: Any, repeats: int, max_context: int) -> None:
    config = chain.Config(shortest=TURNS - 1, longest=TURNS - 1, chatter=CHATTER, num_valid=1)
    warm = chain.Config(shortest=100, longest=100, chatter=CHATTER, num_valid=1)
    print(f"{'':12}{'turns':>6} {'tokens of the prompt':>25} {'microseconds a turn':>25} {'bytes a turn adds':>19}")
    for name, memory in (("workspace", Workspace()), ("summary", Summary()), ("full", Full())):
        times: list[tuple[float, float]] = []
        played(memory, warm, max_context, renderer)
        for _ in range(repeats):
            found, policy = played(memory, config, max_context, renderer)
            turns = [after - before for before, after in pairwise(policy.seconds)]
            late = min(LATE, len(turns) - AROUND)
            times.append((around(turns, EARLY), around(turns, late)))
        early, last = (1e6 * min(column) for column in zip(*times, strict=True))
        sizes = around(policy.sizes, EARLY), around(policy.sizes, late)
        tracemalloc.start()
        _, policy = played(memory, config, max_context, renderer)
        tracemalloc.stop()
        grown = [(policy.bytes[end] - policy.bytes[end - SPAN]) / SPAN for end in (EARLY + SPAN, late)]
        print(
            f"{name:12}{len(found[0].turns):6}"
            f" {sizes[0]:8.0f} {sizes[1]:8.0f} {sizes[1] / sizes[0] - 1:+7.1%}"
            f" {early:8.0f} {last:8.0f} {last / early - 1:+7.1%} {grown[0]:9.0f} {grown[1]:9.0f}"
            f"   turns {EARLY} and {late}; {found[0].ended}",
            flush=True,
        )


def print_worth(renderer: Any, trails: int, max_context: int, svg: str) -> None:
    config = chain.Config(shortest=1, longest=TURNS - 1, chatter=CHATTER, num_valid=trails)
    lines: dict[str, list[tuple[int, int]]] = {}
    print(f"\n{'success by turns':24}" + "".join(f"{budget:8}" for budget in BUDGETS))
    for name, memory in (("workspace", Workspace()), ("summary", Summary()), ("window", Window()), ("full", Full())):
        found, _ = played(memory, config, max_context, renderer)
        counts = [sum(t.outcome.success and t.num_acts <= budget for t in found) for budget in BUDGETS]
        lines[name] = [(count, trails) for count in counts]
        print(f"{name:24}" + "".join(f"{count / trails:8.1%}" for count in counts), flush=True)
    if svg:
        title = (
            f"Success by turns allowed: {trails} trails of 1 to {TURNS - 1} letters, context of {max_context} tokens"
        )
        Path(svg).write_text(draw_shares(lines, [str(b) for b in BUDGETS], title, "turns allowed"), encoding="utf-8")


def vocabulary() -> Vocabulary:
    """The world's, and every word of what the agent is told: a token a word."""
    found = chain.vocabulary()
    told = re.findall(r"\w+|[^\w\s]", f"{chain.instructions()} {RULES} {SUMMARISE} {SYNTHESIS} {Known().notes}")
    return replace(found, words=tuple(dict.fromkeys((*found.words, *told))), dropped="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=int, default=3, help="episodes timed for each memory, of which the least counts"
    )
    parser.add_argument("--trails", type=int, default=32, help="for the success by turns")
    parser.add_argument("--max-context", type=int, default=8192, help="tokens of prompt and reply")
    parser.add_argument("--svg", default="", metavar="FILE", help="draw the success by turns here")
    arguments = parser.parse_args()
    renderer = Renderer(build_tokenizer(vocabulary()))
    print_costs(renderer, arguments.repeats, arguments.max_context)
    print_worth(renderer, arguments.trails, arguments.max_context, arguments.svg)


if __name__ == "__main__":
    main()
