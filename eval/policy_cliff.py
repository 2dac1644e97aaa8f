"""The policy cliff: what a reward leaves open, and how far the best policy moves when the reward moves a little.

Where two ways earn the same, the map from rewards to optimal policies jumps there, and an arbitrarily small term
decides which of them is learned; an entropy or KL term of weight alpha makes the map continuous. Source: arXiv
2507.20150, which has neither an algorithm nor diagnostics. What is measured here follows from its statements and is
ours: numbers of responses to one task that were played side by side (a group), without any training.

    D1  ties        is the best reward reached by several strategies, and by how many
    D2  margin      by how much the best strategy earns more than the second best
    D3  shift       how far the best policy moves when a small term is added to the reward
    D4  held out    in what the tied responses differ that the reward does not tell
    D5  components  do the parts of a score pull against each other
    D7  slope       by how much a policy may move for each unit of reward, at most

(D6, two seeds or a little less data, takes two runs: `agentrl report ONE TWO` sets them side by side.)
A tie is no fault: it says that something is undecided, not that it matters.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, pstdev
from typing import Literal

from agentrl.types import ENDS, Trajectory

SAME = 1e-9
"""Rewards that differ by no more are the same."""
MARGIN_EDGES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5)
"""Upper edges of the histogram of margins; what is above the last stands in a bin of its own."""
SMALL_MARGIN = 0.05
"""epsilon: up to here a margin is one that a small term of the reward can turn round."""
PERTURBATION = 0.01
"""How much a perturbation adds to a reward or takes from it, at most."""
TEMPERATURES = (0.0, 0.001, 0.01, 0.1)
"""alpha at which perturbations are shown; 0 stands for the hard choice of the best."""
REWEIGHTED = 0.1
"""By which share a component's weight is changed, up and down."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Responses to one task, played side by side; every sequence is one-to-one with `keys`."""

    keys: Sequence[str]
    rewards: Sequence[float]
    """The world's score."""
    strategies: Sequence[str]
    success: bool
    """Does one of them succeed."""


def strategy_of(trajectory: Trajectory, by: Literal["auto", "answer", "actions", "text"] = "auto") -> str:
    """What was tried, as a text: equal texts are one strategy.

    answer: the final answer, or the last action where the world tells none. actions: all of them, in their order.
    text: the last reply, in lower case with single spaces. auto: the answer where the world tells it, else the actions.
    """
    acting = [turn for turn in trajectory.turns if turn.kind == "act"]
    answer = trajectory.outcome.answer
    if by == "actions" or (by == "auto" and answer is None):
        return "\n".join(turn.action for turn in acting)
    if by == "text":
        return " ".join(trajectory.turns[-1].completion.text.lower().split()) if trajectory.turns else ""
    return answer if answer is not None else acting[-1].action if acting else ""


def groups_of(episodes: Mapping[str, Trajectory]) -> list[Group]:
    """Groups of two and more, without the episodes that the infrastructure failed.   episodes: key -> episode."""
    found: dict[tuple[str, str], list[str]] = {}
    for key, trajectory in episodes.items():
        if ENDS[trajectory.ended].in_statistics:
            found.setdefault((trajectory.group, trajectory.task.id), []).append(key)
    return [
        Group(
            keys=keys,
            rewards=[episodes[key].outcome.score for key in keys],
            strategies=[strategy_of(episodes[key]) for key in keys],
            success=any(episodes[key].outcome.success for key in keys),
        )
        for keys in found.values()
        if len(keys) > 1
    ]


# ---- D1, D2, D4: ties and margins


def best_of(rewards: Sequence[float]) -> list[int]:
    """Places of the responses that reach the maximum reward."""
    most = max(rewards)
    return [place for place, reward in enumerate(rewards) if most - reward <= SAME]


def tied_strategies(rewards: Sequence[float], strategies: Sequence[str]) -> Counter[str]:
    """D1: the strategies that reach the maximum reward, with their counts; the group is tied where there are several.

    Source: ours, after propositions 2.4 and 2.5: the optimal policy is discontinuous where two optimal actions tie.
    """
    return Counter(strategies[place] for place in best_of(rewards))


def effective_number(counts: Iterable[int]) -> float:
    """D1: how many strategies there are, the rare ones counting less.   counts: above 0, at least one.

        exp(-sum_c p_c log p_c)      with p_c the share of strategy c

    Source: the exponential of Shannon's entropy (Hill's number of order 1), on the tied strategies; ours.
    """
    told = list(counts)
    total = sum(told)
    return math.exp(-sum(count / total * math.log(count / total) for count in told))


