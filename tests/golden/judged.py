"""The golden files of reward models: Bradley-Terry and its relatives, POLAR's input, PF-PPO's weights."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from agentrl.models.polar_form import PolarForm, joined, polar_text
from agentrl.trainers.algorithms.pf_ppo import Strategy, filter_weights
from agentrl.trainers.algorithms.reward_model import (
    BradleyTerryConfig,
    bradley_terry,
    focal,
    judgement_metrics,
    log_barrier,
    pair_loss,
)
from tests.builders import view_of
from tests.golden.agents import floats
from tests.golden.check import Case, Check


def _sides(case: Case) -> tuple[Tensor, Tensor]:
    dtype = getattr(torch, case.get("dtype", "float64"))
    found = [floats(case["inputs"][f"rewards_{side}"]).to(dtype).requires_grad_() for side in ("chosen", "rejected")]
    return found[0], found[1]


def reward_model_bradley_terry(case: Case) -> Iterator[Check]:
    """Loss, gradients and what TRL logs; a margin is the gap between the data's scores."""
    chosen, rejected = _sides(case)
    margin = case["inputs"].get("margin")
    config = BradleyTerryConfig(
        margin_scale=float(margin is not None), centre=case["params"]["center_rewards_coefficient"] or 0.0
    )
    loss = pair_loss(chosen, rejected, config, None if margin is None else floats(margin)).mean()
    loss.backward()
    yield Check(loss.item(), case["outputs"]["loss"])
    for side, scores in (("chosen", chosen), ("rejected", rejected)):
        yield Check(_gradient(scores), case["outputs"][f"grad_rewards_{side}"])
    num = len(chosen)
    pairs = [[k, num + k] for k in range(num)]
    view = view_of([[[1]] * 2 * num], judged=torch.cat([chosen, rejected]).detach(), pairs=pairs)
    shown = judgement_metrics(view)
    names = {
        "accuracy": "accuracy",
        "margin": "margin",
        "mean": "mean_reward",
        "min": "min_reward",
        "max": "max_reward",
    }
    for ours, theirs in names.items():
        yield Check(shown[f"reward_model/{ours}"], case["metrics"][theirs], rtol=1e-7 if ours == "accuracy" else None)


def reward_model_xtuner_losses(case: Case) -> Iterator[Check]:
    """Each loss and penalty by itself; ours are a value a pair, of which the mean is taken."""
    params = case["params"]
    of_pairs = {
        "ranking": bradley_terry,
        "focal": lambda c, r: focal(c, r, gamma=params["focal_gamma"]),
        "log_barrier": lambda c, r: log_barrier(c, params["barrier"][1]) + log_barrier(r, params["barrier"][1]),
        "l2": lambda c, r: c.square() + r.square(),
    }
    for name, outputs in case["outputs"].items():
        chosen, rejected = _sides(case)
        value = of_pairs[name](chosen, rejected).mean()
        value.backward()
        yield Check(value.item(), outputs["value"])
        yield Check(_gradient(chosen), outputs["grad_chosen"])
        yield Check(_gradient(rejected), outputs["grad_rejected"])


def polar_prompt(case: Case) -> Iterator[Check]:
    """The text, letter by letter as numbers; a token is a word, as in the stand-in that made the file."""
    inputs, params = case["inputs"], case["params"]
    form = PolarForm(
        between="" if inputs.get("wrapper") == "pretrain" else "\n",
        max_length=params["max_length"],
        max_answer=params["max_response_length"],
        cut=params["response_cut_side"],
    )
    texts = [joined(inputs[name]) for name in ("prompt", "reference", "output")]
    text = polar_text(texts[0], texts[1], texts[2], form, lambda text: text.split(" "), " ".join)
    yield Check(_letters(text), _letters(case["outputs"]["text"]))


def pf_ppo_filter_weights(case: Case) -> Iterator[Check]:
    """What each response weighs in a draw. Ties: ours weighs all of the best and of the worst, the code one of each."""
    groups, rewards = case["inputs"]["group_ids"], floats(case["inputs"]["rewards"])
    strategies: dict[str, Strategy] = {"best_worst": "best-worst", "best_random": "best-random", "power2": "power"}
    for name, strategy in strategies.items():
        expected = case["outputs"][f"weights_{name}"]
        for group in dict.fromkeys(groups):
            own = [number for number, other in enumerate(groups) if other == group]
            reward = rewards[own]
            if strategy != "power" and len(reward.unique()) < len(reward):
                reward = _first_worst_last_best(reward)
            got = filter_weights(reward, strategy) - 1e-8
            yield Check(got.tolist(), [expected[number] for number in own], rtol=1e-8, atol=1e-8)


def _first_worst_last_best(reward: Tensor) -> Tensor:
    """The same without ties at the ends: of equals the code takes the first worst, and the last best."""
    order = torch.arange(len(reward), dtype=reward.dtype)
    return reward + 1e-3 * order


def _gradient(scores: Tensor) -> Any:
    assert scores.grad is not None
    return scores.grad.tolist()


def _letters(text: str) -> list[float]:
    return [float(ord(letter)) for letter in text]
