"""The golden files made from padded [B, T] inputs: a row is a trajectory with one turn, masked places do not exist."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from agentrl.trainers.algorithms.grpo import GRPO
from agentrl.trainers.algorithms.rloo import RLOO
from agentrl.trainers.composition import Composition, compose
from agentrl.trainers.parts.modifiers import engine_weight
from agentrl.trainers.parts.regularisers import kl_estimate
from agentrl.trainers.step_view import StepView
from tests.builders import view_of
from tests.golden.check import Case, Check


def number(value: Any) -> float:
    """A number as JSON has it: "nan" and "inf" are texts, null is nan."""
    return math.nan if value is None else float(value)


def matrix(rows: Any, dtype: str = "float64") -> Tensor:
    return torch.tensor([[number(x) for x in row] for row in rows], dtype=getattr(torch, dtype))


def view_of_rows(mask: Tensor, index: list[str] | None = None, **fields: Any) -> StepView:
    """Rows as trajectories of one turn.   mask: [B, T].   index: [B] names of the groups; None: one group."""
    names = index if index is not None else ["all"] * len(mask)
    groups = {name: number for number, name in enumerate(dict.fromkeys(names))}
    rows = [[[int(tokens)]] for tokens in mask.sum(1).tolist()]
    own = torch.tensor([groups[name] for name in names])
    trajectories = [trajectory for row in rows for trajectory in row]
    return view_of([trajectories], group_of_trajectory=own, **fields).with_fields(num_groups=len(groups))


def aggregate(mode: str, constant: float) -> dict[str, Any]:
    """verl's `loss_agg_mode` as our parts and settings."""
    name, settings = {
        "token-mean": ("token-mean", {}),
        "token-sum": ("token-sum", {}),
        "seq-mean-token-sum": ("token-sum", {"mean_over": "trajectory"}),
        "seq-mean-token-sum-norm": ("token-sum", {"mean_over": "trajectory", "constant": constant}),
        "seq-mean-token-mean": ("trajectory-mean", {}),
    }[mode]
    return {"parts": {"aggregate": name}, "settings": {name: settings} if settings else {}}


def _advantage(case: Case, composition: Composition) -> Iterator[Check]:
    inputs, dtype = case["inputs"], case.get("dtype", "float64")
    mask = matrix(inputs["response_mask"]) > 0
    score = matrix(inputs["token_level_rewards"], dtype).sum(1)
    view = view_of_rows(mask, inputs["index"], score=score, singleton="raw")
    got = composition.advantage(view).advantage
    assert got is not None
    yield Check(got.tolist(), matrix(case["outputs"]["advantages"])[mask].tolist())


def verl_grpo_advantage(case: Case) -> Iterator[Check]:
    params = case["params"]
    settings = {"std": params["norm_adv_by_std_in_grpo"], "epsilon": params["epsilon"]}
    yield from _advantage(case, compose(GRPO, settings={"group-norm": settings}))


def verl_rloo_advantage(case: Case) -> Iterator[Check]:
    yield from _advantage(case, compose(RLOO))


