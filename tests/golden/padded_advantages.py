"""Golden files of advantages that were made from padded [B, T] inputs: a row is a trajectory with one turn."""

from collections.abc import Iterator

import torch
from torch import Tensor

from agentrl.trainers.algorithms.grpo import GRPO
from agentrl.trainers.algorithms.reinforce_plus_plus import REINFORCE_PLUS_PLUS_BASELINE, return_to_go
from agentrl.trainers.algorithms.rloo import RLOO
from agentrl.trainers.composition import Composition, compose
from agentrl.trainers.parts.advantages_group import above_greedy
from agentrl.trainers.parts.credit import chain_of_tokens
from agentrl.trainers.parts.values import chain_of_filled_turns, whitened
from agentrl.trainers.step_view import StepView
from tests.golden.check import Case, Check
from tests.golden.padded import matrix, number, view_of_rows

WHITENED = 1e-7
"""verl counts N + 1e-8 values where it whitens: see README.md."""


def _rows(case: Case, rewards: str = "token_level_rewards", mask: str = "response_mask") -> tuple[Tensor, Tensor]:
    dtype = case.get("dtype", "float64")
    return matrix(case["inputs"][mask]) > 0, matrix(case["inputs"][rewards], dtype)


def _checked(case: Case, got: Tensor, mask: Tensor, rtol: float | None = None) -> Iterator[Check]:
    yield Check(got.tolist(), matrix(case["outputs"]["advantages"])[mask].tolist(), rtol)


def _advantage(
    case: Case, composition: Composition, singleton: str = "raw", rtol: float | None = None
) -> Iterator[Check]:
    mask, reward = _rows(case)
    view = view_of_rows(mask, case["inputs"]["index"], score=reward.sum(1), singleton=singleton)
    got = composition.advantage(view).advantage
    assert got is not None
    yield from _checked(case, got, mask, rtol)


def verl_grpo_vectorized_advantage(case: Case) -> Iterator[Check]:
    """Computed in float32 inside: see the file's note."""
    params = case["params"]
    settings = {"std": params["norm_adv_by_std_in_grpo"], "epsilon": params["epsilon"]}
    yield from _advantage(case, compose(GRPO, settings={"group-norm": settings}), rtol=2e-5)


def verl_rloo_vectorized_advantage(case: Case) -> Iterator[Check]:
    yield from _advantage(case, compose(RLOO), singleton="zero")


def verl_gpg_advantage(case: Case) -> Iterator[Check]:
    settings = {"signal-scaled": {"divisor": case["params"].get("f_norm", 1.0)}}
    yield from _advantage(case, compose(GRPO, {"advantage": "signal-scaled"}, settings))


def verl_opo_advantage(case: Case) -> Iterator[Check]:
    yield from _advantage(case, compose(GRPO, {"advantage": "above-mean-by-length"}))


def ahead_of_second(score: list[float], index: list[str], std: bool) -> list[float]:
    """Pass@k in plain words, with our rule where verl raises: a group of one gets 0."""
    got = []
    for own, name in zip(score, index, strict=True):
        group = sorted((s for s, other in zip(score, index, strict=True) if other == name), reverse=True)
        if len(group) < 2 or own != group[0] or group[0] == group[1]:
            got.append(0.0)
            continue
        scale = float(torch.tensor(group, dtype=torch.float64).std()) + 1e-6 if std else 1.0
        got.append((group[0] - group[1]) / scale)
    return got


def verl_grpo_passk_advantage(case: Case) -> Iterator[Check]:
    mask, reward = _rows(case)
    std = case["params"]["config"]["norm_adv_by_std_in_grpo"]
    composition = compose(GRPO, {"advantage": "best-alone"}, {"best-alone": {"std": std}})
    if "advantages" in case["outputs"]:
        yield from _advantage(case, composition)
        return
    view = view_of_rows(mask, case["inputs"]["index"], score=reward.sum(1))
    got = composition.advantage(view).advantage
    assert got is not None
    plain = torch.tensor(ahead_of_second(reward.sum(1).tolist(), case["inputs"]["index"], std), dtype=torch.float64)
    yield Check(got.tolist(), plain[view.trajectory_of_token].tolist())


def _to_go(view: StepView, reward: Tensor, gamma: float) -> Tensor:
    return return_to_go(reward, chain_of_tokens(view.turn_of_token, chain_of_filled_turns(view)), gamma)


def verl_remax_advantage(case: Case) -> Iterator[Check]:
    """Rewards at masked places are dropped, as those places are."""
    mask, reward = _rows(case)
    view = view_of_rows(mask)
    greedy = torch.tensor([number(x) for x in case["inputs"]["reward_baselines"]], dtype=reward.dtype)
    to_go = _to_go(view, reward[mask], 1.0)
    yield Check(to_go.tolist(), matrix(case["outputs"]["returns"])[mask].tolist())
    yield from _checked(case, above_greedy(to_go, greedy[view.trajectory_of_token]), mask)


def verl_reinforce_plus_plus_advantage(case: Case) -> Iterator[Check]:
    mask, reward = _rows(case)
    view = view_of_rows(mask)
    to_go = _to_go(view, reward[mask], case["params"]["config"]["gamma"])
    yield Check(to_go.tolist(), matrix(case["outputs"]["returns"])[mask].tolist())
    yield from _checked(case, whitened(to_go, torch.ones_like(to_go, dtype=torch.bool)), mask, WHITENED)


def verl_reinforce_plus_plus_baseline_advantage(case: Case) -> Iterator[Check]:
    yield from _advantage(case, compose(REINFORCE_PLUS_PLUS_BASELINE), rtol=WHITENED)


def verl_masked_stats(case: Case) -> Iterator[Check]:
    """Sums, means and variances in plain tensors; what is ours is the whitening."""
    mask, values = _rows(case, "values", "mask")
    outputs, x = case["outputs"], values[mask]
    white = whitened(x, torch.ones_like(x, dtype=torch.bool))
    yield Check(x.sum().item(), number(outputs["masked_sum"]))
    yield Check(x.mean().item(), number(outputs["masked_mean"]), WHITENED)
    yield Check(x.var().item(), number(outputs["masked_var_unbiased_True"]), WHITENED)
    yield Check(x.var(correction=0).item(), number(outputs["masked_var_unbiased_False"]), WHITENED)
    yield Check(white.tolist(), matrix(outputs["masked_whiten_shift"])[mask].tolist(), WHITENED)
    yield Check((white + x.mean()).tolist(), matrix(outputs["masked_whiten_noshift"])[mask].tolist(), WHITENED)
