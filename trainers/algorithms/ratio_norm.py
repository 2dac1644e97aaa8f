"""RatioNorm: the ratio centred and scaled before it is clipped (GRPO-Guard, arXiv 2510.22319), for token policies.

    L         = mean over the response tokens n of  max(-A q, -A clip(q, 1 - clip_low, 1 + clip_high))
    log q_n   = s_b * (log r_n - m_b),   r_n = exp(log p(n) - log p_old(n)),  b the bin of n
    m_b       = mean of log r over the bin,   s_b = std of log r over the batch / std of log r over the bin

The paper is about flow matching: there a step's policy is Gaussian, the mean of its log-ratio is below 0 and its spread
grows as the noise c falls, so that a ratio seldom reaches 1 + clip_high; with d the shift of the mean it takes
q = exp((log r + mean d^2 / (2 c^2)) * c)  (`gaussian_ratio`; read in flow_grpo's script and an independent port). This
token form is ours (derived, nobody's published result): E[log r] = -KL holds for tokens too, but near the old policy it
is about 1e-3 against a range of 0.2, so that it matters where the range is tiny or the data are stale. m and s have no
gradient; s scales the gradient, so that this stands before a clip only. The paper's reweighting by the time step has no
literal counterpart; `parts: {aggregate: trajectory-mean-of-turn-means}` has its purpose.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.segments import count_by, mean_by, std_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.surrogates_sequence import clipped
from agentrl.trainers.step_view import StepView, Term

Bins = Literal["batch", "turn", "tenth"]


@dataclass(frozen=True, kw_only=True)
class RatioNormConfig:
    clip_low: float = 0.2
    """The normalised ratio is held above 1 - clip_low where that matters."""
    clip_high: float = 0.2
    """The normalised ratio is held below 1 + clip_high where that matters."""
    bins: Bins = "turn"
    """Which tokens are compared: all (batch), those of a turn position (turn), those of a tenth of a reply (tenth)."""

    def __post_init__(self) -> None:
        require(0 <= self.clip_low <= 1, f"clip_low is {self.clip_low}; it must be from 0 to 1")
        require(self.clip_high >= 0, f"clip_high is {self.clip_high}; it must not be negative")


def gaussian_ratio(log_ratio: Tensor, squared_shift: Tensor, noise: Tensor) -> Tensor:
    """exp((log r + mean d^2 / (2 c^2)) * c): the paper's own form, for a Gaussian policy of a denoising step.

    log_ratio: [K], mean over dimensions.   squared_shift: [K], mean over dimensions of d^2.   noise: [K] c.
    Returns [K].
    """
    return ((log_ratio + squared_shift / (2 * noise.square())) * noise).exp()


def normalised_log_ratio(log_ratio: Tensor, bin_of_token: Tensor, counted: Tensor, num_bins: int) -> Tensor:
    """log q: centred and scaled by its bin; a bin of one, or of one value, is not scaled, a bin of one not centred.

    log_ratio: [N], with gradient.   bin_of_token: [N] int.   counted: [N] bool, what makes the statistics.
    Returns [N].
    """
    own, bins = log_ratio.detach()[counted], bin_of_token[counted]
    alone = count_by(bins, num_bins) < 2
    mean = mean_by(own, bins, num_bins).masked_fill(alone, 0.0)
    spread = std_by(own, bins, num_bins)
    whole = std_by(own, torch.zeros_like(bins), 1)
    scale = torch.where(spread < 1e-8, torch.ones_like(spread), whole / spread.clamp(min=1e-8))
    return scale[bin_of_token] * (log_ratio - mean[bin_of_token])


def _bins(view: StepView, bins: Bins) -> tuple[Tensor, int]:
    """[N] the bin of each token, and how many there are."""
    if bins == "turn":
        position = view.turn_position[view.turn_of_token]
        return position, int(view.turn_position.max()) + 1 if view.num_turns else 0
    if bins == "batch":
        return torch.zeros_like(view.turn_of_token), 1
    number = torch.arange(view.num_tokens)
    length = count_by(view.turn_of_token, view.num_turns)
    first = torch.zeros_like(length).scatter_reduce(0, view.turn_of_token, number, "amin", include_self=False)
    return 10 * (number - first[view.turn_of_token]) // length[view.turn_of_token], 10


def _parts_of(view: StepView, config: RatioNormConfig) -> tuple[Tensor, Tensor, Tensor]:
    """[N] loss, [N] bool whether clipped, [N] log r."""
    assert view.current is not None and view.old is not None and view.advantage is not None
    log_ratio = (view.current - view.old.detach()).clamp(-20, 20)
    bin_of_token, num = _bins(view, config.bins)
    ratio = normalised_log_ratio(log_ratio, bin_of_token, view.trained, num).clamp(-20, 20).exp()
    loss, taken = clipped(ratio, view.advantage.detach(), config.clip_low, config.clip_high)
    return loss, taken, log_ratio


def _ratio_norm(view: StepView, config: RatioNormConfig, state: None) -> Term:
    return Term(_parts_of(view, config)[0])


def _metrics(view: StepView, config: RatioNormConfig, state: None) -> dict[str, float]:
    with torch.no_grad():
        _, taken, log_ratio = _parts_of(view, config)
    assert view.advantage is not None
    own, better = log_ratio[view.trained], view.advantage[view.trained] > 0
    num, taken = max(len(own), 1), taken[view.trained]
    return {
        "ratio_norm/log_ratio_mean": float(own.sum()) / num,
        "ratio_norm/log_ratio_std": float(std_by(own, torch.zeros(len(own), dtype=torch.int64), 1)),
        "ratio_norm/clip_fraction_low": float((taken & ~better).sum()) / num,
        "ratio_norm/clip_fraction_high": float((taken & better).sum()) / num,
    }


RATIO_NORM_SURROGATE = Part(
    name="ratio-norm",
    kind="surrogate",
    bind=_ratio_norm,
    config=RatioNormConfig,
    needs=("old", "advantage"),
    couples="batch",
    metrics=_metrics,
    ours=True,
)
"""PPO's clip of a ratio that was centred and scaled among comparable tokens (RatioNorm's idea, ours for tokens)."""
RATIO_NORM = Algorithm(
    name="ratio-norm",
    citation="J. Wang et al.: GRPO-Guard: mitigating implicit over-optimization in flow matching. arXiv 2510.22319.",
    returns="outcome",
    advantage="group-norm",
    surrogate=RATIO_NORM_SURROGATE,
    aggregate="token-mean",
)
