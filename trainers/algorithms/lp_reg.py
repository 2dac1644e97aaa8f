"""Lp-Reg: low-probability regularisation, which keeps rare but meant tokens alive (arXiv 2510.03222).

    L       = mean over the tokens n of  [ max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)) + coef * 1[n in T] * D_n ]
    r       = exp(log p - log p_old)
    proxy_v = p_v / Z on K = { v : p_v >= threshold * max p },  0 elsewhere;   Z = sum of p over K
    T       = { n : A_n < 0,  p(o_n) is among the `share` smallest of the batch,  o_n in K }
    D_n     = KL(proxy || p)                                                          estimator full (the paper's)
    D_n     = exp(q - log p) - (q - log p) - 1,   q = log p_old(o_n) - log Z_old      estimator k3 (the released code's)

On T the ratio is not clipped. The paper clips r from 0 to 10 whatever the sign of A; here as released, where a negative
advantage is never clipped at 10 and the gradient is the same below it. The proxy is of the policy at hand, held fixed:
in the first update after a rollout, which the paper's on-policy runs have alone, that is the one that sampled; in later
ones `full` moves with the policy (ours: the old distribution is not kept), while the other estimators read Z_old.
`scope: negatives` takes the smallest among the tokens with a negative advantage, and none where that is a single one,
as released; there T holds only tokens below their proxy, log p < q, which the estimators other than full always ask.
`positive_share` treats tokens with a positive advantage the same way (an ablation of the paper: slower).
The paper's second version and the released code (CarlanLark/Lp-Reg-dev, commit 33b27e2) were read; what the code takes
over a micro-batch is over the batch here. A fixed threshold above the largest probability filters nothing (ours).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.models.head import Probe
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.chance import largest, token_chance
from agentrl.trainers.parts.probes import min_p_probe
from agentrl.trainers.parts.regularisers import Estimator, kl_estimate
from agentrl.trainers.parts.surrogates import ppo_clip
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class LpRegConfig:
    coef: float = 1.0
    """Weight of the divergence from the proxy; 1 is the paper's."""
    threshold: float = 0.02
    """The proxy keeps ids with at least this share of the largest probability; 0.02 is the paper's."""
    filter: Literal["relative", "fixed"] = "relative"
    """fixed: ids with at least `threshold` itself (an ablation of the paper: worse)."""
    share: float = 0.01
    """The least probable share of the tokens is regularised; 0.01 is the paper's for 14B, 0.005 for 32B."""
    scope: Literal["all", "negatives"] = "all"
    """Among which tokens the smallest are sought: all that carry loss (paper), or those with A < 0 (released)."""
    positive_share: float = 0.0
    """With scope negatives: this share of the tokens with A > 0 is regularised too; 0 in the recipes."""
    estimator: Literal["full", "k1", "k2", "k3", "abs"] = "full"
    """full: the divergence over the whole vocabulary. The others: what the sampled token tells of it; released: k3."""
    clip_low: float = 1.0
    """The ratio is held above 1 - clip_low; 1 as released."""
    clip_high: float = 9.0
    """The ratio is held below 1 + clip_high; 9 as released, U = 10 in the paper."""

    def __post_init__(self) -> None:
        require(0 < self.threshold <= 1, f"threshold is {self.threshold}; it must be above 0 and at most 1")
        require(0 <= self.share <= 1, f"share is {self.share}; it must be from 0 to 1")
        only = not self.positive_share or self.scope == "negatives"
        require(only, "positive_share is of the tokens with A > 0; it goes with scope negatives")


def proxy_logprob(old: Tensor, keeps: Tensor, divergence: Tensor) -> Tensor:
    """q = log p_old(o) - log Z_old where the proxy keeps o, -inf elsewhere.

    old: [N] log-probs.   keeps: [N], 0 or 1.   divergence: [N], -log Z_old.   Returns [N].
    """
    return torch.where(keeps > 0, old + divergence, float("-inf"))


def smallest(logp: Tensor, among: Tensor, share: float, chance: Tensor, single: bool) -> Tensor:
    """The int(share * count) smallest of some tokens; ties go by chance.

    logp, chance: [N].   among: [N] bool.   single: False: one alone is none, as released.   Returns [N] bool.
    """
    num = int(int(among.sum()) * share)
    return largest(-logp, among, num if single or num > 1 else 0, chance)