def margin(rewards: Sequence[float], strategies: Sequence[str]) -> float:
    """D2: mean reward of the best strategy minus that of the second best; nan where there is but one.

    Source: ours, after theorem 2.3: the optimal policy is continuous where the best action is unique.
    """
    earned: dict[str, list[float]] = {}
    for reward, strategy in zip(rewards, strategies, strict=True):
        earned.setdefault(strategy, []).append(reward)
    means = sorted(fmean(values) for values in earned.values())
    return means[-1] - means[-2] if len(means) > 1 else math.nan


def margin_histogram(margins: Iterable[float], edges: Sequence[float] = MARGIN_EDGES) -> list[int]:
    """D2: how many margins are up to each edge, and above the one before; the last bin is of those above all edges.

    edges: rising.   Returns one count more than there are edges; nan is in none.
    """
    counts = [0] * (len(edges) + 1)
    for value in margins:
        if not math.isnan(value):
            counts[sum(value > edge + SAME for edge in edges)] += 1
    return counts


def spread_at_best(rewards: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """D4: mean and standard deviation of a held-out metric among the responses that reach the maximum reward.

    values: one a response, of something that the reward does not tell. A deviation above 0 means that it is undecided.
    Source: ours, after proposition 3.1: a policy that is optimal for an incomplete reward may not be for the true one.
    """
    best = [values[place] for place in best_of(rewards)]
    return fmean(best), pstdev(best)


# ---- D3, D7: perturbations


def policy_of(rewards: Sequence[float], alpha: float) -> list[float]:
    """The best policy over the responses of a group, in the terms of a bandit: one probability a response.

        w_i = exp(R_i / alpha) / sum_j exp(R_j / alpha)      alpha = 0: uniform over the responses that tie at the best

    Source: the entropy-regularised optimum, and proposition 2.5's uniform policy.
    """
    if alpha == 0:
        best = best_of(rewards)
        return [1 / len(best) if place in best else 0.0 for place in range(len(rewards))]
    most = max(rewards)
    weights = [math.exp((reward - most) / alpha) for reward in rewards]
    total = sum(weights)
    return [weight / total for weight in weights]


def total_variation(first: Sequence[float], second: Sequence[float]) -> float:
    """Half of sum_i |p_i - q_i|: from 0 (the same) to 1 (nothing in common)."""
    return sum(abs(p - q) for p, q in zip(first, second, strict=True)) / 2


def lipschitz(alpha: float, gamma: float = 0.0) -> float:
    """D7: by how much a policy may move, in total variation, for each unit that the reward moves.

        1 / (2 alpha (1 - gamma))

    Source: proposition 4.5. Infinite for alpha = 0: that is the cliff.
    """
    return 1 / (2 * alpha * (1 - gamma)) if alpha > 0 else math.inf


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How a group's best policy moved with its rewards."""

    total_variation: float
    bound: float
    """What proposition 4.5 allows; above 1 it says nothing."""
    flipped: bool
    """Are the best responses others than before, or more, or fewer."""


def moved(rewards: Sequence[float], perturbed: Sequence[float], alpha: float) -> Moved:
    """D3: the best policy for R against that for R'.

        TV = 1/2 sum_i |w_i - w'_i|  <=  max_i |R_i - R'_i| / (2 alpha)      with w = policy_of(R, alpha)

    Source: the diagnostic is ours; the bound is proposition 4.5 with one step and gamma = 0.
    """
    most = max(abs(first - second) for first, second in zip(rewards, perturbed, strict=True))
    return Moved(
        total_variation=total_variation(policy_of(rewards, alpha), policy_of(perturbed, alpha)),
        bound=most * lipschitz(alpha) if most else 0.0,
        flipped=best_of(rewards) != best_of(perturbed),
    )


def with_term(rewards: Sequence[float], values: Sequence[float], size: float) -> list[float]:
    """Rewards with a small term: R_i + size * v_i, with v scaled to at most 1 in the group.   values: not negative."""
    most = max(values)
    return [reward + size * value / most if most > 0 else reward for reward, value in zip(rewards, values, strict=True)]


# ---- D5: components


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Where the components of a score pull against each other."""

    weights: Mapping[str, float]
    share: Mapping[str, float]
    """component -> its share of the sum of all |A|."""
    disagreement: Mapping[str, float]
    """`first, second` -> share of the responses that one of them raises and the other lowers."""
    correlation: Mapping[str, float]
    """`first, second` -> correlation of their advantages; nan where one of them is always 0."""
    flips: Mapping[str, float]
    """component -> share of the pairs of a group whose order changes when its weight does, up or down."""


def component_conflict(groups: Sequence[Mapping[str, Sequence[float]]], weights: Mapping[str, float]) -> Conflict:
    """D5: how the components of a score agree.

        A_k,i = w_k * (c_k,i - mean of c_k in the group)

    groups: of each, component -> one value a response.   weights: component -> w_k; those of weight 0 are left out.
    A pair of responses whose tie is broken, or made, has changed its order too.
    Source: ours; the paper's R_eff = sum_k w_k R_k, for which the same statements hold as for one reward.
    """
    used = {name: weight for name, weight in weights.items() if abs(weight) > SAME}
    advantage: dict[str, list[float]] = {
        name: [weight * (value - fmean(group[name])) for group in groups for value in group[name]]
        for name, weight in used.items()
    }
    size = {name: sum(map(abs, values)) for name, values in advantage.items()}
    disagreement, correlation = {}, {}
    for first, second in combinations(used, 2):
        pairs = list(zip(advantage[first], advantage[second], strict=True))
        against = sum(min(a, b) < -SAME and max(a, b) > SAME for a, b in pairs)
        disagreement[f"{first}, {second}"] = against / len(pairs) if pairs else math.nan
        squares = sum(a * a for a, _ in pairs) * sum(b * b for _, b in pairs)
        correlation[f"{first}, {second}"] = sum(a * b for a, b in pairs) / math.sqrt(squares) if squares else math.nan
    total = sum(size.values())
    return Conflict(
        weights=used,
        share={name: value / total if total else 0.0 for name, value in size.items()},
        disagreement=disagreement,
        correlation=correlation,
        flips={name: _flips(groups, used, name) for name in used},
    )


def _flips(groups: Sequence[Mapping[str, Sequence[float]]], weights: Mapping[str, float], name: str) -> float:
    changed = pairs = 0
    for group in groups:
        ways = [weights] + [{**weights, name: weights[name] * factor} for factor in (1 - REWEIGHTED, 1 + REWEIGHTED)]
        scores = [
            [sum(way[k] * value for k, value in zip(way, values, strict=True)) for values in _responses(group, way)]
            for way in ways
        ]
        for first, second in combinations(range(len(scores[0])), 2):
            changed += len({_sign(of_way[first] - of_way[second]) for of_way in scores}) > 1
            pairs += 1
    return changed / pairs if pairs else math.nan


def _responses(group: Mapping[str, Sequence[float]], names: Iterable[str]) -> Iterable[tuple[float, ...]]:
    return zip(*(group[name] for name in names), strict=True)


def _sign(value: float) -> int:
    return (value > SAME) - (value < -SAME)


def score_weights(components: Mapping[str, Sequence[float]], scores: Sequence[float]) -> dict[str, float]:
    """The weights with which the components add up to the score; empty where they do not, whatever the weights.

    components: name -> one value an episode.   scores: one an episode.
    Source: ours; least squares, the smallest weights where several fit.
    """
    if not components or not scores:
        return {}
    import numpy as np

    table = np.array(list(components.values())).T
    weights = np.linalg.lstsq(table, np.array(scores), rcond=None)[0]
    fits = bool(np.abs(table @ weights - np.array(scores)).max() < 1e-6)
    return {name: round(float(w), 6) for name, w in zip(components, weights, strict=True)} if fits else {}


# ---- all of it, of one step or one evaluation


@dataclass(frozen=True, kw_only=True)
class Spread:
    """D4, over the tied groups: what a metric is among their best responses."""

    mean: float
    deviation: float
    """Mean of the groups' standard deviations."""
    undecided: float
    """Share of the tied groups whose deviation is above 0."""


@dataclass(frozen=True, kw_only=True)
class Shift:
    """D3, over the groups: what a small term of the reward does."""

    flips: float
    """Share of groups whose best responses become others, or more, or fewer."""
    total_variation: Mapping[str, float]
    """alpha -> mean; `0` is the hard choice."""
    bound: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class PolicyCliff:
    """What the reward leaves open, by the groups that hold a success (components: by all)."""

    groups: int
    """Groups of two and more."""
    solved: int
    """Those that hold a success; all further numbers but the components' are of these."""
    tied: int
    """Groups whose best reward is reached by responses that differ in strategy."""
    strategies: float
    """Effective number of the tied strategies, mean over the tied groups; nan where there is none."""
    margins: Sequence[int]
    """Histogram by MARGIN_EDGES."""
    small_margin: float
    """Share of the groups with a margin whose margin is at most SMALL_MARGIN; nan where none has one."""
    spread: Mapping[str, Spread]
    """turns, tokens, invalid."""
    shifts: Mapping[str, Shift]
    """form: a term for turns of the right form. length: a term for tokens. Each of both signs."""
    components: Conflict | None
    """None where the world tells fewer than two that make up its score."""


def invalid_share(trajectory: Trajectory) -> float:
    """Share of the acting turns that could not be read or were refused; 0 of none."""
    acting = [turn for turn in trajectory.turns if turn.kind == "act"]
    return sum(not (turn.readable and turn.valid) for turn in acting) / max(1, len(acting))


HELD_OUT: Mapping[str, Callable[[Trajectory], float]] = {
    "turns": lambda trajectory: float(trajectory.num_acts),
    "tokens": lambda trajectory: float(trajectory.num_tokens),
    "invalid": invalid_share,
}
"""Metrics that a score seldom tells, by name."""


def policy_cliff(episodes: Mapping[str, Trajectory]) -> PolicyCliff | None:
    """Every diagnostic of some episodes; None where there is no group with a success.   episodes: key -> episode."""
    groups = groups_of(episodes)
    solved = [group for group in groups if group.success]
    if not solved:
        return None
    counts = [tied_strategies(group.rewards, group.strategies) for group in solved]
    tied = [group for group, count in zip(solved, counts, strict=True) if len(count) > 1]
    margins = [margin(group.rewards, group.strategies) for group in solved]
    known = [value for value in margins if not math.isnan(value)]
    terms: Mapping[str, Callable[[Trajectory], float]] = {"form": _form, "length": HELD_OUT["tokens"]}
    return PolicyCliff(
        groups=len(groups),
        solved=len(solved),
        tied=len(tied),
        strategies=_mean(effective_number(count.values()) for count in counts if len(count) > 1),
        margins=margin_histogram(margins),
        small_margin=sum(value <= SMALL_MARGIN + SAME for value in known) / len(known) if known else math.nan,
        spread={name: _spread(tied, episodes, metric) for name, metric in HELD_OUT.items()} if tied else {},
        shifts={name: _shift(solved, episodes, value) for name, value in terms.items()},
        components=_components(groups, episodes),
    )


def _form(trajectory: Trajectory) -> float:
    return max(0.0, trajectory.outcome.components.get("format", 1 - invalid_share(trajectory)))


def _spread(
    groups: Sequence[Group], episodes: Mapping[str, Trajectory], metric: Callable[[Trajectory], float]
) -> Spread:
    found = [spread_at_best(group.rewards, [metric(episodes[key]) for key in group.keys]) for group in groups]
    return Spread(
        mean=fmean(mean for mean, _ in found),
        deviation=fmean(deviation for _, deviation in found),
        undecided=sum(deviation > SAME for _, deviation in found) / len(found),
    )


def _shift(groups: Sequence[Group], episodes: Mapping[str, Trajectory], value: Callable[[Trajectory], float]) -> Shift:
    perturbed = [
        (group.rewards, with_term(group.rewards, [value(episodes[key]) for key in group.keys], size))
        for group in groups
        for size in (PERTURBATION, -PERTURBATION)
    ]
    by_alpha = {f"{alpha:g}": [moved(*rewards, alpha) for rewards in perturbed] for alpha in TEMPERATURES}
    return Shift(
        flips=_mean(float(entry.flipped) for entry in next(iter(by_alpha.values()))),
        total_variation={alpha: _mean(entry.total_variation for entry in found) for alpha, found in by_alpha.items()},
        bound={alpha: _mean(entry.bound for entry in found) for alpha, found in by_alpha.items()},
    )


def _components(groups: Sequence[Group], episodes: Mapping[str, Trajectory]) -> Conflict | None:
    played = [episodes[key] for group in groups for key in group.keys]
    names = list(played[0].outcome.components) if played else []
    names = [name for name in names if all(name in t.outcome.components for t in played)]
    told = {name: [t.outcome.components[name] for t in played] for name in names}
    weights = score_weights(told, [t.outcome.score for t in played])
    if sum(abs(weight) > SAME for weight in weights.values()) < 2:
        return None
    tables = [{name: [episodes[k].outcome.components[name] for k in group.keys] for name in names} for group in groups]
    return component_conflict(tables, weights)


def _mean(values: Iterable[float]) -> float:
    told = list(values)
    return fmean(told) if told else math.nan
