"""Probes: what algorithms read from the logits beside log-prob and entropy, one number a token each, chunk by chunk.

With pi = softmax of the logits at the sampling temperature and mask, o the sampled id, h the hidden state.
"""

import torch
from torch import Tensor

from agentrl.models.head import Chunk, Probe


def sum_of_squares(seen: Chunk) -> tuple[Tensor]:
    """q = sum over v of pi_v^2: how likely two draws are the same token."""
    return (seen.logp.mul(2).exp_().sum(-1),)


def kept_by_min_p(logp: Tensor, threshold: float, relative: bool) -> Tensor:
    """Which ids a min-p filter keeps.   logp: [c, V].   Returns [c, V] bool; where nothing is kept, everything is.

    relative: pi_v >= threshold * max pi; otherwise pi_v >= threshold. A rounding error of either side decides nothing:
    what is equal is kept.
    """
    bound = torch.full_like(logp[:, :1], threshold).log_()
    if relative:
        bound = bound + logp.amax(-1, keepdim=True)
    kept = logp >= bound
    return kept | ~kept.any(-1, keepdim=True)


def min_p_proxy(seen: Chunk, threshold: float, relative: bool) -> tuple[Tensor, Tensor]:
    """Is o kept (0 or 1), and KL(proxy || pi) = -log Z, the proxy being pi on what is kept, and Z its mass there."""
    kept = kept_by_min_p(seen.logp, threshold, relative)
    log_mass = seen.logp.masked_fill(~kept, float("-inf")).logsumexp(-1)
    return kept.gather(1, seen.target[:, None])[:, 0].to(seen.logp), (-log_mass).clamp(min=0)


def min_p_proxy_slope(seen: Chunk, grad: tuple[Tensor, Tensor], threshold: float, relative: bool) -> Tensor:
    """d KL(proxy || pi) / d logits = pi - proxy, the proxy being held fixed; the flag has no slope."""
    kept = kept_by_min_p(seen.logp, threshold, relative)
    masked = seen.logp.masked_fill(~kept, float("-inf"))
    proxy = masked.sub_(masked.logsumexp(-1, keepdim=True)).exp_()
    return torch.sub(seen.logp.exp(), proxy, out=proxy).mul_(grad[1][:, None])


def renormalised(seen: Chunk, top_k: int) -> tuple[Tensor, Tensor | None]:
    """pi over the likeliest ids.   top_k: 0 keeps all ids.

    Returns [c, k] probabilities, which sum to 1, and [c, k] int64 ids, or None where they are all. The sampled id is
    among them: where it is not of the likeliest, it takes the place of the last of them.
    """
    if top_k == 0 or top_k >= seen.logp.shape[1]:
        return seen.logp.exp(), None
    ids = seen.logp.topk(top_k, dim=-1).indices
    outside = ~(ids == seen.target[:, None]).any(-1)
    ids[:, -1] = torch.where(outside, seen.target, ids[:, -1])
    return seen.logp.gather(1, ids).softmax(-1), ids


def curvature(seen: Chunk, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    """z = ||h||^2, s = ||v||^2, phi = sum of pi v^2 - (sum of pi v)^2, with v = onehot(o) - pi.

    h is the hidden state that made these logits; pi as in `renormalised`.
    """
    pi, ids = renormalised(seen, top_k)
    place = seen.target[:, None] if ids is None else (ids == seen.target[:, None]).long().argmax(-1, keepdim=True)
    v = -pi
    v.scatter_add_(1, place, torch.ones_like(v[:, :1]))
    weighted = pi * v
    phi = (weighted * v).sum(-1) - weighted.sum(-1).square()
    return seen.hidden.to(pi).square().sum(-1), v.square().sum(-1), phi


SUM_OF_SQUARES = Probe(names=("sum-of-squares",), measure=sum_of_squares)


def min_p_probe(threshold: float, relative: bool) -> Probe:
    """Numbers `proxy-keeps` and `proxy-kl`; the latter has a gradient."""
    return Probe(("proxy-keeps", "proxy-kl"), min_p_proxy, min_p_proxy_slope, (threshold, relative))


def curvature_probe(top_k: int) -> Probe:
    """Numbers `hidden-norm`, `score-norm` and `score-variance`: z, s and phi of `curvature`."""
    return Probe(("hidden-norm", "score-norm", "score-variance"), curvature, settings=(top_k,))
