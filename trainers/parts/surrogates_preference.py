"""The surrogate of the DPO family: one term a pair, by a table of scalar functions (TRL's names)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.models.head import Probe
from agentrl.segments import count_by, mean_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Couples, Part
from agentrl.trainers.parts import preferences as losses
from agentrl.trainers.parts.places import place_in_trajectory
from agentrl.trainers.parts.preference_metrics import reward_metrics, rising_metrics
from agentrl.trainers.parts.preferences import Divergence, PairNumbers, divergence_score, weighed_sides
from agentrl.trainers.parts.probes import SUM_OF_SQUARES
from agentrl.trainers.step_view import StepView, Term

Loss = Literal[
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
]
SMOOTHED = ("sigmoid", "sigmoid_norm", "robust", "exo_pair", "aot", "aot_unpaired")
"""Losses that know of wrong labels."""
DIVERGING = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "discopop", "sft")
"""Losses for which another divergence than reverse KL is derived."""
SORTED = ("aot", "aot_unpaired")
"""Losses that compare a pair with others of the batch."""


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig:
    loss: Loss | tuple[Loss, ...] = "sigmoid"
    """What is made of a pair, by TRL's names; a list is added up."""
    weights: tuple[float, ...] = ()
    """Of each loss in a list; empty: 1 each."""
    beta: float = 0.1
    """How much a log-ratio counts, the strength of the pull to the reference; 0.1 as in DPO's paper."""
    label_smoothing: float = 0.0
    """eps: how often a label is wrong, in sigmoid (conservative DPO), robust, aot; the target of exo_pair, above 0."""
    f_divergence: Divergence = "reverse_kl"
    """What is regularised (f-DPO): reverse_kl is DPO; the others count a log-ratio by their own score."""
    f_alpha: float = 0.5
    """Of f_divergence alpha; towards 1 it is reverse_kl."""
    ld_alpha: float = 1.0
    """What tokens beyond the shorter side's length count (LD-DPO); 1: like all others, 0: nothing."""
    likelihood_weight: bool = False
    """A pair counts by how likely its sides are under the policy, as if it had sampled them (WPO); not in sft."""
    per_token: bool = True
    """Of ipo: means over the tokens, as its authors do; false: sums, as the paper is written."""
    discopop_temperature: float = 0.05
    """Of discopop: how sharply it turns from the logistic to the exponential loss."""

    def __post_init__(self) -> None:
        names = self.losses
        require(bool(names), "loss is an empty list; name at least one, as sigmoid")
        require(
            not self.weights or len(self.weights) == len(names),
            f"weights has {len(self.weights)} numbers for {len(names)} losses; give one each",
        )
        require(self.beta > 0, f"beta is {self.beta}; it must be above 0")
        eps = self.label_smoothing
        require(0 <= eps < 0.5, f"label_smoothing is {eps}; it must be from 0 to below 0.5: more would be other labels")
        require(
            eps == 0 or any(name in SMOOTHED for name in names),
            f"label_smoothing is {eps}, and loss {_shown(names)} has none; it is for {', '.join(SMOOTHED)}",
        )
        require(
            eps > 0 or "exo_pair" not in names,
            "label_smoothing is 0, and exo_pair needs a target above 0; its paper has 1e-3",
        )
        fixed = [name for name in names if name not in DIVERGING]
        require(
            self.f_divergence == "reverse_kl" or not fixed,
            f"f_divergence is {self.f_divergence}, and loss {_shown(fixed)} is derived for reverse_kl alone",
        )
        require(0 <= self.ld_alpha <= 1, f"ld_alpha is {self.ld_alpha}; it must be from 0 to 1")
        require(
            self.discopop_temperature > 0, f"discopop_temperature is {self.discopop_temperature}; it must be above 0"
        )

    @property
    def losses(self) -> tuple[str, ...]:
        """The losses that are added up."""
        return (self.loss,) if isinstance(self.loss, str) else self.loss

    @property
    def weighed(self) -> dict[str, float]:
        """Loss -> its weight."""
        weights = self.weights or (1.0,) * len(self.losses)
        return {name: sum(w for n, w in zip(self.losses, weights, strict=True) if n == name) for name in self.losses}


