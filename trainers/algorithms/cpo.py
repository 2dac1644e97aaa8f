"""CPO, SimPO and AlphaPO: preference pairs without a reference model (arXiv 2401.08417, 2405.14734, 2501.03884).

    L        = mean over the pairs of  -log sigmoid(beta * (R(chosen) - R(rejected)) - gamma)
               + sft_coef * (mean over all tokens of the chosen trajectories of -log p(n))
    cpo:       R = sum over the response tokens of  log p(n),   gamma = 0,   sft_coef = 1
    simpo:     R = m, the mean over them,   sft_coef = 0
    alphapo:   R = (1 - exp(-alpha * m)) / alpha,   alpha -> 0 being SimPO's

With no reference, nothing holds the policy where it was but the likelihood of the chosen (CPO) or the lengths' means
and the margin gamma (SimPO); a run starts from a model that was fine-tuned on such replies. Formulas as in TRL 1.16.0,
`CPOTrainer.cpo_loss`, which was read and run; the papers' texts were not at hand. Other losses there: hinge, and ipo,
of token means. beta 2 and gamma 1 of SimPO lie in the range that its paper names (recalled); alpha .25 is a start of
ours. What a trajectory's tokens are, an agent's many turns, is derived.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.preference_metrics import reward_metrics
from agentrl.trainers.parts.preferences import PairNumbers, hinge, logistic, squared_error
from agentrl.trainers.parts.surrogates_preference import chosen_tokens, pair_numbers
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class ReferenceFreeConfig:
    loss: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """What is made of the margin."""
    beta: float = 0.1
    """How much a log-prob counts: .1 of sums, 2 to 10 of means."""
    gamma: float = 0.0
    """Of sigmoid: by how much the chosen side is to be better."""
    per_token: bool = False
    """A side's worth is its mean log-prob, not the sum."""
    alpha: float = 0.0
    """Above 0, unlikely replies count more (AlphaPO), below 0 less; 0: log-probs as they are."""
    label_smoothing: float = 0.0
    """Of sigmoid: how often a label is wrong."""
    sft_coef: float = 1.0
    """Weight of the chosen trajectories' negative log-likelihood, a mean over their tokens."""

    def __post_init__(self) -> None:
        require(self.beta > 0, f"beta is {self.beta}; it must be above 0")
        require(self.gamma >= 0, f"gamma is {self.gamma}; it must not be negative")
        require(self.sft_coef >= 0, f"sft_coef is {self.sft_coef}; it must not be negative")
        eps = self.label_smoothing
        require(0 <= eps < 0.5, f"label_smoothing is {eps}; it must be from 0 to below 0.5: more would be other labels")
        for name, value in (("gamma", self.gamma), ("label_smoothing", eps)):
            require(value == 0 or self.loss == "sigmoid", f"{name} is {value}, and loss {self.loss} has none")


def shaped(logp: Tensor, alpha: float) -> Tensor:
    """(1 - p^-alpha) / alpha; alpha 0: log p.   logp: [P], with gradient.   Returns [P]. Its exponent is held at 80."""
    return logp if alpha == 0 else -torch.expm1((-alpha * logp).clamp(max=80.0)) / alpha


def _rewards(pairs: PairNumbers, config: ReferenceFreeConfig) -> tuple[Tensor, Tensor]:
    """beta R of the sides.   [P], [P]."""
    chosen, rejected = pairs.chosen_logp, pairs.rejected_logp
    if config.per_token:
        chosen, rejected = chosen / pairs.chosen_tokens, rejected / pairs.rejected_tokens
    return config.beta * shaped(chosen, config.alpha), config.beta * shaped(rejected, config.alpha)


def _reference_free(view: StepView, config: ReferenceFreeConfig, state: None) -> list[Term]:
    assert view.current is not None
    chosen, rejected = _rewards(pair_numbers(view), config)
    margin = chosen - rejected
    if config.loss == "sigmoid":
        values = logistic(margin - config.gamma, config.label_smoothing)
    else:
        values = hinge(margin) if config.loss == "hinge" else squared_error(margin / config.beta, config.beta)
    terms = [Term(values, level="pair")]
    if config.sft_coef > 0:
        of = chosen_tokens(view)
        terms.append(Term(-view.current, weight=config.sft_coef, aggregate="token-mean", of=of))
    return terms


def _metrics(view: StepView, config: ReferenceFreeConfig, state: None) -> dict[str, float]:
    with torch.no_grad():
        pairs = pair_numbers(view)
        return reward_metrics(_rewards(pairs, config), (pairs.chosen_logp, pairs.rejected_logp), pairs.weight)


REFERENCE_FREE = Part(
    name="reference-free",
    kind="surrogate",
    bind=_reference_free,
    config=ReferenceFreeConfig,
    needs=("pairs",),
    couples="group",
    metrics=_metrics,
)
"""CPO's, SimPO's and AlphaPO's: a pair's log-probs, or what is made of them, against each other."""
CPO = Algorithm(
    name="cpo",
    citation=(
        "H. Xu et al.: Contrastive preference optimization: pushing the boundaries of LLM performance in machine "
        "translation. ICML 2024. arXiv 2401.08417."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate=REFERENCE_FREE,
    aggregate="pair-mean",
    learns_from="both",
)
SIMPO = Algorithm(
    name="simpo",
    citation=(
        "Y. Meng, M. Xia, D. Chen: SimPO: simple preference optimization with a reference-free reward. NeurIPS 2024. "
        "arXiv 2405.14734."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate=REFERENCE_FREE,
    aggregate="pair-mean",
    settings={"reference-free": {"per_token": True, "beta": 2.0, "gamma": 1.0, "sft_coef": 0.0}},
    learns_from="both",
)
ALPHAPO = Algorithm(
    name="alphapo",
    citation="A. Gupta et al.: AlphaPO: reward shape matters for LLM alignment. arXiv 2501.03884.",
    pairing="best-worst",
    advantage=None,
    surrogate=REFERENCE_FREE,
    aggregate="pair-mean",
    settings={"reference-free": {"per_token": True, "beta": 2.0, "gamma": 1.0, "sft_coef": 0.0, "alpha": 0.25}},
    learns_from="both",
)
