"""The golden files of curricula: promotion scores, and a budget of rollouts."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from agentrl.trainers.curricula.knapsack import allocate, chance_of_signal, info_gain, rollouts_until_signal
from agentrl.trainers.curricula.vas import (
    blended,
    distinct,
    num_weighted,
    probabilities,
    promotion_score,
    weights_of,
)
from tests.golden.check import Case, Check


def vas(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    rates = inputs["pass_rate"]
    diversity = [distinct(replies) for replies in inputs["responses"]]
    scores = [promotion_score(p, d, params["alpha"], params["beta"]) for p, d in zip(rates, diversity, strict=True)]
    weights = weights_of(scores, params["normalise"].replace("_", "-"))
    if inputs["old_weight"] is not None:
        weights = blended(inputs["old_weight"], weights, params["momentum"])
    chance = probabilities(weights)
    weighted = num_weighted(params["weighted_share"], params["batch"])
    uniform = params["batch"] - weighted
    yield Check(diversity, outputs["diversity"])
    yield Check([promotion_score(p, 0.0, 1.0, 0.0) for p in rates], outputs["ovs"])
    yield Check(scores, outputs["vps"])
    yield Check(weights, outputs["weight"])
    yield Check(chance, outputs["probability"])
    yield Check([weighted, uniform], [outputs["weighted_draws"], outputs["uniform_draws"]])
    yield Check([weighted * p + uniform / len(rates) for p in chance], outputs["expected_draws"])


def knapsack_values(case: Case) -> Iterator[Check]:
    outputs = case["outputs"]
    rate = torch.tensor(case["inputs"]["success_rate"], dtype=torch.float64)
    num = torch.tensor(case["params"]["n"])
    signal = chance_of_signal(num, rate[:, None])
    yield Check(signal.tolist(), outputs["p_nonzero"])
    yield Check(info_gain(rate).tolist(), outputs["info_gain"])
    yield Check((signal * info_gain(rate)[:, None]).tolist(), outputs["value"])
    waited = [math.nan if math.isinf(x) else x for x in rollouts_until_signal(rate).tolist()]
    yield Check(waited, outputs["expected_rollouts_until_mixed"])


def knapsack_allocation(case: Case) -> Iterator[Check]:
    """Among optimal allocations the rule of leftovers chooses: tasks that were never solved come first."""
    params, outputs = case["params"], case["outputs"]
    low, up = params["low"], params["up"]
    rate = torch.tensor(case["inputs"]["success_rate"], dtype=torch.float64)
    got = allocate(rate, params["budget"], low, up)
    values = (chance_of_signal(torch.arange(low, up + 1), rate[:, None]) * info_gain(rate)[:, None]).tolist()
    yield Check(values, outputs["value_by_n"])
    yield Check([sum(got), min(got) >= low, max(got) <= up], [params["budget"], True, True])
    yield Check(sum(own[num - low] for own, num in zip(values, got, strict=True)), outputs["optimal_value"])
    optimal = outputs["optimal_allocations"]
    if len(optimal) == outputs["optimal_count"]:
        places = [place for place, p in enumerate(rate.tolist()) if p == 0]
        best = max(optimal, key=lambda one: [one[place] for place in places])
        yield Check(got, best if places else optimal[optimal.index(got) if got in optimal else 0])


def _mmr1(content: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    yield "mmr1", Check([promotion_score(p, 0.0, 1.0, 0.0) for p in content["P"]], content["OVS"])


def _knapsack(content: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    rate = torch.tensor(content["p"], dtype=torch.float64)
    yield "knapsack", Check(allocate(rate, content["budget"], 2, 128), content["N(low 2, up 128)"])
    yield "knapsack", Check(chance_of_signal(torch.tensor(8), rate).tolist(), content["P_nz(N=8)"])
    yield "knapsack", Check(info_gain(rate).tolist(), content["infogain"])
    mixed = rate[(rate > 0) & (rate < 1)]
    yield "knapsack", Check(rollouts_until_signal(mixed).tolist(), content["E_N_to_mixed"])


HAND_CHECKED: Mapping[str, Callable[[Any], Iterator[tuple[str, Check]]]] = {"mmr1": _mmr1, "knapsack": _knapsack}
