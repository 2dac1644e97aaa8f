"""Turns a name into the thing it stands for: one literal table a kind, entry points of others, `module:name`."""

import importlib
import os
import sys
from importlib.metadata import entry_points
from typing import Any

from agentrl.errors import MissingDependency, UnknownName, missing_package, unknown_name

TABLES: dict[str, dict[str, str]] = {
    "env": {
        "guess": "agentrl.envs.guess",
        "chain": "agentrl.envs.chain",
        "alfworld": "agentrl.envs.alfworld",
        "textworld": "agentrl.envs.textworld",
        "rlvr": "agentrl.envs.rlvr",
        "scienceworld": "agentrl.envs.scienceworld",
        "mixture": "agentrl.envs.mixture",
        "prompts": "agentrl.envs.prompts",
    },
    "memory": {
        "full": "agentrl.memory.full:Full",
        "window": "agentrl.memory.window:Window",
        "workspace": "agentrl.memory.workspace:Workspace",
        "summary": "agentrl.memory.summary:Summary",
    },
    "format": {
        "action": "agentrl.prompts.action:BareAction",
        "tags": "agentrl.prompts.tags:Tags",
        "report": "agentrl.prompts.report:ReportAndAction",
        "tools": "agentrl.prompts.tool_calls:ToolCalls",
    },
    "algorithm": {
        "sft": "agentrl.trainers.algorithms.sft:SFT",
        "reinforce": "agentrl.trainers.algorithms.reinforce:REINFORCE",
        "rloo": "agentrl.trainers.algorithms.rloo:RLOO",
        "grpo": "agentrl.trainers.algorithms.grpo:GRPO",
        "epo": "agentrl.trainers.algorithms.epo:EPO",
        "lp-reg": "agentrl.trainers.algorithms.lp_reg:LP_REG",
        "hpt": "agentrl.trainers.algorithms.hpt:HPT",
        "scaf-grpo": "agentrl.trainers.algorithms.scaf_grpo:SCAF_GRPO",
        "capo": "agentrl.trainers.algorithms.capo:CAPO",
        "craft-gui": "agentrl.trainers.algorithms.craft_gui:CRAFT_GUI",
        "dapo": "agentrl.trainers.algorithms.dapo:DAPO",
        "dr-grpo": "agentrl.trainers.algorithms.dr_grpo:DR_GRPO",
        "eapo": "agentrl.trainers.algorithms.eapo:EAPO",
        "empg": "agentrl.trainers.algorithms.empg:EMPG",
        "bnpo": "agentrl.trainers.algorithms.bnpo:BNPO",
        "copo": "agentrl.trainers.algorithms.copo:COPO",
        "d3s": "agentrl.trainers.algorithms.d3s:D3S",
        "gtpo": "agentrl.trainers.algorithms.gtpo:GTPO",
        "riskpo": "agentrl.trainers.algorithms.riskpo:RISKPO",
        "reinforce-plus-plus": "agentrl.trainers.algorithms.reinforce_plus_plus:REINFORCE_PLUS_PLUS",
        "reinforce-plus-plus-baseline": (
            "agentrl.trainers.algorithms.reinforce_plus_plus:REINFORCE_PLUS_PLUS_BASELINE"
        ),
        "gspo": "agentrl.trainers.algorithms.gspo:GSPO",
        "cispo": "agentrl.trainers.algorithms.cispo:CISPO",
        "clip-cov": "agentrl.trainers.algorithms.clip_cov:CLIP_COV",
        "kl-cov": "agentrl.trainers.algorithms.kl_cov:KL_COV",
        "chi-squared": "agentrl.trainers.algorithms.chi_squared:CHI_SQUARED",
        "mdpo": "agentrl.trainers.algorithms.mdpo:MDPO",
        "mdpo-off-policy": "agentrl.trainers.algorithms.mdpo:MDPO_OFF_POLICY",
        "ratio-norm": "agentrl.trainers.algorithms.ratio_norm:RATIO_NORM",
        "pf-ppo": "agentrl.trainers.algorithms.pf_ppo:PF_PPO",
        "gigpo": "agentrl.trainers.algorithms.gigpo:GIGPO",
        "reward-model": "agentrl.trainers.algorithms.reward_model:REWARD_MODEL",
        "polar": "agentrl.trainers.algorithms.polar:POLAR",
        "ppo": "agentrl.trainers.algorithms.ppo:PPO",
        "bilevel-ppo": "agentrl.trainers.algorithms.bilevel_ppo:BILEVEL_PPO",
        "archer": "agentrl.trainers.algorithms.archer:ARCHER",
        "rpo": "agentrl.trainers.algorithms.rpo:RPO",
        "copg": "agentrl.trainers.algorithms.copg:COPG",
        "p3o": "agentrl.trainers.algorithms.p3o:P3O",
        "p3o-joint": "agentrl.trainers.algorithms.p3o:P3O_JOINT",
        "tgdpo": "agentrl.trainers.algorithms.tgdpo:TGDPO",
        "cpl": "agentrl.trainers.algorithms.cpl:CPL",
        "cpl-kl": "agentrl.trainers.algorithms.cpl:CPL_KL",
        "f-dpg": "agentrl.trainers.algorithms.f_dpg:F_DPG",
        "dpo": "agentrl.trainers.algorithms.dpo:DPO",
        "dpo-norm": "agentrl.trainers.algorithms.dpo:DPO_NORM",
        "cdpo": "agentrl.trainers.algorithms.dpo:CDPO",
        "f-dpo": "agentrl.trainers.algorithms.dpo:F_DPO",
        "ld-dpo": "agentrl.trainers.algorithms.dpo:LD_DPO",
        "wpo": "agentrl.trainers.algorithms.dpo:WPO",
        "ipo": "agentrl.trainers.algorithms.dpo_margins:IPO",
        "slic": "agentrl.trainers.algorithms.dpo_margins:SLIC",
        "robust-dpo": "agentrl.trainers.algorithms.dpo_margins:ROBUST_DPO",
        "exo": "agentrl.trainers.algorithms.dpo_margins:EXO",
        "discopop": "agentrl.trainers.algorithms.dpo_margins:DISCOPOP",
        "aot": "agentrl.trainers.algorithms.dpo_margins:AOT",
        "aot-unpaired": "agentrl.trainers.algorithms.dpo_margins:AOT_UNPAIRED",
        "nca": "agentrl.trainers.algorithms.dpo_sides:NCA",
        "bco-pair": "agentrl.trainers.algorithms.dpo_sides:BCO_PAIR",
        "sppo": "agentrl.trainers.algorithms.dpo_sides:SPPO",
        "apo-zero": "agentrl.trainers.algorithms.dpo_sides:APO_ZERO",
        "apo-down": "agentrl.trainers.algorithms.dpo_sides:APO_DOWN",
        "mpo": "agentrl.trainers.algorithms.dpo_sides:MPO",
        "kto": "agentrl.trainers.algorithms.kto:KTO",
        "apo-zero-unpaired": "agentrl.trainers.algorithms.kto:APO_ZERO_UNPAIRED",
        "bco": "agentrl.trainers.algorithms.bco:BCO",
        "cpo": "agentrl.trainers.algorithms.cpo:CPO",
        "simpo": "agentrl.trainers.algorithms.cpo:SIMPO",
        "alphapo": "agentrl.trainers.algorithms.cpo:ALPHAPO",
        "orpo": "agentrl.trainers.algorithms.orpo:ORPO",
    },
    "part": {
        "outcome": "agentrl.trainers.parts.returns:OUTCOME",
        "reward-sum": "agentrl.trainers.parts.returns:REWARD_SUM",
        "turn-reward": "agentrl.trainers.parts.returns:TURN_REWARD",
        "last-turn-outcome": "agentrl.trainers.parts.returns:LAST_TURN_OUTCOME",
        "discounted": "agentrl.trainers.parts.returns:DISCOUNTED",
        "group-norm": "agentrl.trainers.parts.advantages:GROUP_NORM",
        "leave-one-out": "agentrl.trainers.parts.advantages:LEAVE_ONE_OUT",
        "raw-return": "agentrl.trainers.parts.advantages:RAW_RETURN",
        "above-mean-by-length": "agentrl.trainers.parts.advantages_group:ABOVE_MEAN_BY_LENGTH",
        "signal-scaled": "agentrl.trainers.parts.advantages_group:SIGNAL_SCALED",
        "best-alone": "agentrl.trainers.parts.advantages_group:BEST_ALONE",
        "above-greedy": "agentrl.trainers.parts.advantages_group:ABOVE_GREEDY",
        "return-to-go": "agentrl.trainers.algorithms.reinforce_plus_plus:RETURN_TO_GO",
        "beta-norm": "agentrl.trainers.algorithms.bnpo:BETA_NORM",
        "consistency": "agentrl.trainers.algorithms.copo:CONSISTENCY",
        "decomposed": "agentrl.trainers.parts.advantages_components:DECOMPOSED",
        "mixed-value-at-risk": "agentrl.trainers.algorithms.riskpo:MIXED_VALUE_AT_RISK",
        "conflict-tokens": "agentrl.trainers.algorithms.gtpo:CONFLICT_TOKENS",
        "dual-down-sampling": "agentrl.trainers.algorithms.d3s:DUAL_DOWN_SAMPLING",
        "group-mean": "agentrl.trainers.parts.aggregates:GROUP_MEAN",
        "pair-mean": "agentrl.trainers.parts.aggregates:PAIR_MEAN",
        "pair-token-mean": "agentrl.trainers.parts.aggregates:PAIR_TOKEN_MEAN",
        "rpo-dpo": "agentrl.trainers.algorithms.rpo:RPO_DPO",
        "rpo-sft": "agentrl.trainers.algorithms.rpo:RPO_SFT",
        "rpo-solutions-sft": "agentrl.trainers.algorithms.rpo:RPO_SOLUTIONS_SFT",
        "rpo-solutions": "agentrl.trainers.algorithms.rpo:RPO_SOLUTIONS",
        "copg": "agentrl.trainers.algorithms.copg:COPG_SURROGATE",
        "p3o-separate": "agentrl.trainers.algorithms.p3o:P3O_SEPARATE",
        "p3o-joint": "agentrl.trainers.algorithms.p3o:P3O_TOGETHER",
        "tgdpo": "agentrl.trainers.algorithms.tgdpo:TGDPO_SURROGATE",
        "cpl": "agentrl.trainers.algorithms.cpl:CPL_SURROGATE",
        "cpl-kl": "agentrl.trainers.algorithms.cpl:CPL_KL_SURROGATE",
        "pseudo-reward": "agentrl.trainers.algorithms.f_dpg:PSEUDO_REWARD",
        "f-dpg": "agentrl.trainers.algorithms.f_dpg:WEIGHED_GRADIENT",
        "best-worst": "agentrl.trainers.parts.pairings:BEST_WORST",
        "all-pairs": "agentrl.trainers.parts.pairings:ALL_PAIRS",
        "random-pairs": "agentrl.trainers.parts.pairings:RANDOM_PAIRS",
        "preference": "agentrl.trainers.parts.surrogates_preference:PREFERENCE",
        "kto": "agentrl.trainers.algorithms.kto:KTO_SURROGATE",
        "apo-zero-unpaired": "agentrl.trainers.algorithms.kto:APO_ZERO_UNPAIRED_SURROGATE",
        "bco": "agentrl.trainers.algorithms.bco:BCO_SURROGATE",
        "reference-free": "agentrl.trainers.algorithms.cpo:REFERENCE_FREE",
        "orpo": "agentrl.trainers.algorithms.orpo:ORPO_SURROGATE",
        "empg": "agentrl.trainers.algorithms.empg:EMPG_MODULATION",
        "overlong": "agentrl.trainers.parts.rewards:OVERLONG",
        "whole-multiple": "agentrl.trainers.parts.selections:WHOLE_MULTIPLE",
        "group-in-group": "agentrl.trainers.algorithms.gigpo:GIGPO_ADVANTAGE",
        "gae": "agentrl.trainers.parts.values:GAE",
        "bilevel-gae": "agentrl.trainers.algorithms.bilevel_ppo:BILEVEL_GAE",
        "turn-credit": "agentrl.trainers.algorithms.archer:TURN_CREDIT",
        "whiten": "agentrl.trainers.parts.values:WHITEN",
        "value-clip": "agentrl.trainers.parts.values:VALUE_CLIP",
        "ppo-clip": "agentrl.trainers.parts.surrogates:PPO_CLIP",
        "policy-gradient": "agentrl.trainers.parts.surrogates:POLICY_GRADIENT",
        "likelihood": "agentrl.trainers.parts.surrogates:LIKELIHOOD",
        "gspo": "agentrl.trainers.parts.surrogates_sequence:GSPO_CLIP",
        "gmpo": "agentrl.trainers.parts.surrogates_sequence:GMPO",
        "ratio": "agentrl.trainers.parts.surrogates_ratio:RATIO",
        "cispo": "agentrl.trainers.parts.surrogates_ratio:CISPO_CLIP",
        "sapo": "agentrl.trainers.parts.surrogates_ratio:SAPO",
        "dro": "agentrl.trainers.parts.surrogates_ratio:DRO",
        "dppo-tv": "agentrl.trainers.parts.surrogates_ratio:DPPO_TV",
        "dppo-kl": "agentrl.trainers.parts.surrogates_ratio:DPPO_KL",
        "clip-cov": "agentrl.trainers.algorithms.clip_cov:CLIP_COV_SURROGATE",
        "kl-cov": "agentrl.trainers.algorithms.kl_cov:KL_COV_TERM",
        "chi-squared": "agentrl.trainers.algorithms.chi_squared:CHI_SQUARED_TERM",
        "mdpo": "agentrl.trainers.algorithms.mdpo:MDPO_SURROGATE",
        "mdpo-off-policy": "agentrl.trainers.algorithms.mdpo:MDPO_OFF_POLICY_SURROGATE",
        "ratio-norm": "agentrl.trainers.algorithms.ratio_norm:RATIO_NORM_SURROGATE",
        "pf-ppo": "agentrl.trainers.algorithms.pf_ppo:PF_PPO_FILTER",
        "bradley-terry": "agentrl.trainers.algorithms.reward_model:BRADLEY_TERRY",
        "polar-input": "agentrl.trainers.algorithms.polar:POLAR_INPUT",
        "adaptive-kl": "agentrl.trainers.parts.kl_control:ADAPTIVE_KL",
        "kl-reward": "agentrl.trainers.parts.kl_control:KL_REWARD",
        "kl": "agentrl.trainers.parts.regularisers:KL",
        "entropy-bonus": "agentrl.trainers.parts.regularisers:ENTROPY_BONUS",
        "epo-entropy": "agentrl.trainers.algorithms.epo:EPO_ENTROPY",
        "epo-smoothing": "agentrl.trainers.algorithms.epo:EPO_SMOOTHING",
        "engine-correction": "agentrl.trainers.parts.modifiers:ENGINE_CORRECTION",
        "invalid-action-penalty": "agentrl.trainers.parts.rewards:INVALID_ACTION_PENALTY",
        "token-mean": "agentrl.trainers.parts.aggregates:TOKEN_MEAN",
        "token-sum": "agentrl.trainers.parts.aggregates:TOKEN_SUM",
        "turn-mean": "agentrl.trainers.parts.aggregates:TURN_MEAN",
        "trajectory-mean": "agentrl.trainers.parts.aggregates:TRAJECTORY_MEAN",
        "trajectory-mean-of-turn-means": "agentrl.trainers.parts.aggregates:TRAJECTORY_MEAN_OF_TURN_MEANS",
        "signal": "agentrl.trainers.parts.gates:SIGNAL",
        "optimal-token-baseline": "agentrl.trainers.parts.optimal_baseline:OPTIMAL_TOKEN_BASELINE",
        "lp-reg-clip": "agentrl.trainers.algorithms.lp_reg:LP_REG_CLIP",
        "lp-reg-proxy": "agentrl.trainers.algorithms.lp_reg:LP_REG_PROXY",
        "capo-mask": "agentrl.trainers.algorithms.capo:CAPO_MASK",
        "hpt-demonstrate": "agentrl.trainers.algorithms.hpt:HPT_DEMONSTRATE",
        "hpt-hybrid": "agentrl.trainers.algorithms.hpt:HPT_HYBRID",
        "question-mean": "agentrl.trainers.algorithms.hpt:QUESTION_MEAN",
        "scaffold": "agentrl.trainers.algorithms.scaf_grpo:SCAF_SCAFFOLD",
        "past-rollouts": "agentrl.trainers.parts.past_rollouts:PAST_ROLLOUTS",
    },
    "curriculum": {
        "uniform": "agentrl.trainers.curricula.uniform:Uniform",
        "stages": "agentrl.trainers.curricula.stages:Stages",
        "dynamic-sampling": "agentrl.trainers.curricula.dynamic_sampling:DynamicSampling",
        "vas": "agentrl.trainers.curricula.vas:VAS",
        "knapsack": "agentrl.trainers.curricula.knapsack:Knapsack",
        "replay": "agentrl.trainers.curricula.replay:Replay",
    },
    "policy": {
        "random": "agentrl.policies.scripted:RandomAdmissible",
        "expert": "agentrl.policies.scripted:Expert",
        "human": "agentrl.policies.human:Human",
    },
    "verifier": {
        "exact": "agentrl.envs.rlvr.verifiers:EXACT",
        "numeric": "agentrl.envs.rlvr.verifiers:NUMERIC",
        "choice": "agentrl.envs.rlvr.verifiers:CHOICE",
        "math": "agentrl.envs.rlvr.verifiers_math:MATH",
        "regex": "agentrl.envs.rlvr.verifiers_other:REGEX",
        "reasoning-gym": "agentrl.envs.rlvr.verifiers_gym:GYM",
        "unit-tests": "agentrl.envs.rlvr.code:UNIT_TESTS",
    },
}
"""kind -> name -> `module` or `module:attribute`."""

