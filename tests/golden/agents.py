"""The golden files in flat form: the agent papers and the baselines, and the hand-checked numbers of `agents.json`."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from agentrl.segments import mean_by
from agentrl.trainers.algorithms.epo import (
    EPO,
    EPO_SMOOTHING,
    EntropyHistory,
    EPOConfig,
    entropy_band_penalty,
    smoothing_weight,
)
from agentrl.trainers.algorithms.grpo import GRPO
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.advantages import group_norm, leave_one_out
from agentrl.trainers.parts.surrogates import ppo_clip as ppo_clip_loss
from agentrl.trainers.step_view import StepView
from tests.builders import tensor_of
from tests.golden.check import Case, Check

_LEVELS = ("turn_of_token", "trajectory_of_turn", "group_of_trajectory", "turn_position")
_AGGREGATES: dict[str, tuple[str, dict[str, Any]]] = {
    "token_mean": ("token-mean", {}),
    "token_sum": ("token-sum", {}),
    "seq_mean_token_sum_unit_turn": ("token-sum", {"mean_over": "turn"}),
    "seq_mean_token_sum_unit_trajectory": ("token-sum", {"mean_over": "trajectory"}),
    "seq_mean_token_sum_norm_unit_turn": ("token-sum", {"mean_over": "turn", "constant": True}),
    "seq_mean_token_sum_norm_unit_trajectory": ("token-sum", {"mean_over": "trajectory", "constant": True}),
    "seq_mean_token_mean_unit_turn": ("turn-mean", {}),
    "seq_mean_token_mean_unit_trajectory": ("trajectory-mean", {}),
    "trajectory_mean": ("trajectory-mean", {}),
    "trajectory_mean_of_turn_means": ("trajectory-mean-of-turn-means", {}),
}


def floats(values: Any) -> Tensor:
    """A list of numbers, null as nan."""
    return torch.tensor([float("nan") if x is None else float(x) for x in values], dtype=torch.float64)


def flat_view(inputs: dict[str, Any], **fields: Any) -> StepView:
    """The view of a case's index arrays; everything acts, counts and carries loss."""
    index = {name: tensor_of(name, inputs[name]) for name in _LEVELS}
    num_tokens, num_turns, num_trajectories = (len(index[name]) for name in _LEVELS[:3])
    every_turn = torch.ones(num_turns, dtype=torch.bool)
    every_trajectory = torch.ones(num_trajectories, dtype=torch.bool)
    nothing = torch.zeros(num_trajectories, dtype=torch.float64)
    defaults: dict[str, Any] = {
        "acts": every_turn,
        "sequence_of_turn": torch.arange(num_turns),
        "num_groups": int(index["group_of_trajectory"].max()) + 1,
        "trained": torch.ones(num_tokens, dtype=torch.bool),
        "in_statistics": every_trajectory,
        "bootstraps": ~every_trajectory,
        "readable": every_turn,
        "valid": every_turn,
        "reward": torch.zeros(num_turns, dtype=torch.float64),
        "score": nothing,
        "success": nothing,
    }
    return StepView(**(defaults | index | fields))


def history_of(reference: list[float | None], config: EPOConfig) -> EntropyHistory:
    """A history whose mean at each position is the one given; null: never seen."""
    history = EntropyHistory(config)
    history.load_state_dict({"sums": [[p, r, 1] for p, r in enumerate(reference) if r is not None], "recent": []})
    return history


def aggregations(case: Case) -> Iterator[Check]:
    view, values = flat_view(case["inputs"]), floats(case["inputs"]["value_token"])
    for name, expected in case["outputs"].items():
        part, settings = _AGGREGATES[name]
        if "constant" in settings:
            settings = settings | {"constant": case["params"]["constant"]}
        weights = compose(GRPO, {"aggregate": part}, {part: settings} if settings else {}).weights(view, "token")
        yield Check(weights.tolist(), expected["weight"])
        yield Check((weights * values).sum().item(), expected["value"])