def _shown(names: tuple[str, ...] | list[str]) -> str:
    return " + ".join(names)


@dataclass(frozen=True)
class Scored:
    """Pairs with what the divergence makes of their log-ratios."""

    pairs: PairNumbers
    chosen: Tensor
    """[P]."""
    rejected: Tensor
    """[P]."""

    @property
    def gap(self) -> Tensor:
        """Delta.   [P]."""
        return self.chosen - self.rejected

    @property
    def gap_per_token(self) -> Tensor:
        """[P]."""
        return self.chosen / self.pairs.chosen_tokens - self.rejected / self.pairs.rejected_tokens

    def rewards(self, beta: float) -> tuple[Tensor, Tensor]:
        """beta a, beta r.   [P], [P]."""
        return beta * self.pairs.chosen_ratio, beta * self.pairs.rejected_ratio


def _aot(scored: Scored, config: PreferenceConfig) -> Tensor:
    pairs = scored.pairs
    above, below = pairs.chosen_logp - pairs.rejected_logp, pairs.chosen_reference - pairs.rejected_reference
    return losses.sorted_logistic(above, below, pairs.weight, config.beta, config.label_smoothing)


def _aot_unpaired(scored: Scored, config: PreferenceConfig) -> Tensor:
    above, below = scored.pairs.chosen_ratio, scored.pairs.rejected_ratio
    return losses.sorted_logistic(above, below, scored.pairs.weight, config.beta, config.label_smoothing)


def _self_play(scored: Scored, config: PreferenceConfig) -> Tensor:
    return losses.self_play(scored.pairs.chosen_ratio, scored.pairs.rejected_ratio, config.beta)


LOSSES: Mapping[str, Callable[[Scored, PreferenceConfig], Tensor]] = {
    "sigmoid": lambda s, c: losses.logistic(c.beta * s.gap, c.label_smoothing),
    "sigmoid_norm": lambda s, c: losses.logistic(c.beta * s.gap_per_token, c.label_smoothing),
    "hinge": lambda s, c: losses.hinge(c.beta * s.gap),
    "ipo": lambda s, c: losses.squared_error(s.gap_per_token if c.per_token else s.gap, c.beta),
    "robust": lambda s, c: losses.robust_logistic(c.beta * s.gap, c.label_smoothing),
    "exo_pair": lambda s, c: losses.exact(c.beta * s.gap, c.label_smoothing),
    "nca_pair": lambda s, c: losses.noise_contrastive(*s.rewards(c.beta)),
    "bco_pair": lambda s, c: losses.binary(*s.rewards(c.beta)),
    "sppo_hard": _self_play,
    "aot": _aot,
    "aot_unpaired": _aot_unpaired,
    "apo_zero": lambda s, c: losses.anchored_up(*s.rewards(c.beta)),
    "apo_down": lambda s, c: losses.anchored_down(*s.rewards(c.beta)),
    "discopop": lambda s, c: losses.log_ratio_modulated(c.beta * s.gap, c.discopop_temperature),
}
"""Loss -> its value for every pair, [P]; sft is on tokens."""


def pair_numbers(view: StepView, tail: float = 1.0) -> PairNumbers:
    """The sides of the view's pairs, over the tokens that carry loss.   tail: as in `weighed_sides`."""
    assert view.current is not None and view.pairs is not None
    own, pairs = view.trained, view.pairs
    trajectory = view.trajectory_of_token[own]
    place = place_in_trajectory(view)[own] if tail != 1 else trajectory
    logp = weighed_sides(view.current[own], trajectory, place, pairs, tail)
    reference = torch.zeros_like(logp)
    if view.reference is not None:
        reference = weighed_sides(view.reference.detach()[own], trajectory, place, pairs, tail)
    tokens = count_by(trajectory, view.num_trajectories).clamp(min=1).to(logp)[pairs]
    weight = logp.new_ones(len(pairs)) if view.pair_weight is None else view.pair_weight.to(logp)
    (chosen, rejected), (of_chosen, of_rejected) = logp.unbind(1), reference.unbind(1)
    return PairNumbers(chosen, rejected, of_chosen, of_rejected, tokens[:, 0], tokens[:, 1], weight)