LISTINGS = {
    "env": "envs",
    "memory": "memories",
    "format": "formats",
    "algorithm": "algos",
    "part": "parts",
    "curriculum": "curricula",
    "policy": "policies",
    "verifier": "verifiers",
}
"""kind -> what `agentrl list` calls it."""

_ENTRY_POINT_GROUPS = {
    "env": "agentrl.envs",
    "memory": "agentrl.memories",
    "format": "agentrl.formats",
    "algorithm": "agentrl.algorithms",
    "part": "agentrl.parts",
    "curriculum": "agentrl.curricula",
    "policy": "agentrl.policies",
    "verifier": "agentrl.verifiers",
}
"""kind -> entry-point group in which third parties add names."""


def _canonical(name: str) -> str:
    return name.replace("_", "-")


def names(kind: str) -> dict[str, str]:
    """Every registered name of a kind and the import path it stands for; the house's own first."""
    table = dict(TABLES[kind])
    for entry in entry_points(group=_ENTRY_POINT_GROUPS[kind]):
        table.setdefault(_canonical(entry.name), entry.value)
    return table


def load(kind: str, name: str) -> Any:
    """The thing that a name stands for; `module:attribute` is imported as it is, from the current folder too.

    Raises UnknownName with the nearest name, or MissingDependency with the command that installs what is missing.
    """
    if ":" in name:
        if os.getcwd() not in sys.path:  # behind all others, and only where somebody names a module of their own
            sys.path.append(os.getcwd())
        return _import(kind, name, name)
    own = TABLES[kind].get(_canonical(name))
    if own is not None:  # before the entry points of everything that is installed are read
        return _import(kind, name, own)
    table = names(kind)
    if _canonical(name) not in table:
        raise unknown_name(kind if kind != "env" else "environment", name, table, LISTINGS[kind])
    return _import(kind, name, table[_canonical(name)])


def _import(kind: str, name: str, path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package == "agentrl" or module_name.startswith(error.name or "\0"):
            raise UnknownName(f"{kind} {name!r}: there is no module {error.name!r}") from error
        raise missing_package(f"{kind} {name!r}", package, f"pip install {package}") from error
    if not attribute:
        return module
    if not hasattr(module, attribute):
        raise UnknownName(f"{kind} {name!r}: module {module_name!r} has no {attribute!r}")
    return getattr(module, attribute)


__all__ = ["LISTINGS", "TABLES", "MissingDependency", "load", "names"]
