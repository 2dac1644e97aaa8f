"""Sums, means and extremes over one level of the batch: tokens [N], turns [U], trajectories [J], groups [G]."""

import torch
from torch import Tensor


def _check(values: Tensor, index: Tensor) -> None:
    if values.shape[:1] != index.shape:
        raise ValueError(f"values {tuple(values.shape)} and index {tuple(index.shape)} must be one-to-one")


def sum_by(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Add up the values that share a segment.

    values: [K] float, with or without gradient.   index: [K] int, the segment of each value.
    Returns [num_segments]; an empty segment is 0.
    """
    _check(values, index)
    return values.new_zeros(num_segments).index_add(0, index, values)


def count_by(index: Tensor, num_segments: int) -> Tensor:
    """How many values each segment has.   index: [K] int.   Returns [num_segments] int64."""
    return torch.bincount(index, minlength=num_segments)


def mean_by(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Mean of the values that share a segment.

    values: [K] float.   index: [K] int.   Returns [num_segments]; an empty segment is 0, never nan.
    """
    return sum_by(values, index, num_segments) / count_by(index, num_segments).clamp(min=1)


def min_by(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Smallest value of each segment.   values: [K].   index: [K] int.   Returns [num_segments]; empty: inf."""
    _check(values, index)
    return values.new_full((num_segments,), torch.inf).scatter_reduce(0, index, values, "amin")


def max_by(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Largest value of each segment.   values: [K].   index: [K] int.   Returns [num_segments]; empty: -inf."""
    _check(values, index)
    return values.new_full((num_segments,), -torch.inf).scatter_reduce(0, index, values, "amax")


def std_by(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Unbiased standard deviation of each segment (n - 1 in the denominator).

    values: [K] float.   index: [K] int.   Returns [num_segments]; fewer than two members: 0; equal members: exactly 0.
    """
    count = count_by(index, num_segments)
    deviation = values - mean_by(values, index, num_segments)[index]
    variance = sum_by(deviation.square(), index, num_segments) / (count - 1).clamp(min=1)
    constant = (min_by(values, index, num_segments) == max_by(values, index, num_segments)) | (count < 2)
    return variance.sqrt().masked_fill(constant, 0.0)