def scored_pairs(view: StepView, config: PreferenceConfig) -> Scored:
    """The pairs under the config's divergence and rule for lengths."""
    pairs = pair_numbers(view, config.ld_alpha)
    chosen, rejected = (
        divergence_score(ratio, config.f_divergence, config.f_alpha)
        for ratio in (pairs.chosen_ratio, pairs.rejected_ratio)
    )
    return Scored(pairs, chosen, rejected)


def likelihood_weight(current: Tensor, sum_of_squares: Tensor, trajectory_of_token: Tensor, pairs: Tensor) -> Tensor:
    """exp of the mean over the tokens of log p(o) - log(sum over the vocabulary of p^2), both sides multiplied.

    current, sum_of_squares: [N'] of the tokens that carry loss.   trajectory_of_token: [N'] int.   pairs: [P, 2] int.
    Returns [P], without gradient. WPO (arXiv 2406.11827) as in TRL, `use_weighting`; read, not run.
    """
    size = 1 + max((int(index.max()) for index in (trajectory_of_token, pairs) if index.numel()), default=-1)
    tiny = torch.finfo(sum_of_squares.dtype).tiny
    aligned = current.detach() - sum_of_squares.detach().clamp(min=tiny).log()
    return mean_by(aligned, trajectory_of_token, size).exp()[pairs].prod(1)


def chosen_tokens(view: StepView) -> Tensor:
    """Tokens of trajectories that some pair prefers.   Returns [N] bool; also what carries no loss."""
    assert view.pairs is not None
    chosen = torch.zeros(view.num_trajectories, dtype=torch.bool)
    chosen[view.pairs[:, 0]] = True
    return chosen[view.trajectory_of_token]


def _preference(view: StepView, config: PreferenceConfig, state: None) -> list[Term]:
    assert view.current is not None and view.pairs is not None
    scored, weighed = scored_pairs(view, config), config.weighed
    of_pairs = [weight * LOSSES[name](scored, config) for name, weight in weighed.items() if name != "sft"]
    terms = [Term(_by_likelihood(view, config, torch.stack(of_pairs).sum(0)), level="pair")] if of_pairs else []
    if "sft" in weighed:
        of = chosen_tokens(view)
        terms.append(Term(-view.current, weight=weighed["sft"], aggregate="token-mean", of=of))
    return terms


def _by_likelihood(view: StepView, config: PreferenceConfig, values: Tensor) -> Tensor:
    if not config.likelihood_weight:
        return values
    assert view.current is not None and view.pairs is not None
    own, read = view.trained, view.probes["sum-of-squares"]
    return values * likelihood_weight(view.current[own], read[own], view.trajectory_of_token[own], view.pairs)


def _metrics(view: StepView, config: PreferenceConfig, state: None) -> dict[str, float]:
    with torch.no_grad():
        scored = scored_pairs(view, config)
    pairs = scored.pairs
    logp = pairs.chosen_logp, pairs.rejected_logp
    rising = rising_metrics(pairs.chosen_ratio, pairs.weight)
    return reward_metrics(scored.rewards(config.beta), logp, pairs.weight) | rising


def _couples(config: PreferenceConfig) -> Couples:
    return "batch" if any(name in SORTED for name in config.losses) else "group"


def _probes(config: PreferenceConfig, state: None) -> tuple[Probe, ...]:
    return (SUM_OF_SQUARES,) if config.likelihood_weight else ()


PREFERENCE = Part(
    name="preference",
    kind="surrogate",
    bind=_preference,
    config=PreferenceConfig,
    needs=("pairs", "reference"),
    probes=_probes,
    couples=_couples,
    metrics=_metrics,
)
"""The DPO family's: what is made of two trajectories' log-ratios to the reference, by a table of losses."""
