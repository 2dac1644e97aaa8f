"""The golden files of credit over turns and tokens: GiGPO, advantages from a critic's values, and the value loss."""

from collections.abc import Iterator
from typing import Any

import torch

from agentrl.trainers.algorithms.bilevel_ppo import BilevelConfig, token_level, turn_level
from agentrl.trainers.algorithms.gigpo import GIGPO, anchor_groups
from agentrl.trainers.algorithms.ppo import PPO
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.credit import LAST, chain_of_tokens, chain_of_turns, last_tokens, step_returns
from agentrl.trainers.parts.values import chain_of_filled_turns, token_gae, whitened
from tests.golden.agents import flat_view, floats
from tests.golden.check import Case, Check
from tests.golden.padded import aggregate, matrix, number, view_of_rows


def _first_seen(labels: list[int]) -> list[int]:
    """The same classes, numbered by first appearance."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(label, len(numbers)) for label in labels]


def gigpo(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    view = flat_view(
        inputs,
        score=floats(inputs["outcome"]),
        reward=floats(inputs["turn_reward"]),
        observation_class=torch.tensor(inputs["observation"]),
        singleton=params["singleton"],
    )
    following = chain_of_turns(view.trajectory_of_turn, view.order_of_turn, view.acts)
    yield Check(step_returns(view.reward, following, params["gamma"]).tolist(), outputs["step_return"])
    anchor, _ = anchor_groups(view.group_of_turn, torch.tensor(inputs["observation"]))
    yield Check(_first_seen(anchor.tolist()), _first_seen(outputs["anchor_group"]))
    settings: dict[str, Any] = {
        "gamma": params["gamma"],
        "std": params["norm"] == "mean_std",
        "unit": {"turns": "turn", "trajectories": "trajectory"}[params["episode_statistics"]],
    }
    of_turn = {"episode_advantage_turn": 0.0, "advantage_turn": params["omega"]}
    for name, omega in of_turn.items():
        got = compose(GIGPO, settings={"gigpo": settings | {"omega": omega}}).advantage(view).advantage
        assert got is not None
        yield Check(got.tolist(), floats(outputs[name])[view.turn_of_token].tolist())
    yield Check(got.tolist(), outputs["advantage_token"])


def hand_checked_gigpo(numbers: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    """Two rollouts of three turns, one paid at its end; the first two turns of both answered the same observations."""
    inputs = {
        "turn_of_token": list(range(6)),
        "trajectory_of_turn": [0, 0, 0, 1, 1, 1],
        "group_of_trajectory": [0, 0],
        "turn_position": [0, 1, 2, 0, 1, 2],
    }
    view = flat_view(
        inputs,
        score=floats([1, 0]),
        reward=floats([0, 0, 1, 0, 0, 0]),
        observation_class=torch.tensor([0, 1, 2, 0, 1, 3]),
    )
    following = chain_of_turns(view.trajectory_of_turn, view.order_of_turn, view.acts)
    yield "gigpo", Check(step_returns(view.reward, following, 0.95)[:3].tolist(), numbers["step_return"])
    for name, omega in (("A_E(cross-steps)", 0.0), ("A(omega=1)", 1.0)):
        got = compose(GIGPO, settings={"gigpo": {"unit": "turn", "omega": omega}}).advantage(view).advantage
        assert got is not None
        yield "gigpo", Check(got.tolist(), numbers[name])


def verl_gae_advantage(case: Case) -> Iterator[Check]:
    """verl's whitening adds 1e-8 to the counts: 1e-7 there. Rewards of masked places do not exist, as it drops them."""
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    mask, dtype = matrix(inputs["response_mask"]) > 0, case.get("dtype", "float64")
    reward, value = (matrix(inputs[name], dtype)[mask] for name in ("token_level_rewards", "values"))
    view = view_of_rows(mask)
    following = chain_of_tokens(view.turn_of_token, chain_of_filled_turns(view))
    got = token_gae(reward, value, torch.zeros_like(value), following, params["gamma"], params["lam"])
    yield Check((got + value).tolist(), matrix(outputs["returns"])[mask].tolist())
    expected = matrix(outputs["advantages"])[mask]
    yield Check(
        whitened(got, torch.ones_like(got, dtype=torch.bool)).tolist(),
        expected.tolist(),
        1e-7 if dtype == "float64" else None,
    )


