"""The golden files of surrogates, regularisers and gates: padded rows as trajectories of one turn."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from agentrl.trainers.algorithm import Part
from agentrl.trainers.algorithms.chi_squared import CHI_SQUARED, CHI_SQUARED_TERM, ChiSquaredConfig
from agentrl.trainers.algorithms.clip_cov import ClipCovConfig, candidates, masked_by_covariance
from agentrl.trainers.algorithms.grpo import GRPO
from agentrl.trainers.algorithms.kl_cov import KL_COV
from agentrl.trainers.algorithms.pf_ppo import filter_weights
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.chance import token_chance
from agentrl.trainers.parts.covariance import token_covariance
from agentrl.trainers.parts.kl_control import kl_in_reward, steered
from agentrl.trainers.parts.surrogates import POLICY_GRADIENT, ppo_clip
from agentrl.trainers.parts.surrogates_ratio import CISPO_CLIP, DPPO_KL, DPPO_TV, DRO, SAPO
from agentrl.trainers.parts.surrogates_sequence import GMPO, GSPO_CLIP, sequence_log_ratio
from agentrl.trainers.step_view import StepView
from tests.golden.check import Case, Check
from tests.golden.padded import aggregate, matrix, number, view_of_rows


def rows_of(case: Case) -> tuple[StepView, Tensor, Tensor]:
    """The view of a case's rows, [B, T] bool its mask, [N] the weights that its losses are multiplied by."""
    inputs, dtype = case["inputs"], case.get("dtype", "float64")
    mask = matrix(inputs["response_mask"]) > 0
    old, advantage = (matrix(inputs[name], dtype)[mask] for name in ("old_log_prob", "advantages"))
    logp = matrix(inputs["log_prob"], dtype)[mask].requires_grad_()
    weight = torch.ones_like(old)
    if "rollout_is_weights" in inputs:
        weight = matrix(inputs["rollout_is_weights"], dtype)[mask]
    return view_of_rows(mask, old=old, current=logp, advantage=advantage), mask, weight


def loss_checks(case: Case, part: Part, settings: dict[str, Any], rtol: float | None = None) -> Iterator[Check]:
    """Loss and gradient of a surrogate with one value a token."""
    params, outputs = case["params"], case["outputs"]
    view, mask, weight = rows_of(case)
    mode = params["loss_agg_mode"]
    chosen = aggregate(mode, params.get("loss_scale_factor") or mask.shape[1])
    composition = compose(
        GRPO,
        chosen["parts"] | {"surrogate": part},
        chosen["settings"] | ({part.settings_section: settings} if settings else {}),
    )
    (term,) = composition.terms(view)
    loss = (composition.weights(view, term.level) * weight * term.values).sum()
    assert view.current is not None
    (gradient,) = torch.autograd.grad(loss, view.current)
    if rtol is None and mode == "seq-mean-token-mean" and case.get("dtype", "float64") == "float64":
        rtol = 1e-7
    expected = number(outputs["loss"])
    yield Check(loss.item(), 0.0 if math.isnan(expected) else expected, rtol)  # no token at all: 0
    yield Check(gradient.tolist(), matrix(outputs["grad_log_prob"])[mask].tolist(), rtol)


def verl_gspo_loss(case: Case) -> Iterator[Check]:
    params = case["params"]
    ratio = params.get("clip_ratio", 0.2)
    settings = {
        "clip_low": params.get("clip_ratio_low", ratio),
        "clip_high": params.get("clip_ratio_high", ratio),
    }
    for unit in ("turn", "trajectory"):  # a row is both
        yield from loss_checks(case, GSPO_CLIP, settings | {"unit": unit})


def verl_geo_mean_gmpo_loss(case: Case) -> Iterator[Check]:
    """verl's mean is over all rows, also empty ones: ours, over rows with tokens, is taken to that count.

    A row's weight is the geometric mean of its tokens' weights.
    """
    params, outputs = case["params"], case["outputs"]
    view, mask, weight = rows_of(case)
    clip = params["clip_ratio"]
    low, high = params.get("clip_ratio_low", clip), params.get("clip_ratio_high", clip)
    settings = {"clip_low": low, "clip_high": high, "unit": "trajectory"}
    composition = compose(GRPO, {"surrogate": GMPO, "aggregate": "trajectory-mean"}, {"gmpo": settings})
    (term,) = composition.terms(view)
    count = mask.sum(1)
    log_weight = torch.zeros(mask.shape, dtype=weight.dtype).masked_scatter(mask, (weight + 1e-10).log())
    of_row = (log_weight.sum(1) / count.clamp(min=1)).exp()
    share = int((count > 0).sum()) / len(count)
    loss = share * (composition.weights(view, term.level) * of_row * term.values).sum()
    assert view.current is not None
    (gradient,) = torch.autograd.grad(loss, view.current)
    yield Check(loss.item(), outputs["loss"], 1e-7)
    yield Check(gradient.tolist(), matrix(outputs["grad_log_prob"])[mask].tolist(), 1e-7)


