"""TGDPO: DPO with the token-level reward of a guidance model (arXiv 2506.14574).

    L   = mean over the pairs of  -log sigmoid(W - Z)
    W   = sum over the chosen one's tokens t of    beta * (1 + alpha * u_t) * (log p(t) - log p_ref(t))
    Z   = sum over the rejected one's tokens t of  beta * (1 - alpha * u_t) * (log p(t) - log p_ref(t))
    u_t = beta * (log p_guide(t) - log p_ref(t))

The guidance model was trained with preferences already (`dpo`, `simpo`), has the same tokenizer, and is frozen: what it
likes more than the reference does counts more where it is chosen and less where it is rejected. alpha = 0, and a guide
that is the reference, are DPO.

From the released code (dvlab-research/TGDPO, dd88982, loss type sigmoid), read and run; the paper, read in its
abstract, has general functions of the token's reward, of which the code has the linear ones. u holds a beta already, so
that it comes twice. Released: alpha .5, beta .1; other alphas, by model, were not found. The weights are not clamped:
beyond |alpha u| = 1 a chosen token is pushed down. `clamp` (ours) holds them at 0, and their share is shown.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.log_ratios import mean_of, sides, trajectory_sum
from agentrl.trainers.parts.preference_metrics import reward_metrics
from agentrl.trainers.parts.preferences import logistic
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class TGDPOConfig:
    beta: float = 0.1
    """DPO's: how near to the reference; .1 as released."""
    alpha: float = 0.5
    """How much the guidance counts; .5 as released, 0 is DPO."""
    clamp: bool = False
    """Hold the weights of tokens at 0 and above; ours."""

    def __post_init__(self) -> None:
        require(self.beta > 0, f"beta is {self.beta}; it must be above 0")
        require(self.alpha >= 0, f"alpha is {self.alpha}; it must not be negative")


def token_weights(guidance: Tensor, reference: Tensor, config: TGDPOConfig) -> tuple[Tensor, Tensor]:
    """1 + alpha * u_t and 1 - alpha * u_t: what a token counts where it is chosen, and where it is rejected.

    guidance, reference: [N] log-probs.   Returns [N], [N].
    """
    guided = config.alpha * config.beta * (guidance - reference)
    chosen, rejected = 1 + guided, 1 - guided
    return (chosen.relu(), rejected.relu()) if config.clamp else (chosen, rejected)


def _weights(view: StepView, config: TGDPOConfig) -> tuple[Tensor, Tensor]:
    assert view.guidance is not None and view.reference is not None
    return token_weights(view.guidance.detach(), view.reference.detach(), config)


def _rewards(view: StepView, config: TGDPOConfig) -> tuple[Tensor, Tensor]:
    """W and Z: [P], [P]."""
    assert view.current is not None and view.reference is not None
    moved = config.beta * (view.current - view.reference.detach())
    as_chosen, as_rejected = (trajectory_sum(view, weight * moved) for weight in _weights(view, config))
    return sides(view, as_chosen)[0], sides(view, as_rejected)[1]


def _tgdpo(view: StepView, config: TGDPOConfig, state: None) -> Term:
    chosen, rejected = _rewards(view, config)
    return Term(logistic(chosen - rejected), "pair")


@torch.no_grad()
def _metrics(view: StepView, config: TGDPOConfig, state: None) -> dict[str, float]:
    """Of the weights, over the tokens of either side, each once however many pairs it stands in."""
    assert view.current is not None and view.pairs is not None and view.pair_weight is not None
    logp = sides(view, trajectory_sum(view, view.current))
    shown = reward_metrics(_rewards(view, config), logp, view.pair_weight)
    negative = []
    for side, weight in enumerate(_weights(view, config)):
        stands = torch.zeros(view.num_trajectories, dtype=torch.bool).index_fill(0, view.pairs[:, side], True)
        own = weight[view.trained & stands[view.trajectory_of_token]]
        name, mean = ("chosen", "rejected")[side], mean_of(own)
        shown |= {
            f"tgdpo/weight_{name}": mean,
            f"tgdpo/weight_{name}_std": mean_of((own - mean).square()) ** 0.5,
        }
        negative.append(own < 0)
    return shown | {"tgdpo/negative_weight_share": mean_of(torch.cat(negative))}


TGDPO_SURROGATE = Part(
    name="tgdpo",
    kind="surrogate",
    bind=_tgdpo,
    config=TGDPOConfig,
    needs=("reference", "guidance", "pairs"),
    couples="group",
    metrics=_metrics,
)
"""TGDPO's: DPO with each token weighed by what the guidance model thinks of it."""
TGDPO = Algorithm(
    name="tgdpo",
    citation=(
        "M. Zhu et al.: TGDPO: harnessing token-level reward guidance for enhancing direct preference optimization. "
        "ICML 2025. arXiv 2506.14574."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate=TGDPO_SURROGATE,
    aggregate="pair-mean",
    learns_from="both",
)
