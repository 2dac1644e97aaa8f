"""Which of our names each golden file holds: the index of papers in the docs is written from this table."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a golden file is about, by registered names."""

    algorithms: tuple[str, ...] = ()
    """Whose own equations the file holds; algorithms that merely use one of the parts are not named."""
    curricula: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    """`module:function` of the mathematics that no part binds."""


def _preference(*algorithms: str) -> Subject:
    """A loss of the table behind the part `preference`."""
    return Subject(algorithms=algorithms, parts=("preference",))


_EPO = Subject(algorithms=("epo",), parts=("epo-smoothing",))
_LENGTHS = ("token-mean", "token-sum", "turn-mean", "trajectory-mean", "trajectory-mean-of-turn-means")

SUBJECTS: Mapping[str, Subject] = {
    "agents.json": Subject(
        algorithms=(
            *("grpo", "dr-grpo", "rloo", "gspo", "ppo", "bilevel-ppo", "gigpo", "empg", "epo", "eapo"),
            *("copo", "riskpo", "d3s", "gtpo", "dapo"),
        ),
        curricula=("knapsack", "vas"),
        parts=("group-norm", "leave-one-out", "ppo-clip", *_LENGTHS[:2], "trajectory-mean", "gae", "overlong"),
    ),
    "apo_zero_unpaired": Subject(algorithms=("apo-zero-unpaired",), parts=("apo-zero-unpaired",)),
    "bco_running_delta": Subject(algorithms=("bco",), parts=("bco",)),
    "cpo_hinge": Subject(algorithms=("cpo",), parts=("reference-free",)),
    "cpo_ipo": Subject(algorithms=("cpo",), parts=("reference-free",)),
    "cpo_sigmoid": Subject(algorithms=("cpo", "alphapo"), parts=("reference-free",)),
    "dpo_aot": _preference("aot"),
    "dpo_aot_unpaired": _preference("aot-unpaired"),
    "dpo_apo_down": _preference("apo-down"),
    "dpo_apo_zero": _preference("apo-zero"),
    "dpo_bco_pair": _preference("bco-pair"),
    "dpo_discopop": _preference("discopop"),
    "dpo_exo_pair": _preference("exo"),
    "dpo_f_divergence": _preference("f-dpo"),
    "dpo_hinge": _preference("slic"),
    "dpo_ipo": _preference("ipo"),
    "dpo_ld_alpha": _preference("ld-dpo"),
    "dpo_legacy_variants": _preference("cdpo", "ipo", "exo"),
    "dpo_nca_pair": _preference("nca"),
    "dpo_robust": _preference("robust-dpo"),
    "dpo_sft": _preference("mpo"),
    "dpo_sigmoid": _preference("dpo"),
    "dpo_sigmoid_norm": _preference("dpo-norm"),
    "dpo_sppo_hard": _preference("sppo"),
    "kto": Subject(algorithms=("kto",), parts=("kto",)),
    "orpo_odds_ratio": Subject(algorithms=("orpo",), parts=("orpo",)),
    "pairs_from_group": Subject(parts=("best-worst", "all-pairs")),
    "simpo": Subject(algorithms=("simpo", "alphapo"), parts=("reference-free",)),
    "aggregations": Subject(parts=_LENGTHS),
    "bnpo_advantage": Subject(algorithms=("bnpo",), parts=("beta-norm",)),
    "capo_token_curvature": Subject(algorithms=("capo",), parts=("capo-mask",)),
    "copo": Subject(algorithms=("copo",), parts=("consistency",)),
    "d3s": Subject(algorithms=("d3s",), parts=("dual-down-sampling",)),
    "d3s_schedule": Subject(algorithms=("d3s",), parts=("dual-down-sampling",)),
    "dapo_overlong": Subject(algorithms=("dapo",), parts=("overlong",)),
    "eapo": Subject(algorithms=("eapo",), parts=("discounted", "group-norm", "whole-multiple")),
    "eapo_loss": Subject(algorithms=("eapo",), parts=("gspo", "turn-mean")),
    "empg": Subject(algorithms=("empg",), parts=("empg",)),
    "entropy_mechanism_kl_cov": Subject(algorithms=("kl-cov",), parts=("kl-cov", "ratio")),
    "epo_beta": _EPO,
    "epo_loss": Subject(algorithms=("epo",), parts=("epo-entropy", "epo-smoothing", "ppo-clip")),
    "epo_penalty": _EPO,
    "epo_reference": _EPO,
    "gigpo": Subject(algorithms=("gigpo",), parts=("group-in-group",)),
    "group_baselines": Subject(algorithms=("grpo", "dr-grpo", "rloo"), parts=("group-norm", "leave-one-out")),
    "gtpo": Subject(algorithms=("gtpo",), parts=("conflict-tokens", "group-mean")),
    "hpt": Subject(algorithms=("hpt",), parts=("hpt-demonstrate", "hpt-hybrid", "question-mean")),
    "knapsack_allocation": Subject(curricula=("knapsack",)),
    "knapsack_values": Subject(curricula=("knapsack",)),
    "lp_reg_loss": Subject(algorithms=("lp-reg",), parts=("lp-reg-clip", "lp-reg-proxy")),
    "lp_reg_min_p_proxy": Subject(algorithms=("lp-reg",), parts=("lp-reg-proxy",)),
    "orpo_chi2_llm_regulariser": Subject(algorithms=("chi-squared",), parts=("chi-squared",)),
    "pf_ppo_filter_weights": Subject(algorithms=("pf-ppo",), parts=("pf-ppo",)),
    "polar_prompt": Subject(algorithms=("polar",), parts=("polar-input",)),
    "reward_model_bradley_terry": Subject(algorithms=("reward-model",), parts=("bradley-terry",)),
    "reward_model_xtuner_losses": Subject(algorithms=("reward-model",), parts=("bradley-terry",)),
    "pf_ppo_r2_criterion": Subject(algorithms=("pf-ppo",), parts=("pf-ppo",)),
    "ppo_clip": Subject(algorithms=("ppo",), parts=("ppo-clip",)),
    "riskpo": Subject(algorithms=("riskpo",), parts=("mixed-value-at-risk",)),
    "riskpo_tracker": Subject(algorithms=("riskpo",), parts=("mixed-value-at-risk",)),
    "turn_level_gae": Subject(algorithms=("bilevel-ppo",), parts=("bilevel-gae", "whiten")),
    "vas": Subject(curricula=("vas",)),
    "verl_adaptive_kl_controller": Subject(parts=("adaptive-kl",)),
    "verl_agg_loss": Subject(algorithms=("dr-grpo",), parts=("token-mean", "token-sum", "trajectory-mean")),
    "verl_cispo_loss": Subject(algorithms=("cispo",), parts=("cispo",)),
    "verl_clip_cov_loss": Subject(algorithms=("clip-cov",), parts=("clip-cov",)),
    "verl_dppo_kl_loss": Subject(parts=("dppo-kl",)),
    "verl_dppo_tv_loss": Subject(parts=("dppo-tv",)),
    "verl_dro_loss": Subject(parts=("dro",)),
    "verl_gae_advantage": Subject(algorithms=("ppo",), parts=("gae", "whiten")),
    "verl_geo_mean_gmpo_loss": Subject(parts=("gmpo",)),
    "verl_gpg_advantage": Subject(parts=("signal-scaled",)),
    "verl_gpg_loss": Subject(parts=("policy-gradient",)),
    "verl_grpo_advantage": Subject(algorithms=("grpo", "dr-grpo"), parts=("group-norm",)),
    "verl_grpo_passk_advantage": Subject(parts=("best-alone",)),
    "verl_grpo_vectorized_advantage": Subject(algorithms=("grpo", "dr-grpo"), parts=("group-norm",)),
    "verl_gspo_loss": Subject(algorithms=("gspo",), parts=("gspo",)),
    "verl_kl_cov_loss": Subject(algorithms=("kl-cov",), parts=("kl-cov", "ratio")),
    "verl_kl_in_reward": Subject(parts=("kl-reward",)),
    "verl_kl_penalty": Subject(parts=("kl",)),
    "verl_masked_stats": Subject(parts=("whiten",)),
    "verl_opo_advantage": Subject(parts=("above-mean-by-length",)),
    "verl_optimal_token_baseline": Subject(parts=("optimal-token-baseline",)),
    "verl_pf_ppo_weights": Subject(algorithms=("pf-ppo",), parts=("pf-ppo",)),
    "verl_ppo_clip_loss": Subject(algorithms=("ppo",), parts=("ppo-clip", "engine-correction")),
    "verl_reinforce_plus_plus_advantage": Subject(
        algorithms=("reinforce-plus-plus",), parts=("return-to-go", "whiten")
    ),
    "verl_reinforce_plus_plus_baseline_advantage": Subject(
        algorithms=("reinforce-plus-plus-baseline",), parts=("group-norm", "whiten")
    ),
    "verl_remax_advantage": Subject(parts=("above-greedy",)),
    "verl_rloo_advantage": Subject(algorithms=("rloo",), parts=("leave-one-out",)),
    "verl_rloo_vectorized_advantage": Subject(algorithms=("rloo",), parts=("leave-one-out",)),
    "verl_sapo_loss": Subject(parts=("sapo",)),
    "verl_tir_optimal_token_baseline": Subject(parts=("optimal-token-baseline",)),
    "verl_value_loss": Subject(algorithms=("ppo",), parts=("value-clip",)),
    "rpo_loss": Subject(algorithms=("rpo",), parts=("rpo-dpo", "rpo-sft")),
    "copg": Subject(algorithms=("copg",), parts=("copg", "all-pairs")),
    "p3o_v1_separate_clip": Subject(algorithms=("p3o",), parts=("p3o-separate",)),
    "p3o_v2_joint_clip": Subject(algorithms=("p3o-joint",), parts=("p3o-joint",)),
    "p3o_v2_trainer_variants": Subject(algorithms=("p3o-joint",), parts=("p3o-joint", "pair-token-mean")),
    "tgdpo_loss": Subject(algorithms=("tgdpo",), parts=("tgdpo",)),
    "cpl_loss": Subject(algorithms=("cpl",), parts=("cpl",)),
    "f_dpg": Subject(algorithms=("f-dpg",), parts=("pseudo-reward", "f-dpg")),
}
"""`algo` of a golden file (or the name of the one that has none) -> what it holds."""