def regularised(view: StepView, config: LpRegConfig) -> Tensor:
    """T, the tokens that the proxy holds up.   Returns [N] bool."""
    assert view.current is not None and view.advantage is not None and view.old is not None
    logp, advantage, chance = view.current.detach(), view.advantage, token_chance(view, "lp-reg")
    if config.scope == "all":
        low = smallest(logp, view.trained, config.share, chance, single=True) & (advantage < 0)
    else:
        low = smallest(logp, view.trained & (advantage < 0), config.share, chance, single=False)
        low = low | smallest(logp, view.trained & (advantage > 0), config.positive_share, chance, single=False)
    if config.estimator == "full":
        return low & (view.probes["proxy-keeps"] > 0)
    read = view.sampled_probes
    return low & (logp < proxy_logprob(view.old, read["proxy-keeps"], read["proxy-kl"]))


def _clip(view: StepView, config: LpRegConfig, state: None) -> Term:
    assert view.current is not None and view.old is not None and view.advantage is not None
    advantage, old = view.advantage.detach(), view.old.detach()
    clipped = ppo_clip(view.current, old, advantage, config.clip_low, config.clip_high, 0.0).loss
    free = -advantage * (view.current - old).clamp(-20, 20).exp()
    return Term(torch.where(regularised(view, config), free, clipped))


def _hold_up(view: StepView, config: LpRegConfig, state: None) -> Term:
    assert view.current is not None and view.old is not None
    on = regularised(view, config)
    if config.estimator == "full":
        return Term(torch.where(on, view.probes["proxy-kl"], 0.0), weight=config.coef)
    estimator: Estimator = config.estimator
    read = view.sampled_probes
    proxy = proxy_logprob(view.old, read["proxy-keeps"], read["proxy-kl"])
    value = kl_estimate(view.current, torch.where(on, proxy, view.current.detach()), estimator)
    return Term(torch.where(on, value, 0.0), weight=config.coef)


def _probe(config: LpRegConfig) -> Probe:
    return min_p_probe(config.threshold, config.filter == "relative")


def _current_probes(config: LpRegConfig, state: None) -> tuple[Probe, ...]:
    return (_probe(config),) if config.estimator == "full" else ()


def _sampled_probes(config: LpRegConfig, state: None) -> tuple[Probe, ...]:
    return () if config.estimator == "full" else (_probe(config),)


def _metrics(view: StepView, config: LpRegConfig, state: None) -> dict[str, float]:
    """Over the tokens that carry loss; the mean log-prob is of those in T."""
    assert view.current is not None
    on, num = regularised(view, config) & view.trained, max(int(view.trained.sum()), 1)
    read = view.probes if config.estimator == "full" else view.sampled_probes
    return {
        "lp_reg/regularised_share": float(on.sum()) / num,
        "lp_reg/regularised_logprob": float(view.current.detach()[on].sum()) / max(int(on.sum()), 1),
        "lp_reg/filtered_share": float((read["proxy-keeps"][view.trained] == 0).sum()) / num,
        "lp_reg/kept_mass": float((-read["proxy-kl"].detach()[view.trained]).exp().sum()) / num,
    }


LP_REG_CLIP = Part(
    name="lp-reg-clip",
    kind="surrogate",
    bind=_clip,
    config=LpRegConfig,
    section="lp-reg",
    needs=("old", "advantage"),
    probes=_current_probes,
    sampled_probes=_sampled_probes,
    couples="batch",
)
"""Lp-Reg's: a ratio clipped from 0 to 10, and not at all where the proxy holds a token up."""
LP_REG_PROXY = Part(
    name="lp-reg-proxy",
    kind="regulariser",
    bind=_hold_up,
    config=LpRegConfig,
    section="lp-reg",
    needs=("old", "advantage"),
    probes=_current_probes,
    sampled_probes=_sampled_probes,
    couples="batch",
    active=lambda config: config.coef > 0,
    metrics=_metrics,
)
"""Lp-Reg's: pulls improbable tokens of negative advantage towards the policy without its noise."""
LP_REG = Algorithm(
    name="lp-reg",
    citation=(
        "G. Huang et al.: Low-probability tokens sustain exploration in reinforcement learning with verifiable reward. "
        "arXiv 2510.03222."
    ),
    returns="outcome",
    advantage="group-norm",
    surrogate=LP_REG_CLIP,
    regularisers=(LP_REG_PROXY,),
    aggregate="token-mean",
)
