"""EPO: entropy-regularised policy optimisation for multi-turn agents (arXiv 2509.22576).

    L      = L_policy - entropy_coef * (H - smooth_coef * beta_k * S)
    H      = mean entropy of the response tokens, by `entropy_aggregate`
    S      = mean over the turns u, by `penalty_aggregate`, of  penalty * ([low * R_t - H_u]_+ + [H_u - high * R_t]_+)
    H_u    = mean entropy of u's tokens under the current policy
    R_t    = mean over the steps so far of the entropy that turn position t had when it was sampled
    beta_k = the schedule in `smoothing_weight`

The paper's text was not at hand: formulas follow the released code (WujiangXu/EPO, 5b6fa98), which was read, and the
authors' reply to reviewers. Released: outside the band a constant, without a gradient (shape: indicator), and the
current step counts into R_t (including_current). The hinge is the authors' later form; its unit is nats, the other's 1.
Positions never seen and summarise turns have no reference, cost nothing, and stay in the denominator.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.registry import load
from agentrl.segments import mean_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.history import PositionHistory, means_by_position
from agentrl.trainers.parts.regularisers import gradient_size
from agentrl.trainers.step_view import StepView, Term

Shape = Literal["hinge", "indicator"]


@dataclass(frozen=True, kw_only=True)
class EPOConfig:
    entropy_coef: float = 1e-3
    """lambda: weight of the entropy bonus, and of the smoothing within it; 0.001 as released."""
    smooth_coef: float = 1.0
    """Weight of the smoothing against the bonus; 0 leaves the plain bonus."""
    penalty: float = 0.1
    """alpha: slope of the hinge, or height of the indicator; 0.1 is the released value for ALFWorld."""
    low: float = 0.0
    """kappa_low: below this multiple of the reference a turn is pulled up; 0 switches that side off."""
    high: float = 2.0
    """kappa_high: above this multiple of the reference a turn is pulled down."""
    shape: Shape = "hinge"
    """hinge: grows with the distance, has a gradient. indicator: constant, changes only the logged loss."""
    unit: Literal["turn", "token"] = "turn"
    """Whether the mean entropy of a turn is held in the band, or that of each token."""
    entropy_aggregate: Literal["token-mean", "turn-mean", "trajectory-mean-of-turn-means"] = "token-mean"
    """How entropies become H: token-mean as released; trajectory-mean-of-turn-means as the paper is recalled."""
    penalty_aggregate: Literal["turn-mean", "token-mean", "trajectory-mean-of-turn-means"] = "turn-mean"
    """How penalties become S: every turn the same, or by its length (token-mean, as released)."""
    reference: Literal["before", "including_current"] = "before"
    """Steps that R_t is the mean of: those before the current one, or that one too (as released)."""
    record: Literal["token_mean", "mean_of_turn_means"] = "token_mean"
    """What a step records for a turn position: the mean of its tokens (as released), or of its turns' means."""
    window: int = 0
    """R_t looks back this many steps of the run; 0: all of them."""
    schedule: bool = True
    """Weigh the smoothing by beta_k; false: by 1."""
    fast: float = 3.0
    """How quickly beta_k falls in the second half; 3 as released."""

    def __post_init__(self) -> None:
        for name in ("entropy_coef", "smooth_coef", "penalty", "low", "window", "fast"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")
        require(self.high >= self.low, f"high is {self.high}; it must not be below low, {self.low}")


def entropy_band_penalty(
    entropy: Tensor, reference: Tensor, low: float, high: float, penalty: float, shape: Shape
) -> Tensor:
    """P = penalty * ([low * R - H]_+ + [H - high * R]_+), or penalty wherever H is not inside (low * R, high * R).

    entropy: [K] nats, with gradient.   reference: [K] nats, nan where there is none.
    Returns [K]; 0 without a reference. On the bound a hinge is 0, the indicator outside: also H = 0 with low = 0.
    """
    seen = ~reference.isnan()
    bound = torch.where(seen, reference, torch.zeros_like(reference)).to(entropy)
    if shape == "hinge":
        outside = (low * bound - entropy).relu() + (entropy - high * bound).relu()  # on the bound: no gradient
    else:
        outside = (~((low * bound < entropy) & (entropy < high * bound))).to(entropy)
    return torch.where(seen, penalty * outside, torch.zeros_like(outside))


def smoothing_weight(step: int, num_steps: int, fast: float = 3.0) -> float:
    """beta_k, with half = num_steps // 2 and k clamped to [0, num_steps]; it jumps down after half time.

    1 - 0.2 * (1 - exp(-2 k / half)) up to half, then 0.8 * exp(-fast * (k - half) / (num_steps - half)).
    """
    total = max(num_steps, 0)
    step, half = min(max(step, 0), total), total // 2
    if step <= half:
        return 1 - 0.2 * (1 - math.exp(-2 * step / half)) if half else 1.0
    return 0.8 * math.exp(-fast * (step - half) / (total - half))


class EntropyHistory(PositionHistory):
    """Sampled entropy of every turn position over the steps so far: EPO's only state."""

    def __init__(self, config: EPOConfig | None = None) -> None:
        self._config = config or EPOConfig()
        self._current: dict[int, float] | None = None
        super().__init__(self._config.window)

    def reference(self, position: Tensor, now: StepView | None = None) -> Tensor:
        """R_t; `now`: the current step, where it was not observed.   position: [K] int.   Returns [K]; nan: unseen."""
        missing = self._current is None and self._config.reference == "including_current"
        return self.mean(position, self._record(now) if missing and now is not None else self._current)

    def _record(self, view: StepView) -> dict[int, float]:
        entropy = view.entropy if view.sampled_entropy is None else view.sampled_entropy  # equal in the first update
        assert entropy is not None
        return means_by_position(view, entropy, self._config.record == "mean_of_turn_means")

    def observe(self, view: StepView) -> None:
        """Before the first update, with the whole batch."""
        known = self._config.reference == "including_current" and view.sampled_entropy is not None
        self._current = self._record(view) if known else None

    def update(self, view: StepView) -> None:
        """Once a step, after its last optimiser step, with the turns of every rank."""
        self.add(self._record(view))
        self._current = None


def _entropy(view: StepView, config: EPOConfig, state: None) -> Term:
    """-lambda * H."""
    assert view.entropy is not None
    return Term(-view.entropy, weight=config.entropy_coef, aggregate=config.entropy_aggregate)


def _band(view: StepView, config: EPOConfig, state: EntropyHistory) -> tuple[Tensor, Tensor]:
    """What is held in the band, and R of each: turns [U], or tokens [N]."""
    assert view.entropy is not None
    reference = state.reference(view.turn_position, view).masked_fill(~view.acts, math.nan)
    if config.unit == "token":
        return view.entropy, reference[view.turn_of_token]
    trained = view.trained
    return mean_by(view.entropy[trained], view.turn_of_token[trained], view.num_turns), reference


def _smoothing(view: StepView, config: EPOConfig, state: EntropyHistory) -> Term:
    """lambda * smooth_coef * beta_k * S."""
    held, reference = _band(view, config, state)
    values = entropy_band_penalty(held, reference, config.low, config.high, config.penalty, config.shape)
    beta = smoothing_weight(view.step, view.num_steps, config.fast) if config.schedule else 1.0
    return Term(values, config.unit, config.entropy_coef * config.smooth_coef * beta, config.penalty_aggregate)


def _metrics(view: StepView, config: EPOConfig, state: EntropyHistory) -> dict[str, float]:
    assert view.entropy is not None
    with torch.enable_grad():
        entropy = view.entropy.detach().requires_grad_()
        of_tokens = view.with_fields(entropy=entropy)
        term = _smoothing(of_tokens, config, state)
        weights = load("part", config.penalty_aggregate).bind(view, config.unit, None)
        size = gradient_size(term, weights, entropy)
        held, reference = _band(of_tokens, config, state)
    judged = (weights > 0) & ~reference.isnan()
    outside = entropy_band_penalty(held, reference, config.low, config.high, 1.0, config.shape)[judged] > 0
    return {"epo/outside_share": float(outside.sum()) / max(len(outside), 1), "epo/smoothing_gradient": size}


EPO_ENTROPY = Part(
    name="epo-entropy",
    kind="regulariser",
    bind=_entropy,
    config=EPOConfig,
    section="epo",
    needs=("entropy",),
    active=lambda config: config.entropy_coef > 0,
)
"""EPO's entropy bonus."""
EPO_SMOOTHING = Part(
    name="epo-smoothing",
    kind="regulariser",
    bind=_smoothing,
    config=EPOConfig,
    section="epo",
    state=EntropyHistory,
    needs=("entropy", "sampled_entropy"),
    couples=lambda config: "batch" if config.reference == "including_current" else config.unit,
    active=lambda config: config.entropy_coef * config.smooth_coef * config.penalty > 0,
    metrics=_metrics,
)
"""EPO's band: the entropy of each turn stays near what its position had in earlier steps."""
EPO = Algorithm(
    name="epo",
    citation="W. Xu et al.: EPO: entropy-regularized policy optimization for LLM agents. arXiv 2509.22576.",
    returns="outcome",
    advantage="group-norm",
    surrogate="ppo-clip",
    regularisers=("kl", EPO_ENTROPY, EPO_SMOOTHING),
    aggregate="token-mean",
    settings={"kl": {"coef": 0.0}},  # the released runs have 0.01, and with it a reference model
)
