"""Sequences of a forward pass as one stream, in which what several of them begin with stands once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.trainers.batch import Stretch

WORTH = 16
"""Tokens of a common prompt from which on it is run once; below, putting it together costs as much."""


@dataclass(frozen=True)
class Stream:
    """The tokens of a forward pass, T of them."""

    ids: Tensor
    """[T] int64."""
    starts: tuple[int, ...]
    """S + 1 offsets: of each sequence's own tokens."""
    before: tuple[tuple[int, int], ...]
    """Of each sequence the places in the stream of what it begins with, where that stands in an earlier one; or ()."""
    positions: Tensor
    """[T] int64: of each token in its sequence."""
    predicted_at: Tensor
    """[n] int64: the place of the token after which each response token is predicted."""


def _prompt(stretch: Stretch) -> tuple[int, ...]:
    """What stands before the first response token, where it may be shared; else nothing."""
    shareable = not stretch.images and stretch.places[0] >= WORTH
    return stretch.ids[: stretch.places[0]] if shareable else ()


def num_tokens(stretches: Sequence[Stretch]) -> int:
    """Length of their stream."""
    shared = {prompt: len(prompt) for prompt in map(_prompt, stretches)}
    own = sum(len(stretch.ids) - len(_prompt(stretch)) for stretch in stretches)
    return own + sum(shared.values())


def packed_stream(stretches: Sequence[Stretch], share: bool = True) -> Stream:
    """The stream of some sequences.   share: run the prompt that several begin with once."""
    ids: list[int] = []
    starts, before, positions, predicted = [0], list[tuple[int, int]](), list[int](), list[int]()
    places_of: dict[tuple[int, ...], int] = {}
    for stretch in stretches:
        prompt = _prompt(stretch) if share else ()
        first = places_of.get(prompt) if prompt else None
        shared = len(prompt) if first is not None else 0
        begin = len(ids) - shared  # where the sequence would begin if it stood there whole
        if prompt and first is None:
            places_of[prompt] = begin
        before.append((first, first + shared) if first is not None else (0, 0))
        ids += stretch.ids[shared:]
        positions += range(shared, len(stretch.ids))
        starts.append(len(ids))
        predicted += [first + p - 1 if first is not None and p <= shared else begin + p - 1 for p in stretch.places]
    return Stream(
        torch.tensor(ids),
        tuple(starts),
        tuple(before) if any(a < b for a, b in before) else (),
        torch.tensor(positions),
        torch.tensor(predicted),
    )
