"""The golden files of papers on preferences: RPO, CoPG, P3O, TGDPO, CPL and f-DPG; a pair is a group of two."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from agentrl.trainers.algorithm import Algorithm
from agentrl.trainers.algorithms.copg import COPG, least_squares, regularised_reward
from agentrl.trainers.algorithms.cpl import CPL
from agentrl.trainers.algorithms.f_dpg import F_DPG, TargetEstimates, weighed_gradient
from agentrl.trainers.algorithms.p3o import P3O, P3O_JOINT
from agentrl.trainers.algorithms.rpo import RPO
from agentrl.trainers.algorithms.tgdpo import TGDPO
from agentrl.trainers.composition import Composition, compose
from agentrl.trainers.parts.divergences import Divergence, distance, pseudo_reward
from agentrl.trainers.parts.preferences import squared_error
from agentrl.trainers.step_view import StepView
from tests.builders import view_of
from tests.golden.agents import floats
from tests.golden.check import Case, Check
from tests.golden.padded import matrix


def view_of_pairs(first: Tensor, second: Tensor, fields: Mapping[str, tuple[Tensor, Tensor]], **own: Any) -> StepView:
    """P pairs, the better one first: groups of two trajectories of one turn.

    first, second: [P, T] bool: which tokens there are.   fields: name -> [P, T], [P, T] of both sides.
    """
    num = len(first)
    view = view_of([[[int(a)], [int(b)]] for a, b in zip(first.sum(1), second.sum(1), strict=True)])
    masks = torch.stack([first, second], 1)
    values = {name: torch.stack(both, 1)[masks] for name, both in fields.items()}
    pairs = torch.arange(2 * num).reshape(num, 2)
    weight = torch.ones(num, dtype=torch.float64)
    worth = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(num)
    return view.with_fields(**({"pairs": pairs, "pair_weight": weight, "returns": worth} | values | own))


def whole_pairs(num: int, **fields: tuple[Any, Any]) -> StepView:
    """Pairs of which a trajectory is one token: its summed log-prob.   fields: [P], [P] of both sides."""
    every = torch.ones(num, 1, dtype=torch.bool)
    return view_of_pairs(
        every, every, {name: (floats(a)[:, None], floats(b)[:, None]) for name, (a, b) in fields.items()}
    )


def both(first: Any, second: Any) -> Tensor:
    """[2P], the sides of each pair one after the other."""
    return torch.stack([floats(first), floats(second)], 1).reshape(-1)


def differentiated(composition: Composition, view: StepView) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient by `current`, [N]."""
    assert view.current is not None
    current = view.current.detach().requires_grad_()
    loss, _ = composition.loss(view.with_fields(current=current))
    (gradient,) = torch.autograd.grad(loss, current)
    return loss.detach(), gradient


