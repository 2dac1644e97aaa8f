"""The golden files of what happens before the loss: rewards, returns, advantages, modifiers and selections."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from agentrl.segments import mean_by
from agentrl.trainers.algorithms.eapo import EAPO
from agentrl.trainers.algorithms.empg import EMPG_MODULATION, EMPGConfig, modulation
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.advantages import group_norm
from agentrl.trainers.parts.credit import chain_of_turns
from agentrl.trainers.parts.rewards import overlong_penalty
from agentrl.trainers.parts.selections import kept_of
from tests.golden.agents import flat_view, floats
from tests.golden.check import Case, Check


def undefined(values: Tensor, defined: Tensor) -> list[float]:
    """Our numbers, nan where the reference says null."""
    return torch.where(defined, values, math.nan).tolist()


def empg(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    entropy, of_trajectory = floats(inputs["entropy"]), floats(inputs["advantage_trajectory"])
    view = flat_view(inputs, sampled_entropy=entropy)
    view = view.with_fields(advantage=of_trajectory[view.trajectory_of_token])
    config = EMPGConfig(k=params["k"], k_f=params["k_f"], zeta=params["zeta"])
    filled = torch.zeros(view.num_turns, dtype=torch.bool).index_fill(0, view.turn_of_token.unique(), True)
    turn_entropy = mean_by(entropy, view.turn_of_token, view.num_turns)
    following = chain_of_turns(view.trajectory_of_turn, view.order_of_turn, view.acts)
    got = modulation(turn_entropy, filled, following, config)
    before = of_trajectory[view.trajectory_of_turn] * got.scale + config.zeta * got.bonus
    after = EMPG_MODULATION.bind(view, config, None)
    yield Check(undefined(turn_entropy, filled), outputs["turn_entropy"])
    yield Check(undefined(got.normalised, filled), outputs["normalised_entropy"])
    yield Check(undefined(got.scale, filled), outputs["scale"])
    bonus = [None if not f else b for f, b in zip(filled.tolist(), outputs["bonus"], strict=True)]
    yield Check(undefined(got.bonus, filled), bonus)
    yield Check(undefined(before, filled), outputs["advantage_before_centring"])
    yield Check(after.tolist(), outputs["advantage_token"])
    of_turn = mean_by(after, view.turn_of_token, view.num_turns)
    yield Check(undefined(of_turn, filled), outputs["advantage_turn"])


def eapo(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    view = flat_view(inputs, score=floats(inputs["outcome"]))
    view = compose(EAPO, settings={"discounted": {"gamma": params["gamma"]}}).advantage(view)
    assert view.returns is not None and view.advantage is not None
    yield Check(view.returns.tolist(), outputs["return_turn"])
    yield Check(view.advantage.tolist(), outputs["advantage_token"])
    group, counted = view.group_of_turn, torch.ones(view.num_turns, dtype=torch.bool)
    of_turn = group_norm(view.returns, group, counted, view.num_groups, epsilon=1e-6)
    yield Check(of_turn.tolist(), outputs["advantage_turn"])
    yield Check(mean_by(view.returns, group, view.num_groups).tolist(), outputs["group_mean"])
    for row in outputs["downsample"]:
        kept = kept_of(view.num_turns, row["world"])
        yield Check([kept, view.num_turns - kept], [row["kept"], row["dropped"]])


def eapo_loss(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    logp = floats(inputs["logp"])
    view = flat_view(inputs, current=logp, old=floats(inputs["old_logp"]))
    kept = torch.tensor(inputs["keep_turn"], dtype=torch.bool)
    view = view.with_fields(advantage=floats(inputs["advantage_turn"])[view.turn_of_token])
    clip = {"clip_low": params["clip_low"], "clip_high": params["clip_high"]}
    composition = compose(EAPO, settings={"gspo": clip})
    (term,) = composition.terms(view)
    of_turn = mean_by(term.values, view.turn_of_token, view.num_turns)
    filled = view.turn_of_token.unique()
    yield Check(of_turn[filled].tolist(), [outputs["term_turn"][u] for u in filled.tolist()])
    ratio = mean_by(logp - floats(inputs["old_logp"]), view.turn_of_token, view.num_turns).exp()
    yield Check(ratio[filled].tolist(), [outputs["ratio_turn"][u] for u in filled.tolist()])
    loss, _ = composition.loss(view.with_fields(trained=kept[view.turn_of_token]))
    yield Check(loss.item(), outputs["loss"])


def dapo_overlong(case: Case) -> Iterator[Check]:
    params = case["params"]
    got = overlong_penalty(
        floats(case["inputs"]["length"]),
        params["max_length"],
        params["buffer"],
        params["factor"],
        params["clamp_at_minus_factor"],
    )
    yield Check(got.tolist(), case["outputs"]["penalty"])


def hand_checked_empg(numbers: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    """One token a turn, so that a token's entropy is its turn's."""
    turns = numbers["H"]
    inputs = {
        "turn_of_token": list(range(sum(map(len, turns)))),
        "trajectory_of_turn": [j for j, own in enumerate(turns) for _ in own],
        "group_of_trajectory": [0] * len(turns),
        "turn_position": [p for own in turns for p in range(len(own))],
    }
    view = flat_view(inputs, sampled_entropy=floats([h for own in turns for h in own]))
    view = view.with_fields(advantage=floats(numbers["A"])[view.trajectory_of_token])
    config = EMPGConfig(k=numbers["k"], k_f=numbers["k_f"], zeta=numbers["zeta"])
    got = EMPG_MODULATION.bind(view, config, None)
    yield "empg", Check(got.tolist(), [a for own in numbers["A_final"] for a in own])


def hand_checked_eapo(numbers: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    """(length, solved) of the two kinds of episodes of a group, and what their first and last rounds get."""
    groups = {
        "all_correct_T5_T20": [(5, 1, 1), (20, 1, 1)],
        "T5_ok_T20_fail": [(5, 1, 1), (20, 0, 1)],
        "T20_ok_T5_fail": [(20, 1, 1), (5, 0, 1)],
        "8ok_T10_8fail_T32": [(10, 1, 8), (32, 0, 8)],
        "all_wrong": [(5, 0, 1), (20, 0, 1)],
    }
    for name, kinds in groups.items():
        episodes = [(length, solved) for length, solved, times in kinds for _ in range(times)]
        first_of_kind = [0, kinds[0][2]]
        turns = [length for length, _ in episodes]
        inputs = {
            "turn_of_token": list(range(sum(turns))),
            "trajectory_of_turn": [j for j, length in enumerate(turns) for _ in range(length)],
            "group_of_trajectory": [0] * len(turns),
            "turn_position": [p for length in turns for p in range(length)],
        }
        view = compose(EAPO).advantage(flat_view(inputs, score=floats([solved for _, solved in episodes])))
        assert view.advantage is not None
        starts = [sum(turns[:j]) for j in first_of_kind]
        ends = [sum(turns[: j + 1]) - 1 for j in first_of_kind]
        expected = numbers[name]
        yield f"eapo {name}", Check(view.advantage[starts].tolist(), expected["first_round"])
        yield f"eapo {name}", Check(view.advantage[ends].tolist(), expected["last_round"])
    sampled = numbers["downsample"]
    yield "eapo downsample", Check(kept_of(sampled["C"], sampled["DP"]), sampled["kept"])


def hand_checked_overlong(numbers: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    """length -> penalty, with the paper's limits."""
    for length, penalty in numbers.items():
        got = overlong_penalty(floats([int(length)]), 20480, 4096, 1.0, clamp=False)
        yield "dapo_overlong", Check(got.tolist(), [penalty])


HAND_CHECKED: Mapping[str, Callable[[dict[str, Any]], Iterator[tuple[str, Check]]]] = {
    "dapo_overlong": hand_checked_overlong,
    "eapo": hand_checked_eapo,
    "empg": hand_checked_empg,
}
"""Key of `agents.json` -> what yields its checks."""