def verl_ppo_clip_loss(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    dtype = case.get("dtype", "float64")
    mask = matrix(inputs["response_mask"]) > 0
    old, advantage = (matrix(inputs[name], dtype)[mask] for name in ("old_log_prob", "advantages"))
    logp = matrix(inputs["log_prob"], dtype)[mask].requires_grad_()
    if "rollout_is_weights" in inputs:  # verl weighs the loss; weighing the advantage is the same, the weight being > 0
        weight = matrix(inputs["rollout_is_weights"], dtype)[mask]
        advantage = advantage * engine_weight(old, old - weight.log(), cap=math.inf)
    mode = params["loss_agg_mode"]
    chosen = aggregate(mode, params.get("loss_scale_factor") or mask.shape[1])
    ratio = params.get("clip_ratio", 0.2)
    clip = {
        "clip_low": params.get("clip_ratio_low", ratio),
        "clip_high": params.get("clip_ratio_high", ratio),
        "dual_clip": params.get("clip_ratio_c", 3.0),
    }
    composition = compose(GRPO, chosen["parts"], chosen["settings"] | {"ppo-clip": clip})
    view = view_of_rows(mask, old=old, current=logp, advantage=advantage)
    loss, _ = composition.loss(view)
    (gradient,) = torch.autograd.grad(loss, logp)
    rtol = 1e-7 if mode == "seq-mean-token-mean" and dtype == "float64" else None
    expected = number(outputs["loss"])
    yield Check(loss.item(), 0.0 if math.isnan(expected) else expected, rtol)  # no token at all: 0
    yield Check(gradient.tolist(), matrix(outputs["grad_log_prob"])[mask].tolist(), rtol)
    metrics = composition.metrics(view)
    if dtype == "float64" and mask.any():
        yield Check(metrics["ppo/clip_fraction"], outputs["metrics"]["actor/pg_clipfrac"], 1e-7)
        yield Check(metrics["ppo/dual_clip_fraction"], outputs["metrics"]["actor/pg_clipfrac_lower"], 1e-7)


def plain_aggregate(rows: list[list[float]], mode: str, constant: float) -> float:
    """The aggregate in plain words: what we say where verl raises or gives nan. No row or token at all: 0."""
    rows = [row for row in rows if row]
    if not rows:
        return 0.0
    sums = [sum(row) for row in rows]
    return {
        "token-mean": sum(sums) / sum(len(row) for row in rows),
        "token-sum": sum(sums),
        "seq-mean-token-sum": sum(sums) / len(rows),
        "seq-mean-token-sum-norm": sum(sums) / len(rows) / constant,
        "seq-mean-token-mean": sum(total / len(row) for total, row in zip(sums, rows, strict=True)) / len(rows),
    }[mode]


def verl_agg_loss(case: Case) -> Iterator[Check]:
    """Global counts stand for what other ranks hold: here rows of the same batch, since an aggregate is over it all."""
    params, outputs = case["params"], case["outputs"]
    mode, dp_size = params["loss_agg_mode"], params.get("dp_size", 1)
    mask, loss = matrix(case["inputs"]["loss_mask"]) > 0, matrix(case["inputs"]["loss_mat"])
    constant = params.get("loss_scale_factor") or mask.shape[1]
    elsewhere: list[list[list[int]]] = []
    if mode == "token-mean" and "batch_num_tokens" in params:
        elsewhere = [[[params["batch_num_tokens"] - int(mask.sum())]]]
    elif mode.startswith("seq") and "global_batch_size" in params:
        elsewhere = [[[1]]] * (params["global_batch_size"] - int(mask.any(1).sum()))
    own = [[[int(tokens)]] for tokens in mask.sum(1).tolist()]
    chosen = aggregate(mode, constant)
    view = view_of([[turns for row in own for turns in row], [turns for row in elsewhere for turns in row]])
    weights = compose(GRPO, chosen["parts"], chosen["settings"]).weights(view, "token")[: int(mask.sum())]
    got = dp_size * (weights * loss[mask]).sum().item()
    expected = number(outputs["loss"]) if "loss" in outputs else math.nan
    if math.isnan(expected):
        rows = [row[kept].tolist() for row, kept in zip(loss, mask, strict=True)]
        expected = dp_size * plain_aggregate(rows, mode, constant)
    yield Check(got, expected, 1e-7 if mode == "seq-mean-token-mean" else None)


def verl_kl_penalty(case: Case) -> Iterator[Check]:
    name = case["params"]["kl_penalty"]
    names = {"kl": "k1", "mse": "k2", "low_var_kl": "k3"}
    base = name.removesuffix("+")
    dtype = case.get("dtype", "float64")
    logp = matrix(case["inputs"]["logprob"], dtype).requires_grad_()
    reference = matrix(case["inputs"]["ref_logprob"], dtype)
    got = kl_estimate(logp, reference, names.get(base, base), straight_through=name.endswith("+"))  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(got.sum(), logp)
    yield Check(got.tolist(), matrix(case["outputs"]["kl"]).tolist())
    yield Check(gradient.tolist(), matrix(case["outputs"]["grad_logprob"]).tolist())
