"""ORPO: fine-tuning with a penalty on the odds of what is rejected, without a reference model (arXiv 2403.07691).

    L     = mean over all tokens of the chosen trajectories of  -log p(n)
            + beta * mean over the pairs of  -log sigmoid(o(chosen) - o(rejected))
    o     = m - log(1 - exp(m)),   m = mean over the response tokens of the trajectory of  log p(n)

o is the log odds of the geometric mean of the tokens' probabilities. One stage in place of two: the first term is what
fine-tuning has. Formulas as in TRL 1.16.0, `ORPOTrainer.odds_ratio_loss`, which was read and run; the paper's text was
not at hand. Released, the first term is over the prompt's tokens too, here over the response's alone, and where
log-probs are exactly 0 the loss is infinite: here m is held at -1e-6 (ours). The ORPO of correlated proxies is another
method, `chi-squared`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.aggregates import share_of_pairs
from agentrl.trainers.parts.preference_metrics import reward_metrics
from agentrl.trainers.parts.preferences import PairNumbers
from agentrl.trainers.parts.surrogates_preference import chosen_tokens, pair_numbers
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class ORPOConfig:
    beta: float = 0.1
    """Weight of the odds ratio; 0.1 as in TRL."""
    sft_coef: float = 1.0
    """Weight of the chosen trajectories' negative log-likelihood; 1 as in the paper."""

    def __post_init__(self) -> None:
        require(self.beta > 0, f"beta is {self.beta}; it must be above 0")
        require(self.sft_coef >= 0, f"sft_coef is {self.sft_coef}; it must not be negative")


def log_odds(mean_logp: Tensor) -> Tensor:
    """m - log(1 - exp(m)), m held at -1e-6.   mean_logp: [P] m, with gradient.   Returns [P]."""
    m = mean_logp.clamp(max=-1e-6)
    near = (-torch.expm1(m.clamp(min=-1.0))).log()
    far = torch.log1p(-m.clamp(max=-math.log(2)).exp())
    return m - torch.where(m > -math.log(2), near, far)


def _means(pairs: PairNumbers) -> tuple[Tensor, Tensor]:
    """m of the sides.   [P], [P]."""
    return pairs.chosen_logp / pairs.chosen_tokens, pairs.rejected_logp / pairs.rejected_tokens


def log_odds_ratio(pairs: PairNumbers) -> Tensor:
    """o(chosen) - o(rejected).   Returns [P]."""
    chosen, rejected = _means(pairs)
    return log_odds(chosen) - log_odds(rejected)


def _orpo(view: StepView, config: ORPOConfig, state: None) -> list[Term]:
    assert view.current is not None
    odds = Term(-logsigmoid(log_odds_ratio(pair_numbers(view))), level="pair", weight=config.beta)
    if config.sft_coef == 0:
        return [odds]
    return [odds, Term(-view.current, weight=config.sft_coef, aggregate="token-mean", of=chosen_tokens(view))]


def _metrics(view: StepView, config: ORPOConfig, state: None) -> dict[str, float]:
    with torch.no_grad():
        pairs = pair_numbers(view)
        chosen, rejected = _means(pairs)
        ratio = share_of_pairs(pairs.weight) * log_odds_ratio(pairs)
    shown = reward_metrics(
        (config.beta * chosen, config.beta * rejected), (pairs.chosen_logp, pairs.rejected_logp), pairs.weight
    )
    return shown | {"orpo/log_odds_ratio": float(ratio.sum())}


ORPO_SURROGATE = Part(
    name="orpo",
    kind="surrogate",
    bind=_orpo,
    config=ORPOConfig,
    needs=("pairs",),
    couples="group",
    metrics=_metrics,
)
"""ORPO's: likelihood of the chosen trajectories, and the odds of a pair's sides against each other."""
ORPO = Algorithm(
    name="orpo",
    citation=(
        "J. Hong, N. Lee, J. Thorne: ORPO: monolithic preference optimization without reference model. EMNLP 2024. "
        "arXiv 2403.07691."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate=ORPO_SURROGATE,
    aggregate="pair-mean",
    learns_from="both",
)