def verl_cispo_loss(case: Case) -> Iterator[Check]:
    params = case["params"]
    yield from loss_checks(
        case, CISPO_CLIP, {"clip_low": params["clip_ratio_low"], "clip_high": params["clip_ratio_high"]}
    )


def verl_gpg_loss(case: Case) -> Iterator[Check]:
    yield from loss_checks(case, POLICY_GRADIENT, {})


def verl_sapo_loss(case: Case) -> Iterator[Check]:
    params = case["params"]
    taus = {"tau_positive": params.get("tau_pos", 1.0), "tau_negative": params.get("tau_neg", 1.05)}
    yield from loss_checks(case, SAPO, taus)


def verl_dro_loss(case: Case) -> Iterator[Check]:
    yield from loss_checks(case, DRO, {"beta": case["params"]["policy_loss"]["dro_beta"]})


def verl_dppo_tv_loss(case: Case) -> Iterator[Check]:
    yield from _dppo(case, DPPO_TV)


def verl_dppo_kl_loss(case: Case) -> Iterator[Check]:
    yield from _dppo(case, DPPO_KL)


def _dppo(case: Case, part: Part) -> Iterator[Check]:
    params = case["params"]
    yield from loss_checks(case, part, {"divergence": params["clip_ratio"], "ratio_cap": params["clip_ratio_c"]})


def verl_clip_cov_loss(case: Case) -> Iterator[Check]:
    """Whom chance selects is ours: how many, and among whom, is checked, and the loss of the selection on record."""
    params, outputs = case["params"], case["outputs"]
    view, mask, _ = rows_of(case)
    recorded, candidate = (matrix(outputs[f"aux_{name}_mask"])[mask] > 0 for name in ("selected", "candidate"))
    own = params.get("policy_loss", {})
    config = ClipCovConfig(
        clip_low=params.get("clip_ratio_low", params.get("clip_ratio", 0.2)),
        clip_high=params.get("clip_ratio_high", params.get("clip_ratio", 0.2)),
        share=own.get("clip_cov_ratio", 2e-4),
        low=own.get("clip_cov_lb", 1.0),
        high=own.get("clip_cov_ub", 5.0),
    )
    assert view.current is not None and view.old is not None and view.advantage is not None
    clip = ppo_clip(view.current, view.old, view.advantage, config.clip_low, config.clip_high, 0.0)
    covariance = token_covariance(view.current, view.advantage, view.trained)
    yield Check(covariance.tolist(), matrix(outputs["aux_cov"])[mask].tolist(), 1e-6)
    ours = candidates(covariance, ~clip.clipped, config)
    yield Check(ours.double().tolist(), candidate.double().tolist())
    own_choice = masked_by_covariance(ours, view.num_tokens, config.share, token_chance(view, "clip-cov"))
    yield Check([int(own_choice.sum()), int((own_choice & ~candidate).sum())], [outputs["aux_num_selected"], 0])
    masked = masked_by_covariance(ours, view.num_tokens, config.share, recorded.logical_not().double())
    yield Check(masked.double().tolist(), recorded.double().tolist())
    mode = params["loss_agg_mode"]
    chosen = aggregate(mode, params.get("loss_scale_factor") or mask.shape[1])
    weights = compose(GRPO, chosen["parts"], chosen["settings"]).weights(view, "token")
    loss = (weights * clip.loss.masked_fill(masked, 0.0)).sum()
    (gradient,) = torch.autograd.grad(loss, view.current)
    rtol = 1e-7 if mode == "seq-mean-token-mean" else None
    yield Check(loss.item(), outputs["loss"], rtol)
    yield Check(gradient.tolist(), matrix(outputs["grad_log_prob"])[mask].tolist(), rtol)


def verl_kl_cov_loss(case: Case) -> Iterator[Check]:
    own = case["params"].get("policy_loss", {})
    yield from _kl_cov(case, own.get("kl_cov_ratio", 2e-4), own.get("ppo_kl_coef", 1.0))


def entropy_mechanism_kl_cov(case: Case) -> Iterator[Check]:
    """The released code bounds the percentage by the number of tokens, which says something below a hundred of them."""
    params = case["params"]
    num_tokens = int((matrix(case["inputs"]["response_mask"]) > 0).sum())
    yield from _kl_cov(case, min(params["k_percent"], num_tokens) / 100, params["ppo_kl_coef"], 1e-7)