def verl_value_loss(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    mode, dtype = params["loss_agg_mode"], case.get("dtype", "float64")
    mask = matrix(inputs["response_mask"]) > 0
    value = matrix(inputs["vpreds"], dtype)[mask].requires_grad_()
    old, target = (matrix(inputs[name], dtype)[mask] for name in ("values", "returns"))
    chosen = aggregate(mode, params.get("loss_scale_factor") or mask.shape[1])
    composition = compose(
        PPO, chosen["parts"], chosen["settings"] | {"value-clip": {"clip": params["cliprange_value"]}}
    )
    view = view_of_rows(mask, value=old, current_value=value, value_target=target)
    (bound,) = composition.slots["value_loss"]
    term = bound(view)
    loss = (composition.weights(view, term.level, term.aggregate) * term.values).sum()
    (gradient,) = torch.autograd.grad(loss, value)
    rtol = 1e-7 if mode == "seq-mean-token-mean" and dtype == "float64" else None
    yield Check(loss.item(), number(outputs["vf_loss"]), rtol)
    yield Check(gradient.tolist(), matrix(outputs["grad_vpreds"])[mask].tolist(), rtol)
    assert bound.part.metrics is not None
    got = bound.part.metrics(view, bound.config, None)["critic/clip_fraction"]
    yield Check(got, outputs["vf_clipfrac"], max(rtol or 0, 1e-7))


def turn_level_gae(case: Case) -> Iterator[Check]:
    """A turn without tokens is skipped with its reward; what ours does, moving it, is done before these functions."""
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    view, value = flat_view(inputs), floats(inputs["value"])
    names = ("gamma_turn", "gamma_token", "lam")
    config = BilevelConfig(**{name: params[name] for name in names})
    _, last = last_tokens(view.turn_of_token, view.num_turns)
    filled = last != LAST
    at_end = torch.where(filled, value[last], torch.zeros(()).double())
    end_value = floats(inputs["bootstrap_value"]).nan_to_num(0.0)[view.trajectory_of_turn]
    following = chain_of_filled_turns(view)
    of_turn = turn_level(floats(inputs["turn_reward"]), at_end, end_value, following, view.acts, config)
    turns = filled.nonzero()[:, 0].tolist()
    yield Check(of_turn[filled].tolist(), [outputs["turn_advantage"][u] for u in turns])
    yield Check((of_turn + at_end)[filled].tolist(), [outputs["turn_return"][u] for u in turns])
    advantage = token_level(of_turn + at_end, value, view.turn_of_token, config)
    yield Check(advantage.tolist(), outputs["advantage_token"])
    yield Check((advantage + value).tolist(), outputs["return_token"])
    if outputs.get("advantage_token_whitened") is not None:
        got = whitened(advantage, torch.ones_like(advantage, dtype=torch.bool))
        yield Check(got.tolist(), outputs["advantage_token_whitened"])


def hand_checked_gae(numbers: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    """An episode whose observation tokens, masked there, do not exist here."""
    kept = [n for n, response in enumerate(numbers["mask"]) if response]
    reward, value = (floats([numbers[name][n] for n in kept]) for name in ("rew", "V"))
    following = torch.tensor([*range(1, len(kept)), LAST])
    got = token_gae(reward, value, torch.zeros_like(value), following, numbers["gamma"], numbers["lam"])
    yield "gae_gap", Check(got.tolist(), numbers["check"])


def hand_checked_bigae(numbers: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    """Two turns of two tokens, with all three pairs of rewards; `rew a/b` pays a, then b."""
    kept = [n for n, response in enumerate(numbers["mask"]) if response]
    inputs = {
        "turn_of_token": [0, 0, 1, 1],
        "trajectory_of_turn": [0, 0],
        "group_of_trajectory": [0],
        "turn_position": [0, 1],
    }
    view, value = flat_view(inputs), floats([numbers["V"][n] for n in kept])
    config = BilevelConfig(gamma_turn=numbers["gamma_high"], gamma_token=numbers["gamma"], lam=numbers["lam"])
    at_end = value[torch.tensor([1, 3])]
    for name in (key for key in numbers if key.startswith("rew ")):
        reward = floats(name.removeprefix("rew ").split("/"))
        nothing = torch.zeros_like(reward)
        of_turn = turn_level(reward, at_end, nothing, chain_of_filled_turns(view), view.acts, config)
        got = token_level(of_turn + at_end, value, view.turn_of_token, config)
        yield f"bigae {name}", Check(got.tolist(), [numbers[name][n] for n in kept])


HAND_CHECKED = {"gigpo": hand_checked_gigpo, "gae_gap": hand_checked_gae, "bigae": hand_checked_bigae}
"""key of `agents.json` -> what yields its checks."""
