"""Draws tokens: each from its own random number, so that what is drawn does not depend on what else is in the batch."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_INCREMENT = np.uint64(0x9E3779B97F4A7C15)


class Continuations(dict[int, "Continuations"]):
    """A tree of id sequences: id -> what may follow; empty where a sequence ends. Not to be changed once it is made."""

    @functools.cached_property
    def ids(self) -> list[int]:
        """What may come next, in ascending order."""
        return sorted(self)


def uniforms(seeds: Sequence[int], counters: Sequence[int]) -> Any:
    """One number in [0, 1) for each (seed, counter): the counter's output of splitmix64 started at the seed, mixed.

    seeds, counters: [R] non-negative; seeds below 2**64.   Returns numpy [R] float64 with 53 random bits.
    """
    # The seed goes through the mixer first: streams of seeds that differ by the increment would overlap otherwise.
    start = _mix(np.asarray(seeds, dtype=np.uint64))
    mixed = _mix(start + (np.asarray(counters, dtype=np.uint64) + np.uint64(1)) * _INCREMENT)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(bits: Any) -> Any:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * _MULTIPLIERS[0]
    bits = (bits ^ (bits >> np.uint64(27))) * _MULTIPLIERS[1]
    return bits ^ (bits >> np.uint64(31))


@dataclass(frozen=True)
class Draw:
    """How the next token of one row is drawn."""

    temperature: float
    uniform: float
    top_p: float = 1.0
    top_k: int = 0
    allowed: Sequence[int] | None = None
    """Ids to draw among; None: all."""


def draw(logits: Tensor, rows: Sequence[Draw]) -> tuple[list[int], list[float]]:
    """The next token of each row, and its log-prob under the distribution that it was drawn from.

    logits: [R, V] float32 or float64.   Temperature 0 takes the likeliest, with its log-prob at temperature 1.
    Log-probs are of what is left where top-p or top-k cut, or ids are allowed.
    Raises ArithmeticError where logits are not finite.
    """
    chosen, logprob = [0] * len(rows), [0.0] * len(rows)
    free = [i for i, row in enumerate(rows) if row.allowed is None]
    bound = [i for i, row in enumerate(rows) if row.allowed is not None]
    if free:
        part = logits if len(free) == len(rows) else logits[torch.tensor(free, device=logits.device)]
        ids, values = _draw(part, [rows[i] for i in free])
        for i, token, value in zip(free, ids, values, strict=True):
            chosen[i], logprob[i] = token, value
    if bound:
        allowed = [rows[i].allowed or () for i in bound]
        ids, values = _draw(_only(logits, bound, allowed), [rows[i] for i in bound])
        for i, choices, place, value in zip(bound, allowed, ids, values, strict=True):
            chosen[i], logprob[i] = choices[place], value
    return chosen, logprob


def _only(logits: Tensor, rows: Sequence[int], allowed: Sequence[Sequence[int]]) -> Tensor:
    """Logits of the allowed ids alone, [rows, most allowed ids]; -inf fills up."""
    counts = np.array([len(ids) for ids in allowed])
    member = np.repeat(np.arange(len(rows)), counts)
    place = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    row = torch.from_numpy(np.asarray(rows)[member]).to(logits.device)
    ids = torch.tensor([i for choices in allowed for i in choices], device=logits.device)
    out = logits.new_full((len(rows), int(counts.max())), -torch.inf)
    out[torch.from_numpy(member).to(logits.device), torch.from_numpy(place).to(logits.device)] = logits[row, ids]
    return out


def _draw(logits: Tensor, rows: Sequence[Draw]) -> tuple[list[int], list[float]]:
    """Inverse of the distribution function, in float64.   logits: [R, K].   Returns places in K and log-probs."""
    temperature = _column([row.temperature or 1.0 for row in rows], logits)
    scaled = logits if all(row.temperature in (0, 1) for row in rows) else logits / temperature.to(logits.dtype)
    if any(row.top_p < 1 or row.top_k for row in rows):
        scaled = _truncate(scaled, rows)
    logprobs = torch.log_softmax(scaled, -1)
    cumulative = logprobs.double().exp().cumsum_(-1)
    total = cumulative[:, -1:]
    # Below the total, whatever is rounded: the first place beyond it has a probability above 0.
    target = torch.minimum(
        _column([row.uniform for row in rows], logits) * total, torch.nextafter(total, torch.zeros_like(total))
    )
    place = torch.searchsorted(cumulative, target, right=True)
    if any(row.temperature == 0 for row in rows):
        greedy = torch.tensor([row.temperature == 0 for row in rows], device=logits.device)[:, None]
        place = torch.where(greedy, logprobs.argmax(-1, keepdim=True), place)
    place = place.clamp_(max=logits.shape[1] - 1)
    found, values, totals = torch.cat([place.double(), logprobs.gather(1, place).double(), total], 1).T.tolist()
    if not all(0.5 < value < 1.5 for value in totals):
        raise ArithmeticError("the model's logits are not finite")
    return [int(i) for i in found], values


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    """[R, 1] float64."""
    return torch.tensor(values, dtype=torch.float64, device=like.device)[:, None]


def _truncate(scaled: Tensor, rows: Sequence[Draw]) -> Tensor:
    """Put -inf where top-k or top-p cut; the likeliest token always stays, ties at the edge of top-k stay too."""
    size = scaled.shape[1]
    ordered, order = scaled.sort(-1, descending=True)
    k = torch.tensor([min(row.top_k or size, size) for row in rows], device=scaled.device)[:, None]
    kept = scaled.masked_fill(scaled < ordered.gather(1, k - 1), -torch.inf)
    top_p = _column([row.top_p for row in rows], scaled)
    probability = torch.softmax(kept, -1).double().gather(1, order)
    before = probability.cumsum(-1) - probability
    cut = torch.empty_like(before, dtype=torch.bool).scatter_(1, order, (before >= top_p) & (top_p < 1))
    return kept.masked_fill(cut, -torch.inf)


def continuations(candidates: Sequence[Sequence[int]]) -> Continuations:
    """The candidates as a tree; that of the same candidates is remembered.

    Raises ValueError for none, for an empty one, and for one that is the beginning of another: it could not end.
    """
    return _tree(tuple(map(tuple, candidates)))


@functools.lru_cache(2048)
def _tree(candidates: tuple[tuple[int, ...], ...]) -> Continuations:
    tree = Continuations()
    num_sequences = 0
    for ids in dict.fromkeys(candidates):
        node = tree
        for token in map(int, ids):
            if token not in node:
                node[token] = Continuations()
            node = node[token]
        num_sequences += 1
    if not tree:
        raise ValueError("there are no candidates to sample among")
    if _num_ends(tree) != num_sequences:
        raise ValueError("a candidate is empty, or the beginning of another: it would not be known where it ends")
    return tree


def _num_ends(tree: Continuations) -> int:
    stack, count = [tree], 0
    while stack:
        node = stack.pop()
        if not node:
            count += 1
        stack.extend(node.values())
    return count
