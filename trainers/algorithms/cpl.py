"""CPL: contrastive preference learning, from preferences over segments by regret (arXiv 2310.13639).

    adv(y) = alpha * sum over the turns u of y of  gamma^u * (log p of u's reply  [- log p_ref, in cpl-kl])
    L      = mean over the pairs of  -log [ e^adv(+) / (e^adv(+) + e^(lam * adv(-))) ]  +  bc_coef * L_BC
           = mean over the pairs of  -log sigmoid(adv(+) - lam * adv(-))  +  bc_coef * L_BC
    L_BC   = mean over the turns of  -log p of the reply

A step of the paper is a turn here, and a segment a whole trajectory (derived). lam < 1, the conservative weight, makes
it pay to raise the likelihood of both sides, against drift to what the data do not show; it acts on log-probs, so that
for sums over thousands of tokens (1 - lam) * length decides: take cpl-kl, or `normalise`. cpl-kl with lam 1 is DPO with
beta = alpha; cpl at one step is a contrast of two log-likelihoods. Where trajectories tie, both directions count half.

From the released code (jhejna/cpl, b333667), read and run: alpha .1 and lam .5, cpl-kl .2 and .75, no discount, and
segments of the same length. The paper, recalled, has the discount. It clones the behaviour for the first 200k of 500k
steps: train `sft` first; the reference of cpl-kl is what comes of it. Its form for scores, every two of a batch, is
`parts: {pairing: all-pairs}`, within a group, since scores of different tasks are not comparable: released, ties are
ordered by chance and losses of exactly 0 not counted; here tied trajectories make no pair, and all others count.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.segments import count_by, sum_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.log_ratios import margin, mean_of, sides
from agentrl.trainers.parts.pairings import trajectory_return
from agentrl.trainers.parts.preferences import logistic
from agentrl.trainers.parts.surrogates_preference import chosen_tokens
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class CPLConfig:
    alpha: float = 0.1
    """Temperature: what a nat counts; .1 as released, .2 in cpl-kl."""
    bias: float = 0.5
    """lam, the conservative weight of the worse one, above 0 and at most 1; .5 as released, .75 in cpl-kl."""
    gamma: float = 1.0
    """Discount a turn; 1 as released."""
    normalise: Literal["none", "turns", "tokens"] = "none"
    """Take the mean over the turns, or the tokens, for the sum: for trajectories of different lengths; ours."""
    bc_coef: float = 0.0
    """Weight of behaviour cloning beside the contrast; 0 as released."""
    bc_of: Literal["all", "chosen"] = "all"
    """What is cloned: all that carries loss, or the better ones of the pairs."""

    def __post_init__(self) -> None:
        require(self.alpha > 0, f"alpha is {self.alpha}; it must be above 0")
        require(0 < self.bias <= 1, f"bias is {self.bias}; it must be above 0 and at most 1")
        require(0 < self.gamma <= 1, f"gamma is {self.gamma}; it must be above 0 and at most 1")
        require(self.bc_coef >= 0, f"bc_coef is {self.bc_coef}; it must not be negative")


def segment_advantage(
    logp: Tensor, trajectory_of_turn: Tensor, turn_position: Tensor, tokens: Tensor, num: int, config: CPLConfig
) -> Tensor:
    """alpha * sum over the turns of gamma^u * logp_u; by `normalise` over how many turns or tokens there are.

    logp: [U] log-prob (or log-ratio) of each reply, with gradient.   trajectory_of_turn, turn_position: [U] int.
    tokens: [U] int.   Returns [J = num]; without tokens 0. A turn without tokens is not counted.
    """
    discount = torch.full_like(logp, config.gamma) ** turn_position
    total = config.alpha * sum_by(discount * logp, trajectory_of_turn, num)
    if config.normalise == "none":
        return total
    counted = (tokens > 0) if config.normalise == "turns" else tokens
    return total / sum_by(counted.to(logp), trajectory_of_turn, num).clamp(min=1)


def biased_contrast(better: Tensor, worse: Tensor, bias: float, label: Tensor) -> Tensor:
    """-label * log sigmoid(better - bias * worse) - (1 - label) * log sigmoid(worse - bias * better).

    better, worse: [P] adv, with gradient.   label: [P] 1, or 1/2 for a tie.   Returns [P].
    """
    return label * logistic(better - bias * worse) + (1 - label) * logistic(worse - bias * better)


def _of_turns(view: StepView, by_reference: bool) -> tuple[Tensor, Tensor]:
    """[U] log-prob of each reply, or its log-ratio, and [U] how many of its tokens carry loss."""
    assert view.current is not None
    value, own = view.current, view.trained
    if by_reference:
        assert view.reference is not None
        value = value - view.reference.detach()
    turn = view.turn_of_token[own]
    return sum_by(value[own], turn, view.num_turns), count_by(turn, view.num_turns)


def _advantages(view: StepView, config: CPLConfig, by_reference: bool) -> tuple[Tensor, Tensor]:
    """adv of both sides of each pair: [P], [P]."""
    logp, tokens = _of_turns(view, by_reference)
    num = view.num_trajectories
    return sides(view, segment_advantage(logp, view.trajectory_of_turn, view.turn_position, tokens, num, config))


def _terms(view: StepView, config: CPLConfig, by_reference: bool) -> list[Term]:
    assert view.current is not None
    better, worse = _advantages(view, config, by_reference)
    tied = margin(view, trajectory_return(view)) == 0
    label = torch.ones_like(better).masked_fill(tied, 0.5)
    terms = [Term(biased_contrast(better, worse, config.bias, label), "pair")]
    if config.bc_coef > 0:
        of = chosen_tokens(view) if config.bc_of == "chosen" else None
        cloned = -_of_turns(view, by_reference=False)[0]
        terms.append(Term(cloned, "turn", config.bc_coef, aggregate="turn-mean", of=of))
    return terms


def _cpl(view: StepView, config: CPLConfig, state: None) -> list[Term]:
    return _terms(view, config, by_reference=False)


def _cpl_kl(view: StepView, config: CPLConfig, state: None) -> list[Term]:
    return _terms(view, config, by_reference=True)


def _shown(view: StepView, config: CPLConfig, by_reference: bool) -> dict[str, float]:
    with torch.no_grad():
        better, worse = _advantages(view, config, by_reference)
    clear = margin(view, trajectory_return(view)) != 0
    turns = count_by(view.trajectory_of_turn, view.num_trajectories).to(view.score)
    return {
        "cpl/accuracy": mean_of((better > worse)[clear]),
        "cpl/advantage_better": mean_of(better),
        "cpl/advantage_worse": mean_of(worse),
        "cpl/turn_gap": mean_of(margin(view, turns).abs()),
    }


def _metrics(view: StepView, config: CPLConfig, state: None) -> dict[str, float]:
    return _shown(view, config, by_reference=False)


def _kl_metrics(view: StepView, config: CPLConfig, state: None) -> dict[str, float]:
    return _shown(view, config, by_reference=True)


CPL_SURROGATE = Part(
    name="cpl", kind="surrogate", bind=_cpl, config=CPLConfig, needs=("pairs",), couples="group", metrics=_metrics
)
"""CPL's: a contrast of two segments' log-probs, conservatively biased."""
CPL_KL_SURROGATE = Part(
    name="cpl-kl",
    kind="surrogate",
    bind=_cpl_kl,
    config=CPLConfig,
    section="cpl",
    needs=("reference", "pairs"),
    couples="group",
    metrics=_kl_metrics,
)
"""The same of log-ratios to the reference."""
CPL = Algorithm(
    name="cpl",
    citation=(
        "J. Hejna et al.: Contrastive preference learning: learning from human feedback without RL. ICLR 2024. "
        "arXiv 2310.13639."
    ),
    pairing="best-worst",
    advantage=None,
    surrogate=CPL_SURROGATE,
    aggregate="pair-mean",
    learns_from="both",
)
CPL_KL = Algorithm(
    name="cpl-kl",
    citation=CPL.citation,
    pairing="best-worst",
    advantage=None,
    surrogate=CPL_KL_SURROGATE,
    aggregate="pair-mean",
    learns_from="both",
    settings={"cpl": {"alpha": 0.2, "bias": 0.75}},
)