def rpo_loss(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    sides = {
        name: (inputs[f"{word}_chosen_logps"], inputs[f"{word}_rejected_logps"])
        for name, word in (("current", "policy"), ("reference", "reference"))
    }
    view = whole_pairs(len(inputs["policy_chosen_logps"]), **sides)
    composition = compose(RPO, settings={"rpo": {"beta": params["beta"], "eta": params["eta"]}})
    dpo, sft = composition.terms(view)
    yield Check((dpo.values + sft.weight * sft.values[::2]).tolist(), outputs["losses"])
    loss, gradient = differentiated(composition, view)
    yield Check(loss.item(), outputs["loss"])
    yield Check(gradient.tolist(), both(outputs["grad_policy_chosen"], outputs["grad_policy_rejected"]).tolist())


def copg(case: Case) -> Iterator[Check]:
    runner = {
        "policy_logps_1": _copg_pairs,
        "policy_logps": _copg_group,
        "logits": _copg_enumerable,
        "mu1": _copg_bandit,
    }
    yield from next(own for name, own in runner.items() if name in case["inputs"])(case)


def _copg_pairs(case: Case) -> Iterator[Check]:
    """The paper's objective is ours but for what does not depend on the policy; IPO's numbers, where there are any."""
    inputs, outputs, beta = case["inputs"], case["outputs"], case["params"]["beta"]
    sides = {
        name: (inputs[f"{word}_logps_1"], inputs[f"{word}_logps_2"])
        for name, word in (("current", "policy"), ("reference", "reference"))
    }
    view = whole_pairs(len(inputs["rewards_1"]), **sides)
    reward = both(inputs["rewards_1"], inputs["rewards_2"])
    composition = compose(COPG, settings={"copg": {"beta": beta}})
    view = view.with_fields(returns=reward)
    _, gradient = differentiated(composition, view)
    yield Check(gradient.tolist(), both(outputs["grad_policy_1"], outputs["grad_policy_2"]).tolist())
    assert view.current is not None and view.reference is not None
    ratio, gap = view.current - view.reference, reward[::2] - reward[1::2]
    if "losses" in outputs:
        (term,) = composition.terms(view)
        constant = gap.square() / (2 * beta)
        yield Check((term.values - constant).tolist(), outputs["losses"])
        yield Check((term.values - constant).mean().item(), outputs["loss"])
        worth = regularised_reward(reward, ratio, beta)
        for number, own in enumerate((worth[::2], worth[1::2]), 1):
            yield Check(own.tolist(), outputs[f"regularised_reward_{number}"])
    else:
        yield Check(squared_error(ratio[::2] - ratio[1::2], beta).tolist(), outputs["ipo_losses"])
        times = floats(outputs["ipo_grad_policy_1"]) * outputs["ratio_copg_over_ipo"]
        yield Check(gradient[::2].tolist(), times.tolist())


def _copg_group(case: Case) -> Iterator[Check]:
    """All pairs, made by the pairing, and the same without making them."""
    inputs, outputs, beta = case["inputs"], case["outputs"], case["params"]["beta"]
    reward = floats(inputs["rewards"])
    logp, reference = floats(inputs["policy_logps"]), floats(inputs["reference_logps"])
    made = view_of([[[1]] * len(reward)], score=reward, current=logp, reference=reference)
    for form in ("pairs", "leave-one-out"):
        composition = compose(COPG, settings={"copg": {"beta": beta, "form": form}})
        view = composition.advantage(made)
        loss, gradient = differentiated(composition, view)
        yield Check(gradient.tolist(), outputs["grad_policy"])
        if form == "pairs":
            assert view.pairs is not None
            gap = (reward[view.pairs[:, 0]] - reward[view.pairs[:, 1]]).square().mean() / (2 * beta)
            yield Check((loss - gap).item(), outputs["loss"])
    (term,) = composition.terms(view)
    yield Check((term.values / logp / -2).tolist(), outputs["rloo_advantage_of_regularised_reward"])


def _expected_loss(logp: Tensor, reference: Tensor, reward: Tensor, beta: float, weight: Tensor) -> Tensor:
    """Over pairs of K outcomes that are drawn with `weight`, [K, K]."""
    ratio = logp - reference
    values = least_squares(ratio[:, None] - ratio, reward[:, None] - reward, beta)
    return (weight.detach() * values).sum()


def _copg_enumerable(case: Case) -> Iterator[Check]:
    inputs, outputs, beta = case["inputs"], case["outputs"], case["params"]["beta"]
    logits, reward = floats(inputs["logits"]).requires_grad_(), floats(inputs["rewards"])
    reference, mu = floats(inputs["reference_probs"]).log(), (floats(inputs["mu1"]), floats(inputs["mu2"]))
    own = logits.softmax(0)
    for weight, expected in (
        (own[:, None] * own, outputs["expected_copg_grad_on_policy (=2 grad J)"]),
        (mu[0][:, None] * mu[1], outputs["expected_copg_grad_mu1_mu2 (ascent direction)"]),
    ):
        loss = _expected_loss(logits.log_softmax(0), reference, reward, beta, weight)
        (gradient,) = torch.autograd.grad(loss, logits)
        yield Check((-gradient).tolist(), expected)
    constant = (mu[0][:, None] * mu[1] * (reward[:, None] - reward).square()).sum() / (2 * beta)
    yield Check((constant - loss).item(), outputs["L_mu1_mu2"])
    best = (reference + reward / beta).log_softmax(0)
    yield Check(best.exp().tolist(), outputs["optimal_policy"])
    best.requires_grad_()
    loss = _expected_loss(best.log_softmax(0), reference, reward, beta, mu[0][:, None] * mu[1])
    (gradient,) = torch.autograd.grad(loss, best)
    yield Check(gradient.abs().max().item(), outputs["max_abs_grad_at_optimum"])


def _copg_bandit(case: Case) -> Iterator[Check]:
    """Where the expected gradient came to rest; of the policy gradients beside it nothing is ours."""
    inputs, outputs, beta = case["inputs"], case["outputs"], case["params"]["beta"]
    reward, reference = floats(inputs["rewards"]), floats(inputs["reference_probs"]).log()
    best = (reference + reward / beta).softmax(0)
    yield Check(best.tolist(), outputs["optimal_policy"])
    yield Check(best.tolist(), outputs["copg"]["policy"])
    logits = floats(outputs["copg"]["policy"]).log().requires_grad_()
    weight = floats(inputs["mu1"])[:, None] * floats(inputs["mu2"])
    loss = _expected_loss(logits.log_softmax(0), reference, reward, beta, weight)
    (gradient,) = torch.autograd.grad(loss, logits)
    yield Check(gradient.abs().max().item(), 0.0)


def p3o_v1_separate_clip(case: Case) -> Iterator[Check]:
    yield from _p3o(case, P3O, {"beta": case["params"]["kl_coef_hardcoded"]})


def p3o_v2_joint_clip(case: Case) -> Iterator[Check]:
    yield from _p3o(case, P3O_JOINT, {"beta": case["params"]["kl_coef"], "avg_tokenwise": False})


def _p3o(case: Case, algorithm: Algorithm, settings: dict[str, Any]) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    nothing = [0.0] * len(inputs["rewards1"])
    view = whole_pairs(
        len(nothing),
        current=(inputs["logratio1"], inputs["logratio2"]),
        old=(inputs["old_logratio1"], inputs["old_logratio2"]),
        reference=(nothing, nothing),
    ).with_fields(returns=both(inputs["rewards1"], inputs["rewards2"]))
    clip = {"clip": params["cliprange"], "ratio_cap": params["cliprange_ratio"]}
    composition = compose(algorithm, settings={"p3o": settings | clip})
    loss, gradient = differentiated(composition, view)
    yield Check(loss.item(), outputs["loss"])
    yield Check(gradient.tolist(), both(outputs["grad_logratio1"], outputs["grad_logratio2"]).tolist())
    yield from _p3o_metrics(composition.metrics(view), outputs["stats"])


def _p3o_metrics(shown: Mapping[str, float], stats: Mapping[str, float]) -> Iterator[Check]:
    """Of the first version the released ratio is one side's; the released share of clips is in single precision."""
    names = {"p3o/reward_gap": "reward_diff_abs"}
    if "policy_clipfrac" in stats:
        names |= {"p3o/q": "q_diff_mean", "p3o/q_abs": "q_diff_abs_mean"}
        names |= {"p3o/ratio_min": "ratio_min", "p3o/ratio_max": "ratio_max"}
        yield Check(shown["p3o/clip_fraction"], stats["policy_clipfrac"], 1e-6)
    yield Check([shown[ours] for ours in names], [stats[theirs] for theirs in names.values()])


def p3o_v2_trainer_variants(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    masks = [matrix(inputs[f"mask{side}"]) > 0 for side in (1, 2)]
    words = {"current": "logprobs", "old": "old_logprobs", "reference": "ref_logprobs"}
    fields = {name: (matrix(inputs[f"{w}1"]), matrix(inputs[f"{w}2"])) for name, w in words.items()}
    reward = both(inputs["rewards1"], inputs["rewards2"])
    view = view_of_pairs(masks[0], masks[1], fields, returns=reward)
    switches = {name: params[name] for name in ("clip_tokenwise", "avg_tokenwise", "scale_q")}
    clip = {"clip": params["cliprange"], "ratio_cap": params["cliprange_ratio"], "beta": params["kl_coef"]}
    composition = compose(P3O_JOINT, settings={"p3o": switches | clip})
    loss, gradient = differentiated(composition, view)
    yield Check(loss.item(), outputs["loss"])
    expected = torch.stack([matrix(outputs[f"grad_logprobs{side}"]) for side in (1, 2)], 1)
    yield Check(gradient.tolist(), expected[torch.stack(masks, 1)].tolist())
    yield from _p3o_metrics(composition.metrics(view), outputs["stats"])


def tgdpo_loss(case: Case) -> Iterator[Check]:
    inputs, outputs = case["inputs"], case["outputs"]
    masks = [matrix(inputs[f"{side}_mask"]) > 0 for side in ("chosen", "rejected")]
    words = {"current": "policy", "reference": "reference", "guidance": "reward"}
    fields = {n: (matrix(inputs[f"{w}_chosen_logps"]), matrix(inputs[f"{w}_rejected_logps"])) for n, w in words.items()}
    view = view_of_pairs(masks[0], masks[1], fields)
    composition = compose(TGDPO, settings={"tgdpo": {name: case["params"][name] for name in ("alpha", "beta")}})
    (term,) = composition.terms(view)
    yield Check(term.values.tolist(), outputs["losses"])
    loss, gradient = differentiated(composition, view)
    yield Check(loss.item(), outputs["loss"])
    expected = torch.stack([matrix(outputs[f"grad_policy_{side}"]) for side in ("chosen", "rejected")], 1)
    yield Check(gradient.tolist(), expected[torch.stack(masks, 1)].tolist())


def cpl_loss(case: Case) -> Iterator[Check]:
    yield from (_cpl_scores if "scores" in case["inputs"] else _cpl_comparison)(case)


def _cpl(case: Case) -> Composition:
    return compose(CPL, settings={"cpl": {"alpha": 1.0, "bias": case["params"]["bias"]}})


def _cpl_comparison(case: Case) -> Iterator[Check]:
    """Theirs are segments 1 and 2, of which the label tells the better one; a tie's accuracy is not ours."""
    inputs, outputs, composition = case["inputs"], case["outputs"], _cpl(case)
    first, second, label = (floats(inputs[name]) for name in ("adv1", "adv2", "label"))
    view = whole_pairs(len(label), current=(inputs["adv1"], inputs["adv2"]))
    assert view.pairs is not None
    pairs = torch.where((label > 0.5)[:, None], view.pairs.flip(1), view.pairs)
    view = view.with_fields(pairs=pairs, returns=torch.stack([1 - label, label], 1).reshape(-1))
    loss, gradient = differentiated(composition, view)
    yield Check(loss.item(), outputs["loss"])
    if "grad_adv1" in outputs:
        yield Check(gradient.tolist(), both(outputs["grad_adv1"], outputs["grad_adv2"]).tolist())
    tied = label == 0.5
    right = outputs["accuracy"] * len(label) - int((tied & (second <= first)).sum())
    yield Check(composition.metrics(view)["cpl/accuracy"], right / int((~tied).sum()), 1e-6)


def _cpl_scores(case: Case) -> Iterator[Check]:
    """Theirs compare tied segments too, in the order of a sort, and do not count losses of 0: so their pairs."""
    inputs, outputs, composition = case["inputs"], case["outputs"], _cpl(case)
    order = floats(inputs["scores"]).argsort()
    pairs = torch.tensor([[int(order[j]), int(order[i])] for j in range(len(order)) for i in range(j)])
    view = view_of([[[1]] * len(order)], current=floats(inputs["adv"]), returns=order.argsort().double(), pairs=pairs)
    (term,) = composition.terms(view)
    view = view.with_fields(pair_weight=(term.values != 0).double())
    loss, gradient = differentiated(composition, view)
    yield Check(loss.item(), outputs["loss"])
    yield Check(gradient.tolist(), outputs["grad_adv"])
    yield Check(composition.metrics(view)["cpl/accuracy"], outputs["accuracy"], 1e-6)


_DIVERGENCES: Mapping[str, Divergence] = {
    "forward_kl": "forward-kl",
    "reverse_kl": "reverse-kl",
    "js": "js",
    "tv": "tv",
    "chi2": "chi-squared",
    "reverse_chi2": "reverse-chi-squared",
}


def f_dpg(case: Case) -> Iterator[Check]:
    yield from (_f_dpg_steps if "steps" in case else _f_dpg_exact)(case)


def _f_dpg_exact(case: Case) -> Iterator[Check]:
    """Over all outcomes, each as often as it is drawn."""
    inputs, outputs, divergence = case["inputs"], case["outputs"], _DIVERGENCES[case["params"]["divergence"]]
    target = floats(inputs["target_unnormalised"])
    yield Check(target.sum().item(), outputs["Z"])
    logits = floats(inputs["logits"]).requires_grad_()
    logp = logits.log_softmax(0)
    log_t = (logp - target.log() + target.sum().log()).detach()
    yield Check((logp.exp() * distance(log_t, divergence)).sum().item(), outputs["divergence_value"])
    reward = pseudo_reward(log_t, divergence)
    yield Check(reward.tolist(), outputs["pseudo_reward_per_outcome"])
    for name, drawn in (("on", logp.exp().detach()), ("off", floats(inputs["proposal_probs"]))):
        loss = (drawn * weighed_gradient(logp, logp - drawn.log(), reward)).sum()
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        yield Check(gradient.tolist(), outputs[f"{name}_policy_expected_grad"])
        yield Check(gradient.tolist(), outputs["exact_grad_logits"])


def _f_dpg_steps(case: Case) -> Iterator[Check]:
    """Z is given: the estimates hold it as it would be with this batch's samples, which are as many as none."""
    divergence, window = _DIVERGENCES[case["params"]["divergence"]], case["params"]["baseline_window_size"]
    settings = {"divergence": divergence, "window": window, "proposal": "sampled", "beta": 1.0}
    composition = compose(F_DPG, settings={"f-dpg": settings})
    (state,) = composition.states().values()
    for step in case["steps"]:
        logp, proposal, target = (
            floats(step[f"{n}"]) for n in ("policy_log_probs", "proposal_log_probs", "target_log_scores")
        )
        view = view_of([[[1]] * len(logp)], current=logp, old=logp, sampled=proposal, reference=target)
        known = state.state_dict()
        share = (target - proposal).exp().sum().item()
        count = 10**6
        z = [[0, math.log((count + len(logp)) * step["z"] - share), count]]
        state.load_state_dict(known | {"z": z})
        assert isinstance(state, TargetEstimates)
        yield Check(state.baseline(), step["baseline_before"] or 0.0)
        view = composition.advantage(view)
        loss, gradient = differentiated(composition, view)
        yield Check(loss.item(), step["loss"])
        yield Check(gradient.tolist(), step["grad_policy"])
        composition.update(view)
        yield Check(state.baseline(), step["baseline_after"])
