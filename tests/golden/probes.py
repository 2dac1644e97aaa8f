"""The golden files of what reads the logits: Lp-Reg's proxy and loss, CAPO's curvature, the optimal token baseline."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from agentrl.models.head import Chunk
from agentrl.trainers.algorithms.capo import CAPOConfig, Foresight, adam_curvature, in_the_box, sgd_curvature
from agentrl.trainers.algorithms.hpt import HPT, unsolved
from agentrl.trainers.algorithms.lp_reg import LP_REG
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.advantages import group_norm
from agentrl.trainers.parts.optimal_baseline import OptimalBaselineConfig, place_in_trajectory, token_advantage
from agentrl.trainers.parts.probes import curvature, kept_by_min_p, likeliest, min_p_proxy
from agentrl.trainers.step_view import StepView
from tests.golden.agents import flat_view, floats
from tests.golden.check import Case, Check
from tests.golden.padded import aggregate, matrix, number, view_of_rows

FILTERED = -1000.0
"""The released proxy gives ids that it filters a log-prob near -1e4; ours says so by a flag."""
_ESTIMATORS = {"low_var_kl": "k3", "mse": "k2", "kl": "k1", "abs": "abs"}


def lp_reg_min_p_proxy(case: Case) -> Iterator[Check]:
    """The proxy's log-prob of every id in turn; filtered ids have none here, so -1e4 and what follows it is left out.

    Not `soft`, which fills up with the row's least logit: the paper's proxy is 0 there, and ours is the paper's.
    """
    params, expected = case["params"], matrix(case["outputs"]["proxy_log_probs"])
    logp = matrix(case["inputs"]["logits"]).log_softmax(-1)
    relative = params["regular_type"] == "minp"
    if params["minp_soft"]:
        kept = kept_by_min_p(logp, params["min_p"], relative)
        filled = matrix(case["inputs"]["logits"])
        filled = torch.where(kept, filled, filled.amin(-1, keepdim=True))
        yield Check(filled.tolist(), case["outputs"]["filtered_logits"])
        return
    for column in range(logp.shape[1]):
        target = torch.full((len(logp),), column)
        keeps, divergence = min_p_proxy(Chunk(logp, logp, target), params["min_p"], relative)
        kept = expected[:, column] > FILTERED
        yield Check(keeps.tolist(), kept.double().tolist())
        yield Check((logp[:, column] + divergence)[kept].tolist(), expected[:, column][kept].tolist())


def lp_reg_loss(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    dtype = case.get("dtype", "float64")
    mask = matrix(inputs["response_mask"]) > 0
    old, proxy, advantage = (
        matrix(inputs[name], dtype)[mask] for name in ("old_log_prob", "proxy_log_prob", "advantages")
    )
    logp = matrix(inputs["log_prob"], dtype)[mask].requires_grad_()
    chosen = aggregate(params["loss_agg_mode"], params.get("loss_scale_factor") or mask.shape[1])
    settings = {
        "coef": params["ppo_kl_coef"],
        "share": params["logp_neg_k_percent"],
        "positive_share": params["logp_pos_k_percent"],
        "scope": "negatives",
        "estimator": _ESTIMATORS[params["kl_type"]],
        "clip_low": params["cliprange_low"],
        "clip_high": params["cliprange_high"],
    }
    composition = compose(LP_REG, chosen["parts"], chosen["settings"] | {"lp-reg": settings})
    read = {"proxy-keeps": (proxy > FILTERED).to(proxy), "proxy-kl": proxy - old}
    view = view_of_rows(mask, old=old, current=logp, advantage=advantage).with_fields(sampled_probes=read)
    loss, _ = composition.loss(view)
    (gradient,) = torch.autograd.grad(loss, logp)
    rtol = 1e-7 if dtype == "float64" else None  # the released mean adds 1e-8 to its count
    yield Check(loss.item(), number(outputs["loss"]), rtol)
    yield Check(gradient.tolist(), matrix(outputs["grad_log_prob"])[mask].tolist(), rtol)


def _chunk(step: dict[str, Any]) -> tuple[Chunk, Tensor]:
    """Every place of a step as a token, masked ones too; and [B, T] bool the mask."""
    logits, hidden = (torch.tensor(step[name], dtype=torch.float64).flatten(0, 1) for name in ("logits", "hidden"))
    mask = matrix(step["mask"]) > 0
    advantage = torch.tensor(step["advantages"], dtype=torch.float64)[:, None].expand(mask.shape).flatten()
    target = torch.tensor(step["actions"]).flatten()
    return Chunk(logits.log_softmax(-1), hidden, target, {"advantage": advantage}), mask


def _some(seen: Chunk, kept: Tensor) -> Chunk:
    given = {name: value[kept] for name, value in seen.given.items()}
    return Chunk(seen.logp[kept], seen.hidden[kept], seen.target[kept], given)


def capo_token_curvature(case: Case) -> Iterator[Check]:
    params = case["params"]
    config = CAPOConfig(
        tau_objective=params["hessian_token_mask_tau"],
        tau_policy=params["fisher_token_mask_tau"],
        sides="both" if params["symmetric"] else "above",
        optimiser="adam" if params["optimizer"] == "SparseAdamModel" else "sgd",
        top_k=params["top_k"],
        join=False,
        beta1=params["beta1"],
        beta2=params["beta2"],
        epsilon=params["eps"],
    )
    state, lr = Foresight(config), params["learning_rate"]
    state.lr = lr
    for given, expected in zip(case["inputs"]["steps"], case["outputs"]["steps"], strict=True):
        whole, mask = _chunk(given)
        seen, own = _some(whole, mask.flatten()), mask
        state.begin()
        state.sums(torch.zeros(seen.logp.shape[1], seen.hidden.shape[1], dtype=torch.float64))
        advantage = seen.given["advantage"]
        if config.optimiser == "adam":
            m_h, m_f = adam_curvature(seen, state)
        else:
            m_h, m_f = sgd_curvature(advantage, *curvature(seen, config.top_k, config.join), lr)
            kept = in_the_box(m_h, m_f, config)
            ids, _, v = likeliest(seen, config.top_k, config.join)
            g = (advantage[:, None] * v)[..., None] * seen.hidden[:, None, :]
            state.add(g[kept], ids[kept])
        yield Check(m_h.tolist(), matrix(expected["m_H"])[own].tolist())
        yield Check(m_f.tolist(), matrix(expected["m_F"])[own].tolist())
        yield Check(in_the_box(m_h, m_f, config).double().tolist(), matrix(expected["updated_mask"])[own].tolist())
        means = {int(row): mean for row, mean in expected["mean_gradient_per_token_id"].items()}
        ours = state.mean()
        yield Check(sorted(ours), sorted(means))
        yield Check([ours[row] for row in sorted(means)], [means[row] for row in sorted(means)])
        state.learn()


def hpt(case: Case) -> Iterator[Check]:
    """Rollouts and demonstrations in one batch: rollouts of gated questions leave it, demonstrations of others too."""
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    config = {"gamma": params["gamma"], "coef": params["sft_coefficient"], "combine": params["combine"]}
    config |= {"clip_low": params["clip_low"], "clip_high": params["clip_high"]}
    centred = params["advantage"] == "centred"
    settings = {"hpt": config, "group-norm": {"std": not centred}}
    composition = compose(HPT, settings=settings)
    rollouts = flat_view(inputs, score=floats(inputs["verifier"]))
    group, num_groups = rollouts.group_of_trajectory, len(inputs["has_demonstration"])
    successes = [int(s) for s in torch.bincount(group, rollouts.score, num_groups)]
    sizes = torch.bincount(group, minlength=num_groups).tolist()
    gated = [
        has and unsolved(s, n, params["gamma"])
        for has, s, n in zip(inputs["has_demonstration"], successes, sizes, strict=True)
    ]
    yield Check([s / n for s, n in zip(successes, sizes, strict=True)], outputs["success_rate"])
    yield Check([float(g) for g in gated], [float(g in (True, 1, "sft")) for g in outputs["gate"]])
    kept = ~torch.tensor(gated)[group]
    yield Check(kept.double().tolist(), [float(k) for k in outputs["keep_trajectory"]])
    advantage = group_norm(
        rollouts.score, group, rollouts.in_statistics, num_groups, std=not centred, singleton=rollouts.singleton
    )
    yield Check(advantage.tolist(), outputs["advantage_trajectory"])
    view = _with_demonstrations(rollouts, inputs, gated, kept)
    view = view.with_fields(advantage=composition.advantage(view).advantage)
    loss, shown = composition.loss(view)
    yield Check(loss.item(), outputs["loss"])
    if params["combine"] == "two_token_means":
        yield Check(list(shown.values()), [outputs["rl_loss"], outputs["sft_loss"]])


def _with_demonstrations(rollouts: StepView, inputs: dict[str, Any], gated: list[bool], kept: Tensor) -> StepView:
    """The batch that the rewrite would leave: kept rollouts, and the demonstration of each gated question as a turn."""
    num_turns, num_trajectories = rollouts.num_turns, rollouts.num_trajectories
    questions = [g for g, is_gated in enumerate(gated) if is_gated]
    place = {g: i for i, g in enumerate(questions)}
    shown = [i for i, g in enumerate(inputs["demonstration_group"]) if gated[g]]
    turn = [num_turns + place[inputs["demonstration_group"][i]] for i in shown]
    index = {
        "turn_of_token": inputs["turn_of_token"] + turn,
        "trajectory_of_turn": inputs["trajectory_of_turn"] + [num_trajectories + i for i in range(len(questions))],
        "group_of_trajectory": inputs["group_of_trajectory"] + questions,
        "turn_position": inputs["turn_position"] + [0] * len(questions),
    }
    logp = floats(inputs["logp"] + [inputs["demonstration_logp"][i] for i in shown])
    demonstrated = torch.tensor([False] * num_trajectories + [True] * len(questions))
    whole = flat_view(
        index,
        score=floats(inputs["verifier"] + [1.0] * len(questions)),
        current=logp,
        old=floats(inputs["old_logp"] + [0.0] * len(shown)),
        demonstrated=demonstrated,
        in_statistics=~demonstrated,
    ).with_fields(num_groups=len(gated))
    stay = torch.cat([kept, torch.ones(len(questions), dtype=torch.bool)])
    return whole.keep(stay.nonzero()[:, 0])


def _optimal(case: Case, columns: bool) -> Iterator[Check]:
    """columns: members are compared where they stand in the padded rows; otherwise by the count of their own tokens."""
    inputs, dtype = case["inputs"], case.get("dtype", "float64")
    mask = matrix(inputs["response_mask"]) > 0
    reward = matrix(inputs["token_level_rewards"], dtype) * mask
    to_go = reward.flip(1).cumsum(1).flip(1)
    old, squares = (matrix(inputs[name], dtype)[mask] for name in ("old_log_probs", "sum_pi_squared"))
    view = view_of_rows(mask, inputs["index"], old=old, singleton="raw")
    view = view.with_fields(sampled_probes={"sum-of-squares": squares})
    config = OptimalBaselineConfig(zero_tail=case["params"].get("handle_zero_tail", True))
    column = mask.nonzero()[:, 1] if columns else place_in_trajectory(view)
    got = token_advantage(view, to_go[mask], column, config)
    yield Check(got.tolist(), matrix(case["outputs"]["advantages"])[mask].tolist())


def verl_optimal_token_baseline(case: Case) -> Iterator[Check]:
    yield from _optimal(case, columns=True)


def verl_tir_optimal_token_baseline(case: Case) -> Iterator[Check]:
    yield from _optimal(case, columns=False)
