"""RPO: regularised preference optimisation, DPO with an SFT term against over-optimisation (arXiv 2405.16436).

    L = mean over the pairs of  -log sigmoid(beta * d)  +  L_SFT,   d = (lp - ref)(chosen) - (lp - ref)(rejected)

    cumulative:  L_SFT = -eta * beta * mean over the baseline trajectories of  lp
    averaged:    L_SFT = -eta * mean over the baseline trajectories of  (mean over its tokens of log p)

lp and ref are sums over the response tokens of a trajectory, of all its turns, under policy and reference. The paper
proves that the likelihood of what a baseline policy says is the adversary's regulariser where the reward is uncertain;
in its experiments these are the chosen trajectories, each once however many pairs it stands in. Here they may as well
be demonstrations: those in the batch, or the world's own solutions, played and written as the run writes them.

Formulas from the released code (YSLIU627/Regularized-Preference-Optimization, d0389c4), read; of the paper, which has
L_SFT in the cumulative form, the abstract. Released for chat: eta .005 and beta .01 (7B), cumulative. For reasoning:
averaged, `settings: {rpo: {form: averaged, eta: 0.2, beta: 0.5}}`, without beta before L_SFT. The cumulative term grows
with the length of an episode: with thousands of tokens take the averaged one, or a much smaller eta. eta = 0 is DPO.
Another loss for the pairs is `parts: {surrogate: preference}`, whose beta is its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part, Rehearsal
from agentrl.trainers.parts.log_ratios import log_ratio, margin, trajectory_sum
from agentrl.trainers.parts.preference_metrics import preference_metrics
from agentrl.trainers.parts.preferences import logistic
from agentrl.trainers.parts.surrogates_preference import chosen_tokens
from agentrl.trainers.step_view import StepView, Term
from agentrl.types import Trajectory


@dataclass(frozen=True, kw_only=True)
class RPOConfig:
    beta: float = 0.01
    """DPO's: how near to the reference; .01 as released for a 7B chat model, .5 for reasoning."""
    eta: float = 0.005
    """Weight of the SFT term: .005 as released, and .2 in the averaged form; 0 leaves it out."""
    form: Literal["cumulative", "averaged"] = "cumulative"
    """cumulative: eta * beta times the log-prob of a trajectory. averaged: eta times its mean over tokens."""
    baseline: Literal["chosen", "demonstrations", "solutions"] = "chosen"
    """Whose likelihood is held up: the chosen trajectories'; demonstrations' in the data; the world's solutions'."""

    def __post_init__(self) -> None:
        require(self.beta > 0, f"beta is {self.beta}; it must be above 0")
        require(self.eta >= 0, f"eta is {self.eta}; it must not be negative")


def held_up(view: StepView, baseline: str) -> Tensor:
    """The tokens of the baseline trajectories.   Returns [N] bool."""
    if baseline == "chosen":
        return chosen_tokens(view)
    assert view.demonstrated is not None
    return view.demonstrated[view.trajectory_of_token]


async def with_solutions(
    groups: Sequence[list[Trajectory]], rehearsal: Rehearsal, config: RPOConfig, state: None
) -> list[list[Trajectory]]:
    """Every group with the world's solution of its task beside it, where there is one that works."""
    asked = [(group[0].task, group[0].group) for group in groups]
    found = await rehearsal.demonstrations(asked)
    rehearsal.counts["rpo/missing_solutions"] = float(sum(one is None for one in found))
    return [group if one is None else [*group, one] for group, one in zip(groups, found, strict=True)]


def _dpo(view: StepView, config: RPOConfig, state: None) -> Term:
    return Term(logistic(config.beta * margin(view, log_ratio(view))), "pair")


def _sft(view: StepView, config: RPOConfig, state: None) -> Term:
    assert view.current is not None
    of = held_up(view, config.baseline)
    if config.form == "averaged":
        return Term(-view.current, weight=config.eta, aggregate="trajectory-mean", of=of)
    total = trajectory_sum(view, view.current)
    return Term(-total, "trajectory", config.eta * config.beta, aggregate="trajectory-mean", of=of)


def _metrics(view: StepView, config: RPOConfig, state: None) -> dict[str, float]:
    return preference_metrics(view, config.beta)


RPO_DPO = Part(
    name="rpo-dpo",
    kind="surrogate",
    bind=_dpo,
    config=RPOConfig,
    section="rpo",
    needs=("reference", "pairs"),
    couples="group",
    metrics=_metrics,
)
"""RPO's preference loss: DPO's."""
RPO_SFT = Part(
    name="rpo-sft",
    kind="regulariser",
    bind=_sft,
    config=RPOConfig,
    section="rpo",
    needs=("pairs",),
    active=lambda config: config.eta > 0 and config.baseline != "solutions",
)
"""RPO's: the likelihood of the chosen trajectories, or of the data's demonstrations, is held up."""
RPO_SOLUTIONS_SFT = Part(
    name="rpo-solutions-sft",
    kind="regulariser",
    bind=_sft,
    config=RPOConfig,
    section="rpo",
    needs=("pairs", "solutions"),
    active=lambda config: config.eta > 0 and config.baseline == "solutions",
)
"""The same for the world's solutions, where `baseline` is solutions."""
RPO_SOLUTIONS = Part(
    name="rpo-solutions",
    kind="rewrite",
    bind=with_solutions,
    config=RPOConfig,
    section="rpo",
    needs=("solutions",),
    active=lambda config: config.eta > 0 and config.baseline == "solutions",
)
"""Puts the world's solution of its task beside each group, where `baseline` is solutions."""
RPO = Algorithm(
    name="rpo",
    citation=(
        "Z. Liu et al.: Provably mitigating overoptimization in RLHF: your SFT loss is implicitly an adversarial "
        "regularizer. NeurIPS 2024. arXiv 2405.16436."
    ),
    rewrites=(RPO_SOLUTIONS,),
    pairing="best-worst",
    advantage=None,
    surrogate=RPO_DPO,
    regularisers=(RPO_SFT, RPO_SOLUTIONS_SFT),
    aggregate="pair-mean",
    learns_from="both",
)