def group_baselines(case: Case) -> Iterator[Check]:
    inputs, outputs = case["inputs"], case["outputs"]
    score = floats(inputs["score"])
    view = flat_view(inputs, score=score)
    group, num_groups, counted = view.group_of_trajectory, view.num_groups, view.in_statistics
    for singleton in ("raw", "zero"):
        for name, std in (("grpo", True), ("dr_grpo", False)):
            got = group_norm(score, group, counted, num_groups, std=std, singleton=singleton)  # type: ignore[arg-type]
            yield Check(got.tolist(), outputs[f"{name}_{singleton}"])
        got = leave_one_out(score, group, counted, num_groups, singleton)  # type: ignore[arg-type]
        yield Check(got.tolist(), outputs[f"rloo_{singleton}"])
    for name, std in (("grpo", True), ("dr_grpo", False)):
        over_turns = compose(GRPO, settings={"group-norm": {"unit": "turn", "std": std}}).advantage(view).advantage
        assert over_turns is not None
        expected = floats(outputs[f"{name}_statistics_over_turns_turn"])[view.turn_of_token]
        yield Check(over_turns.tolist(), expected.tolist())
    token = compose(GRPO).advantage(view).advantage
    assert token is not None
    yield Check(token.tolist(), outputs["grpo_zero_token"])


