"""The golden files of credit over turns and tokens: GiGPO, advantages from a critic's values, and the value loss."""

from collections.abc import Iterator
from typing import Any

import torch

from agentrl.trainers.algorithms.gigpo import GIGPO, anchor_groups
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.credit import chain_of_turns, step_returns, turn_order
from tests.golden.agents import flat_view, floats
from tests.golden.check import Case, Check


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
    following = chain_of_turns(view.trajectory_of_turn, turn_order(view.turn_position, view.acts), view.acts)
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
    following = chain_of_turns(view.trajectory_of_turn, turn_order(view.turn_position, view.acts), view.acts)
    yield "gigpo", Check(step_returns(view.reward, following, 0.95)[:3].tolist(), numbers["step_return"])
    for name, omega in (("A_E(cross-steps)", 0.0), ("A(omega=1)", 1.0)):
        got = compose(GIGPO, settings={"gigpo": {"unit": "turn", "omega": omega}}).advantage(view).advantage
        assert got is not None
        yield "gigpo", Check(got.tolist(), numbers[name])
