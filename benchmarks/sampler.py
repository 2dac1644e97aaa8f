"""The sampler against transformers' `generate`: multi-turn episodes, and ragged single replies. Ratios of one run.

    python benchmarks/sampler.py                      8 and 16 episodes of 20 turns; 48 requests, 16 at a time
    python benchmarks/sampler.py --episodes 8 --turns 5 --requests 16

Both sides sample the same numbers of tokens from the same random Qwen3 model, float32, on one thread, and take turns in
one process, so that what else the machine does hits both. Seconds are of little use elsewhere; the ratio is.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Awaitable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from random_model import random_model

from agentrl.models.load import Model
from agentrl.policies.transformers_policy import TransformersPolicy
from agentrl.types import Observation, Request, Sampling, Task, View

VIEW = View(Task("none", "none", "none", 0), "", Observation(""))
PROMPT, NEW, REPLY = 400, 60, 24
"""Tokens of the first prompt, of each observation, and of each reply."""


def endless_model(vocabulary: int, layers: int, hidden: int) -> Model:
    """A model of the Qwen3 architecture that never ends a turn by itself: lengths are set by the benchmark."""
    module = random_model(vocabulary, layers, hidden).eval()
    renderer: Any = SimpleNamespace(end_ids=frozenset(), decode=lambda ids: "")
    return Model(module, None, renderer, "", torch.device("cpu"), torch.float32)


class Words:
    """Random ids."""

    def __init__(self, vocabulary: int) -> None:
        self.random = random.Random(0)
        self.vocabulary = vocabulary

    def __call__(self, count: int) -> list[int]:
        return [self.random.randrange(10, self.vocabulary) for _ in range(count)]


def request(ids: Sequence[int], count: int, seed: int, episode: str) -> Request:
    return Request(VIEW, (), tuple(ids), (), Sampling(max_new_tokens=count, seed=seed), episode)


@torch.no_grad()
def generate(model: Model, rows: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """What transformers' own loop samples: all rows at once, each for as long as the longest."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    module: Any = model.module
    out = module.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=True,
        top_k=0,
        top_p=1.0,
        pad_token_id=0,
    )
    replies: list[list[int]] = out[:, width:].tolist()
    return replies


async def timed(work: Awaitable[Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = await work
    return time.perf_counter() - begin, result


async def episodes(model: Model, words: Words, num_episodes: int, num_turns: int) -> dict[str, Any]:
    """Episodes in step: each turn, this sampler with its kept keys and values, then `generate` from the first token."""
    policy = TransformersPolicy(model, slots=num_episodes, max_context=8192)
    ours, theirs = [], []
    contexts = [words(PROMPT) for _ in range(num_episodes)]
    for turn in range(num_turns):
        contexts = [[*context, *words(NEW)] for context in contexts]
        requests = [request(ids, REPLY, turn, f"e{i}") for i, ids in enumerate(contexts)]
        seconds, replies = await timed(asyncio.gather(*(policy.generate(r) for r in requests)))
        ours.append(seconds)
        begin = time.perf_counter()
        generate(model, contexts, REPLY)
        theirs.append(time.perf_counter() - begin)
        contexts = [[*ids, *reply.token_ids] for ids, reply in zip(contexts, replies, strict=True)]
    await policy.close()
    last = max(1, num_turns // 6)
    return {
        "mode": "turns",
        "episodes": num_episodes,
        "turns": num_turns,
        "context": len(contexts[0]),
        "sampler_seconds": round(sum(ours), 2),
        "generate_seconds": round(sum(theirs), 2),
        "ratio": round(sum(theirs) / sum(ours), 2),
        "ratio_of_the_last_turns": round(sum(theirs[-last:]) / sum(ours[-last:]), 2),
    }


async def ragged(model: Model, words: Words, num_requests: int, at_once: int) -> dict[str, Any]:
    """Replies of very different lengths: ours take a new request as one ends, `generate` waits for the longest."""
    prompts = [words(words.random.randrange(64, 192)) for _ in range(num_requests)]
    lengths = [min(256, max(4, round(words.random.lognormvariate(3.9, 0.8)))) for _ in range(num_requests)]
    policy = TransformersPolicy(model, slots=at_once, max_context=8192)
    ours = theirs = 0.0
    for again in range(2):  # the sides take turns
        requests = [request(prompts[i], lengths[i], i, f"r{again}-{i}") for i in range(num_requests)]
        begin = time.perf_counter()
        await asyncio.gather(*(policy.generate(r) for r in requests))
        ours += time.perf_counter() - begin
        begin = time.perf_counter()
        for start in range(0, num_requests, at_once):
            batch = range(start, min(start + at_once, num_requests))
            generate(model, [prompts[i] for i in batch], max(lengths[i] for i in batch))
        theirs += time.perf_counter() - begin
    await policy.close()
    return {
        "mode": "ragged",
        "requests": num_requests,
        "at_once": at_once,
        "tokens": sum(lengths),
        "sampler_tokens_per_second": round(2 * sum(lengths) / ours),
        "generate_tokens_per_second": round(2 * sum(lengths) / theirs),
        "ratio": round(theirs / ours, 2),
    }


async def compare(arguments: argparse.Namespace) -> None:
    model = endless_model(arguments.vocabulary, arguments.layers, arguments.hidden)
    words = Words(arguments.vocabulary)
    generate(model, [words(16)], 4)
    for num_episodes in arguments.episodes:
        print(json.dumps(await episodes(model, words, num_episodes, arguments.turns)), flush=True)
    print(json.dumps(await ragged(model, words, arguments.requests, arguments.at_once)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, nargs="+", default=[8, 16], help="numbers of episodes played at once")
    parser.add_argument("--turns", type=int, default=20, help="turns of an episode")
    parser.add_argument("--requests", type=int, default=48, help="single replies of different lengths")
    parser.add_argument("--at-once", type=int, default=16, help="of these, decoded together")
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    asyncio.run(compare(arguments))


if __name__ == "__main__":
    main()
