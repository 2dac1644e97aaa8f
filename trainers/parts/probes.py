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
    """d KL(proxy || pi) / d logits = pi - proxy, the proxy being held fixed; the flag has no slope.

    grad: [c] of the flag and [c] of the divergence.   Returns [c, V].
    """
    kept = kept_by_min_p(seen.logp, threshold, relative)
    masked = seen.logp.masked_fill(~kept, float("-inf"))
    proxy = masked.sub_(masked.logsumexp(-1, keepdim=True)).exp_()
    return torch.sub(seen.logp.exp(), proxy, out=proxy).mul_(grad[1][:, None])


def likeliest(seen: Chunk, top_k: int, join: bool) -> tuple[Tensor, Tensor, Tensor]:
    """pi over the likeliest ids, made to add up to 1, and v = onehot(o) - pi on them.   top_k: 0 takes all ids.

    join: the sampled id is taken beside them where it is not among them; without that, its onehot is all zero there.
    Returns [c, k] int64 ids, -1 where there is none, and [c, k] pi and [c, k] v, 0 there.
    """
    if top_k == 0 or top_k >= seen.logp.shape[1]:
        ids = torch.arange(seen.logp.shape[1], device=seen.logp.device).expand(seen.logp.shape)
        pi = seen.logp.exp()
    else:
        ids = seen.logp.topk(top_k, dim=-1).indices
        if join:
            inside = (ids == seen.target[:, None]).any(-1)
            ids = torch.cat([ids, seen.target.masked_fill(inside, -1)[:, None]], 1)
        own = seen.logp.gather(1, ids.clamp(min=0)).masked_fill(ids < 0, float("-inf"))
        pi = own.softmax(-1)
    return ids, pi, (ids == seen.target[:, None]).to(pi) - pi


def curvature(seen: Chunk, top_k: int, join: bool) -> tuple[Tensor, Tensor, Tensor]:
    """z = ||h||^2, s = ||v||^2, phi = sum of pi v^2 - (sum of pi v)^2, with pi and v as in `likeliest`.

    h is the hidden state that made these logits.
    """
    _, pi, v = likeliest(seen, top_k, join)
    weighted = pi.mul_(v)
    phi = (weighted * v).sum(-1) - weighted.sum(-1).square()
    return seen.hidden.to(v).square().sum(-1), v.square().sum(-1), phi


SUM_OF_SQUARES = Probe(names=("sum-of-squares",), measure=sum_of_squares)


def min_p_probe(threshold: float, relative: bool) -> Probe:
    """Numbers `proxy-keeps` and `proxy-kl`; the latter has a gradient."""
    return Probe(("proxy-keeps", "proxy-kl"), min_p_proxy, min_p_proxy_slope, (threshold, relative))


def curvature_probe(top_k: int, join: bool = True) -> Probe:
    """Numbers `hidden-norm`, `score-norm` and `score-variance`: z, s and phi of `curvature`."""
    return Probe(("hidden-norm", "score-norm", "score-variance"), curvature, settings=(top_k, join))