def ppo_clip(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    logp = floats(inputs["logp"]).requires_grad_()
    old, advantage = floats(inputs["old_logp"]), floats(inputs["advantage_token"])
    loss = ppo_clip_loss(logp, old, advantage, params["clip_low"], params["clip_high"], params["dual_clip"] or 0.0).loss
    (gradient,) = torch.autograd.grad(loss.sum(), logp)
    yield Check(loss.tolist(), outputs["loss_token"])
    # null: the log-ratio is clamped, where we say 0
    yield Check(gradient.tolist(), [0.0 if g is None else g for g in outputs["grad_logp"]])


def epo_beta(case: Case) -> Iterator[Check]:
    params = case["params"]
    total, fast = params["total_epochs"], params["fast_rate"]
    yield Check([smoothing_weight(e, total, fast) for e in case["inputs"]["epochs"]], case["outputs"]["beta"])


def _epo_settings(params: dict[str, Any]) -> dict[str, Any]:
    return {
        "low": params["kappa_l"],
        "high": params["kappa_r"],
        "penalty": params["alpha"],
        "shape": params["form"],
        "unit": params["unit"],
    }


def epo_penalty(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    config = EPOConfig(
        **_epo_settings(params),
        entropy_coef=1.0,
        schedule=False,
        penalty_aggregate=params["aggregate"].replace("_", "-"),
    )
    entropy = floats(inputs["entropy"]).requires_grad_()
    view = flat_view(inputs, entropy=entropy)
    term = EPO_SMOOTHING.bind(view, config, history_of(inputs["reference"], config))
    weights = compose(EPO).weights(view, term.level, term.aggregate)
    value = (weights * term.values).sum()
    gradient = torch.zeros_like(entropy)
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value, entropy)
    of_token = term.values if term.level == "token" else term.values[view.turn_of_token]
    yield Check(value.item(), outputs["value"])
    yield Check(of_token.tolist(), outputs["penalty_token"])
    yield Check(gradient.tolist(), outputs["grad_entropy"])
    filled = view.turn_of_token.unique()
    of_turn = mean_by(of_token, view.turn_of_token, view.num_turns)[filled]
    yield Check(of_turn.tolist(), [outputs["penalty_turn"][u] for u in filled.tolist()])


def epo_loss(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    settings = _epo_settings(params) | {
        "entropy_coef": params["lambda"],
        "smooth_coef": params["smooth_coefficient"],
        "entropy_aggregate": params["entropy_aggregate"].replace("_", "-"),
        "penalty_aggregate": params["penalty_aggregate"].replace("_", "-"),
        "schedule": params["use_beta"],
    }
    clip = {"clip_low": params["clip_low"], "clip_high": params["clip_high"], "dual_clip": params["dual_clip"] or 0.0}
    composition = compose(EPO, settings={"epo": settings, "ppo-clip": clip})
    for state in composition.states().values():
        state.load_state_dict(history_of(inputs["reference"], EPOConfig()).state_dict())
    logp, entropy = floats(inputs["logp"]).requires_grad_(), floats(inputs["entropy"]).requires_grad_()
    view = flat_view(
        inputs,
        current=logp,
        old=floats(inputs["old_logp"]),
        advantage=floats(inputs["advantage_token"]),
        entropy=entropy,
        step=params["epoch"],
        num_steps=params["total_epochs"],
    )
    loss, terms = composition.loss(view)
    by_logp, by_entropy = torch.autograd.grad(loss, (logp, entropy))
    yield Check(loss.item(), outputs["loss"])
    yield Check(terms["ppo-clip"], outputs["surrogate"])
    yield Check(-terms["epo-entropy"] / params["lambda"], outputs["entropy"])
    yield Check(by_logp.tolist(), outputs["grad_logp_surrogate"])
    yield Check(by_entropy.tolist(), outputs["grad_entropy"])


def epo_reference(case: Case) -> Iterator[Check]:
    params, outputs = case["params"], case["outputs"]
    settings: dict[str, Any] = {"record": params["record"], "window": params["window"] or 0}
    before = EntropyHistory(EPOConfig(**settings))
    including = EntropyHistory(EPOConfig(**settings, reference="including_current"))
    positions = torch.arange(len(outputs["reference_after_last"]))
    for number, step in enumerate(case["inputs"]["steps"]):
        view = flat_view(step, sampled_entropy=floats(step["entropy"]))
        alone = EntropyHistory(EPOConfig(**settings))
        alone.update(view)
        before.observe(view)
        including.observe(view)
        yield Check(alone.reference(positions).tolist(), outputs["recorded"][number])
        yield Check(before.reference(positions).tolist(), outputs["reference_used"][number])
        yield Check(including.reference(positions).tolist(), outputs["reference_including_current"][number])
        before.update(view)
        including.update(view)
    yield Check(before.reference(positions).tolist(), outputs["reference_after_last"])
    yield Check(including.reference(positions).tolist(), outputs["reference_after_last"])


def _grouped(scores: list[list[float]]) -> tuple[Tensor, Tensor, Tensor, int]:
    score = floats([s for group in scores for s in group])
    group = torch.tensor([g for g, own in enumerate(scores) for _ in own])
    return score, group, torch.ones(len(score), dtype=torch.bool), len(scores)


def hand_checked(content: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    """The keys of `agents.json`, rounded to six digits; keys of other methods are passed over."""

    def normed(scores: list[list[float]], std: bool) -> list[float]:
        value, group, counted, num = _grouped(scores)
        got: list[float] = group_norm(value, group, counted, num, std=std, singleton="raw").tolist()
        return got

    if grpo := content.get("grpo"):
        yield "grpo", Check(normed(grpo["in"], True), [a for group in grpo["std"] for a in group])
        yield "dr_grpo", Check(normed(grpo["in"], False), [a for group in grpo["dr"] for a in group])
        several = grpo["in"][: len(grpo["rloo"])]
        yield "rloo", Check(leave_one_out(*_grouped(several)).tolist(), [a for group in grpo["rloo"] for a in group])
    if one := content.get("one_success_of_8"):
        yield "one_success_of_8", Check(normed([[1.0] + [0.0] * 7], True), one)
    if agg := content.get("agg"):
        yield from _hand_checked_aggregates(agg)
    for row in content.get("ppo", ()):
        logp, advantage = floats([row["logratio"]]), floats([row["A"]])
        got = ppo_clip_loss(logp, torch.zeros_like(logp), advantage, 0.2, 0.28, 3.0).loss
        yield "ppo", Check(got.tolist(), [row["loss"]])
    if beta := content.get("epo_beta"):
        got = [smoothing_weight(int(step), 150) for step in beta]
        yield "epo_beta", Check(got, list(beta.values()), atol=5e-5)  # rounded to four digits
    for row in content.get("epo_penalty", ()):
        entropy, reference = floats([row["H"]]), floats([1.0])
        indicator = entropy_band_penalty(entropy, reference, 0.8, 1.2, 0.1, "indicator")
        hinge = entropy_band_penalty(entropy, reference, 0.8, 1.2, 1.0, "hinge")
        yield "epo_penalty", Check([indicator.item(), hinge.item()], [row["const"], row["hinge"]])


def _hand_checked_aggregates(agg: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    losses = agg["losses"]
    inputs = {
        "turn_of_token": [u for u, row in enumerate(losses) for _ in row],
        "trajectory_of_turn": list(range(len(losses))),
        "group_of_trajectory": [0] * len(losses),
        "turn_position": [0] * len(losses),
    }
    values, constant = floats([x for row in losses for x in row]), agg["L_norm"]
    chosen = {
        "token-mean": ("token-mean", {}),
        "seq-mean-token-sum": ("token-sum", {"mean_over": "trajectory"}),
        "seq-mean-token-mean": ("trajectory-mean", {}),
        "seq-mean-token-sum-norm(new verl: /B/L)": ("token-sum", {"mean_over": "trajectory", "constant": constant}),
        "seq-mean-token-sum-norm(old verl: /L)": ("token-sum", {"constant": constant}),
    }
    for name, (part, settings) in chosen.items():
        composition = compose(GRPO, {"aggregate": part}, {part: settings} if settings else {})
        got = (composition.weights(flat_view(inputs), "token") * values).sum().item()
        yield f"agg {name}", Check(got, agg[name])