def _kl_cov(case: Case, share: float, coef: float, rtol: float | None = None) -> Iterator[Check]:
    """Where the last that is held ties with the first that is not, which of them has the gradient is not compared."""
    params, outputs = case["params"], case["outputs"]
    view, mask, _ = rows_of(case)
    mode = params["loss_agg_mode"]
    chosen = aggregate(mode, params.get("loss_scale_factor") or mask.shape[1])
    settings = chosen["settings"] | {"kl-cov": {"share": share, "coef": coef}}
    loss, _ = compose(KL_COV, chosen["parts"], settings).loss(view)
    assert view.current is not None and view.advantage is not None
    (gradient,) = torch.autograd.grad(loss, view.current)
    rtol = 1e-7 if mode == "seq-mean-token-mean" else rtol
    yield Check(loss.item(), outputs["loss"], rtol)
    ordered = token_covariance(view.current, view.advantage, view.trained).sort(descending=True).values
    num = max(1, int(view.num_tokens * share))
    if num >= len(ordered) or ordered[num - 1] - ordered[num] > 1e-12:
        yield Check(gradient.tolist(), matrix(outputs["grad_log_prob"])[mask].tolist(), rtol)


def verl_kl_in_reward(case: Case) -> Iterator[Check]:
    inputs = case["inputs"]
    score, old, reference = (matrix(inputs[n]) for n in ("token_level_scores", "old_log_prob", "ref_log_prob"))
    got = kl_in_reward(score.reshape(-1), old.reshape(-1), reference.reshape(-1), case["params"]["kl_ratio"])
    yield Check(got.tolist(), matrix(case["outputs"]["rewards"]).reshape(-1).tolist())


def verl_adaptive_kl_controller(case: Case) -> Iterator[Check]:
    params = case["params"]
    coef = params["init_kl_coef"]
    for entry in case["outputs"]["sequence"]:
        coef = steered(coef, entry["current_kl"], params["target_kl"], entry["n_steps"], params["horizon"])
        yield Check(coef, entry["value_after"])


def orpo_chi2_llm_regulariser(case: Case) -> Iterator[Check]:
    inputs, params, outputs = case["inputs"], case["params"], case["outputs"]
    dtype = case.get("dtype", "float64")
    mask = matrix(inputs["mask"]) > 0
    logp, reference = matrix(inputs["logprobs"], dtype)[mask].requires_grad_(), matrix(inputs["ref_logprobs"], dtype)
    view = view_of_rows(mask, current=logp, reference=reference[mask])
    names = {"sqrt_chi2_weight": "sqrt-chi-squared", "chi2_weight": "chi-squared", "kl_weight": "kl"}
    settings = {"statistic": names[key], "coef": params[key]} if (key := next(iter(params), "")) else {"coef": 0.0}
    composition = compose(CHI_SQUARED, {"surrogate": "likelihood"}, {"chi-squared": settings})
    loss = torch.zeros((), dtype=logp.dtype)
    gradient = torch.zeros_like(logp)
    if settings["coef"]:
        _, term = composition.terms(view)
        loss = term.weight * (composition.weights(view, term.level, term.aggregate) * term.values).sum()
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, logp)
    yield Check(loss.item(), outputs["added_loss"])
    yield Check(gradient.tolist(), matrix(outputs["grad_logprobs"])[mask].tolist())
    shown = CHI_SQUARED_TERM.metrics(view, ChiSquaredConfig(), None)  # type: ignore[misc]
    stats = outputs["stats"]
    yield Check([shown["chi_squared/kl"], shown["chi_squared/chi2"]], [stats["kl"], stats["chi2"]])
    clipped = [shown["chi_squared/clipped_above"], shown["chi_squared/clipped_below"]]
    yield Check(clipped, [stats["ratio_clipfrac"], stats["inv_ratio_clipfrac"]], 1e-6)  # theirs are float32


def verl_pf_ppo_weights(case: Case) -> Iterator[Check]:
    params = case["params"]
    names = {"pow": "power", "max_min": "best-worst", "max_random": "best-random"}
    score = torch.tensor(case["inputs"]["scores"], dtype=torch.float64)
    got = filter_weights(score, names[params["reweight_method"]], params["weight_pow"])  # type: ignore[arg-type]
    yield Check(got.tolist(), case["outputs"]["multinomial_weights"])


def _gspo_by_hand(content: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    logp, old = (torch.tensor(content[name], dtype=torch.float64) for name in ("logp", "old"))
    counted, unit = torch.ones(len(logp), dtype=torch.bool), torch.zeros(len(logp), dtype=torch.int64)
    yield "gspo", Check(sequence_log_ratio(logp, old, counted, unit, 1).exp().item(), content["s"])


HAND_CHECKED: Mapping[str, Callable[[Any], Iterator[tuple[str, Check]]]] = {"gspo": _gspo_by_hand}
