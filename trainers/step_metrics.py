"""What one step's updates are logged as; every name is explained in docs/metrics.md."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from agentrl.segments import mean_by
from agentrl.trainers.batch import Batch
from agentrl.trainers.step_view import StepView
from agentrl.trainers.update import Update

LOGGED_TURNS = 50
"""Turn positions whose entropy is logged."""


class HasMetrics(Protocol):
    def metrics(self, view: StepView) -> dict[str, float]: ...


def sampler_difference(sampled: Tensor, old: Tensor) -> dict[str, float]:
    """How far the engine's log-probs are from the trainer's, for the same weights.   sampled, old: [N] nats."""
    difference = (sampled - old).abs()
    return {"sampler_difference/mean": float(difference.mean()), "sampler_difference/max": float(difference.max())}


def entropy_by_turn(entropy: Tensor, view: StepView) -> dict[str, float]:
    """Mean entropy of the response tokens at each turn position, in nats.   entropy: [N]."""
    position = view.turn_position[view.turn_of_token]
    counted = view.acts[view.turn_of_token] & (position < LOGGED_TURNS)
    means = mean_by(entropy[counted], position[counted], LOGGED_TURNS)
    seen = torch.bincount(position[counted], minlength=LOGGED_TURNS)
    return {f"entropy/turn_{p:02d}": float(means[p]) for p in range(LOGGED_TURNS) if seen[p]}


def step_metrics(composition: HasMetrics, updates: Sequence[tuple[Batch, Update]], view: StepView) -> dict[str, float]:
    """Means over the updates of one rollout; log-prob differences and entropies are of the first, before any step.

    view: of the whole batch, with `trained` as the selections left it.
    """
    trained_trajectories = len(view.trajectory_of_token[view.trained].unique())
    metrics = {"updates": float(len(updates)), "trained_trajectories": float(trained_trajectories)}
    sums: dict[str, float] = {}
    for batch, update in updates:
        view = update.numbers.in_view(batch.view)
        row = {"loss": update.loss, "grad_norm": update.grad_norm, "passes": float(update.passes)}
        row |= {f"loss/{name}": value for name, value in update.terms.items()}
        row |= composition.metrics(view)
        for name, value in row.items():
            sums[name] = sums.get(name, 0.0) + value
    metrics |= {name: value / len(updates) for name, value in sums.items()}
    batch, update = updates[0]
    trained = batch.view.trained
    if batch.view.sampled is not None and bool(trained.any()):
        old = batch.view.old if batch.view.old is not None else update.numbers.logprob
        metrics |= sampler_difference(batch.view.sampled, old)
    if bool(update.numbers.entropy.any()):
        metrics["entropy"] = float(update.numbers.entropy[trained].mean())
        metrics |= entropy_by_turn(update.numbers.entropy, batch.view)
    return metrics
