"""An advantage for every component of the score, each with statistics of its own, and their weighted sum."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from agentrl.errors import ConfigError
from agentrl.registry import load
from agentrl.settings import from_mapping, require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.step_view import StepView


@dataclass(frozen=True, kw_only=True)
class DecomposedConfig:
    estimator: str = "group-norm"
    """Name of the advantage part that each component is given to; one without a critic and without a state."""
    estimator_settings: Mapping[str, Any] = field(default_factory=dict)
    """Its settings."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """component -> its weight; empty: the mean of all components that the world tells."""

    def __post_init__(self) -> None:
        part = load("part", self.estimator)
        fits = part.kind == "advantage" and part.state is None and not part.needs and not part.per_turn
        require(fits and part.name != "decomposed", f"estimator is {self.estimator!r}, which cannot be decomposed")
        from_mapping(part.config or _NoSettings, self.estimator_settings, "estimator_settings")


@dataclass(frozen=True)
class _NoSettings:
    pass


def component_weights(components: Mapping[str, Tensor], asked: Mapping[str, float]) -> dict[str, float]:
    """What each component counts: as asked, or 1 / K of K.

    components: [J] each, by name.   Raises ConfigError for one that is not there, or none.
    """
    missing = next((name for name in asked if name not in components), None)
    if missing is not None or not components:
        told = ", ".join(sorted(components)) or "none"
        wanted = f"component {missing!r}" if missing is not None else "components of the score"
        raise ConfigError(f"decomposed needs {wanted}, and this world tells: {told}; use its estimator alone")
    return dict(asked) or dict.fromkeys(components, 1 / len(components))


def _decomposed(view: StepView, config: DecomposedConfig, state: None) -> Tensor:
    part = load("part", config.estimator)
    own = from_mapping(part.config, config.estimator_settings) if part.config else None
    total = view.score.new_zeros(view.num_tokens)
    if not view.num_trajectories:
        return total
    for name, weight in component_weights(view.components, config.weights).items():
        result = part.bind(view.with_fields(returns=view.components[name][view.trajectory_of_turn]), own, None)
        if not isinstance(result, torch.Tensor):
            raise ConfigError(f"decomposed: estimator {config.estimator!r} gives more than one advantage")
        total = total + weight * result
    return total


DECOMPOSED = Part(name="decomposed", kind="advantage", bind=_decomposed, config=DecomposedConfig)
"""BNPO's advantage decomposition, for any estimator: an advantage a component of the score, and their mean."""
