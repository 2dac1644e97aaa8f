"""Golden files against our parts: every file by its `algo`, every case with its largest relative difference."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.golden import (
    advantages,
    agents,
    curricula,
    judged,
    padded,
    padded_advantages,
    pairwise,
    preference_papers,
    probes,
    selecting,
    surrogates,
    values,
)
from tests.golden.check import Case, Check

RUNNERS: Mapping[str, Callable[[Case], Iterator[Check]]] = {
    "aggregations": agents.aggregations,
    "bnpo_advantage": selecting.bnpo_advantage,
    "copo": selecting.copo,
    "d3s": selecting.d3s,
    "d3s_schedule": selecting.d3s_schedule,
    "gtpo": selecting.gtpo,
    "riskpo": selecting.riskpo,
    "riskpo_tracker": selecting.riskpo_tracker,
    "dapo_overlong": advantages.dapo_overlong,
    "eapo": advantages.eapo,
    "eapo_loss": advantages.eapo_loss,
    "empg": advantages.empg,
    "epo_beta": agents.epo_beta,
    "epo_loss": agents.epo_loss,
    "epo_penalty": agents.epo_penalty,
    "epo_reference": agents.epo_reference,
    "gigpo": values.gigpo,
    "group_baselines": agents.group_baselines,
    "ppo_clip": agents.ppo_clip,
    "capo_token_curvature": probes.capo_token_curvature,
    "hpt": probes.hpt,
    "lp_reg_loss": probes.lp_reg_loss,
    "lp_reg_min_p_proxy": probes.lp_reg_min_p_proxy,
    "verl_optimal_token_baseline": probes.verl_optimal_token_baseline,
    "verl_tir_optimal_token_baseline": probes.verl_tir_optimal_token_baseline,
    "turn_level_gae": values.turn_level_gae,
    "verl_agg_loss": padded.verl_agg_loss,
    "verl_gae_advantage": values.verl_gae_advantage,
    "verl_grpo_advantage": padded.verl_grpo_advantage,
    "verl_grpo_vectorized_advantage": padded_advantages.verl_grpo_vectorized_advantage,
    "verl_rloo_vectorized_advantage": padded_advantages.verl_rloo_vectorized_advantage,
    "verl_grpo_passk_advantage": padded_advantages.verl_grpo_passk_advantage,
    "verl_gpg_advantage": padded_advantages.verl_gpg_advantage,
    "verl_opo_advantage": padded_advantages.verl_opo_advantage,
    "verl_remax_advantage": padded_advantages.verl_remax_advantage,
    "verl_reinforce_plus_plus_advantage": padded_advantages.verl_reinforce_plus_plus_advantage,
    "verl_reinforce_plus_plus_baseline_advantage": padded_advantages.verl_reinforce_plus_plus_baseline_advantage,
    "verl_masked_stats": padded_advantages.verl_masked_stats,
    "verl_kl_penalty": padded.verl_kl_penalty,
    "verl_cispo_loss": surrogates.verl_cispo_loss,
    "verl_gpg_loss": surrogates.verl_gpg_loss,
    "verl_sapo_loss": surrogates.verl_sapo_loss,
    "verl_dro_loss": surrogates.verl_dro_loss,
    "verl_dppo_tv_loss": surrogates.verl_dppo_tv_loss,
    "verl_dppo_kl_loss": surrogates.verl_dppo_kl_loss,
    "verl_clip_cov_loss": surrogates.verl_clip_cov_loss,
    "verl_kl_cov_loss": surrogates.verl_kl_cov_loss,
    "entropy_mechanism_kl_cov": surrogates.entropy_mechanism_kl_cov,
    "verl_adaptive_kl_controller": surrogates.verl_adaptive_kl_controller,
    "verl_kl_in_reward": surrogates.verl_kl_in_reward,
    "orpo_chi2_llm_regulariser": surrogates.orpo_chi2_llm_regulariser,
    "verl_pf_ppo_weights": surrogates.verl_pf_ppo_weights,
    "pf_ppo_r2_criterion": selecting.pf_ppo_r2_criterion,
    "pf_ppo_filter_weights": judged.pf_ppo_filter_weights,
    "polar_prompt": judged.polar_prompt,
    "reward_model_bradley_terry": judged.reward_model_bradley_terry,
    "reward_model_xtuner_losses": judged.reward_model_xtuner_losses,
    "knapsack_allocation": curricula.knapsack_allocation,
    "knapsack_values": curricula.knapsack_values,
    "vas": curricula.vas,
    "verl_gspo_loss": surrogates.verl_gspo_loss,
    "verl_geo_mean_gmpo_loss": surrogates.verl_geo_mean_gmpo_loss,
    "verl_ppo_clip_loss": padded.verl_ppo_clip_loss,
    "verl_rloo_advantage": padded.verl_rloo_advantage,
    "verl_value_loss": values.verl_value_loss,
    **pairwise.RUNNERS,
    "rpo_loss": preference_papers.rpo_loss,
    "copg": preference_papers.copg,
    "p3o_v1_separate_clip": preference_papers.p3o_v1_separate_clip,
    "p3o_v2_joint_clip": preference_papers.p3o_v2_joint_clip,
    "p3o_v2_trainer_variants": preference_papers.p3o_v2_trainer_variants,
    "tgdpo_loss": preference_papers.tgdpo_loss,
    "cpl_loss": preference_papers.cpl_loss,
    "f_dpg": preference_papers.f_dpg,
}
"""algo -> what yields the checks of one case."""


def hand_checked(content: dict[str, Any]) -> Iterator[tuple[str, Check]]:
    """The keys of `agents.json`, rounded to six digits."""
    yield from agents.hand_checked(content)
    for key, runner in (
        values.HAND_CHECKED
        | advantages.HAND_CHECKED
        | selecting.HAND_CHECKED
        | surrogates.HAND_CHECKED
        | curricula.HAND_CHECKED
    ).items():
        if key in content:
            yield from runner(content[key])


_OF_TEXTS = {"rtol": 1e-12, "atol": 1e-12}
"""Of a file that names no tolerance, since it holds no numbers."""


class UnknownAlgo(ValueError):
    """A golden file of a method that no part of ours reproduces."""


@dataclass(frozen=True)
class Result:
    """How far one case is off."""

    algo: str
    case: str
    difference: float
    """Largest |got - expected| / (|expected| + atol / rtol) over all outputs; inf where a number was not one."""
    passed: bool
    tolerance: float
    """The widest that one of its outputs is allowed."""


def relative_difference(got: Any, expected: Any, rtol: float, atol: float) -> float:
    """Largest difference of nested lists of numbers; an expected None is met by nan alone."""
    if isinstance(expected, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(got) != len(expected):
            return math.inf
        return max((relative_difference(g, e, rtol, atol) for g, e in zip(got, expected, strict=True)), default=0.0)
    if expected is None:
        return 0.0 if math.isnan(got) else math.inf
    difference = abs(got - expected) / (abs(expected) + atol / rtol)
    return math.inf if math.isnan(difference) else difference


def compare(path: Path) -> list[Result]:
    """Every case of a golden file.   Raises UnknownAlgo for one that no part of ours reproduces."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if "algo" not in content:
        checked = ((f"agents.json:{key}", "all", check) for key, check in hand_checked(content))
        return [_result(algo, case, [check], 1e-6, 1e-6) for algo, case, check in checked]
    if content["algo"] not in RUNNERS:
        raise UnknownAlgo(f"no part of ours reproduces {content['algo']!r}; known: {', '.join(sorted(RUNNERS))}")
    runner, results = RUNNERS[content["algo"]], []
    for case in (*content["cases"], *content.get("minibatch_cases", [])):
        tolerance = content["recommended_tolerance"].get(case.get("dtype", "float64"), _OF_TEXTS)
        checks = list(runner(case))
        results.append(_result(content["algo"], case["name"], checks, tolerance["rtol"], tolerance["atol"]))
    return results


def _result(algo: str, case: str, checks: list[Check], rtol: float, atol: float) -> Result:
    differences = []
    for check in checks:
        allowed, floor = check.rtol or rtol, check.atol or atol
        difference = relative_difference(check.got, check.expected, allowed, floor)
        differences.append((difference, difference <= allowed))
    widest = max(check.rtol or rtol for check in checks)
    return Result(algo, case, max(d for d, _ in differences), all(ok for _, ok in differences), widest)
