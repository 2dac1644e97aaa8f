"""Modifiers: advantage in, advantage out, in the order in which they stand."""

from dataclasses import dataclass

from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.step_view import StepView


@dataclass(frozen=True, kw_only=True)
class EngineCorrectionConfig:
    cap: float = 2.0
    """The weight exp(old - sampled) of a token is cut off here; 2 is what verl's examples use."""

    def __post_init__(self) -> None:
        require(self.cap > 0, f"cap is {self.cap}; it must be above 0")


def engine_weight(old: Tensor, sampled: Tensor, cap: float) -> Tensor:
    """w = min(exp(old - sampled), cap): how much likelier the trainer finds a token than the engine that sampled it.

    old, sampled: [N] log-probs.   Returns [N], no gradient.
    Truncated importance sampling, per token, for the difference between engine and trainer. Its idea is a blog post's
    (Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training"), recalled, not read.
    """
    return (old - sampled).detach().clamp(-20, 20).exp().clamp(max=cap)


def _engine_correction(view: StepView, config: EngineCorrectionConfig, state: None) -> Tensor:
    assert view.advantage is not None and view.old is not None and view.sampled is not None
    return view.advantage * engine_weight(view.old, view.sampled, config.cap)


def _engine_metrics(view: StepView, config: EngineCorrectionConfig, state: None) -> dict[str, float]:
    assert view.old is not None and view.sampled is not None
    gap = (view.old - view.sampled).detach()[view.trained]
    count = max(len(gap), 1)
    truncated = gap.clamp(-20, 20).exp() > config.cap
    return {
        "engine/logprob_gap": float(gap.abs().sum()) / count,
        "engine/truncated_share": float(truncated.sum()) / count,
    }


ENGINE_CORRECTION = Part(
    name="engine-correction",
    kind="modifier",
    bind=_engine_correction,
    config=EngineCorrectionConfig,
    needs=("sampled", "old"),
    metrics=_engine_metrics,
    citation="F. Yao et al.: Your efficient RL framework secretly brings you off-policy RL training (truncated "
    "importance sampling). Blog post, 2025.",
)
"""Weighs each token's advantage by how much likelier the trainer finds it than the engine did, truncated."""
