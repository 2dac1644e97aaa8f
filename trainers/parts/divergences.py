"""f-divergences of a policy from a target distribution p, as functions of log t, t = policy / p of a sample.

    D_f(policy || p) = mean over p of f(t) = mean over the policy of f(t) / t;   gradient: mean of f'(t) d log policy

    forward-kl  KL(p || policy)                      reverse-kl  KL(policy || p)
    js  KL(policy || m) + KL(p || m)                 m = (policy + p) / 2;  without a factor 1/2
    tv  1/2 sum |policy - p|
    chi-squared  sum (p - policy)^2 / policy         reverse-chi-squared  sum (policy - p)^2 / p

Formulas from the code of f-DPG's authors (naver/disco, 5ea6fde), of which nothing is copied.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

Divergence = Literal["forward-kl", "reverse-kl", "js", "tv", "chi-squared", "reverse-chi-squared"]


def pseudo_reward(log_t: Tensor, divergence: Divergence) -> Tensor:
    """r = -f'(t).   log_t: [K], inf where the target is 0.   Returns [K]."""
    if divergence == "forward-kl":
        return (-log_t).exp()
    if divergence == "reverse-kl":
        return -log_t - 1
    if divergence == "js":
        return softplus(-log_t) - math.log(2)
    if divergence == "tv":
        return -log_t.sign() / 2
    return (-2 * log_t).exp() - 1 if divergence == "chi-squared" else 2 * (1 - log_t.exp())


def distance(log_t: Tensor, divergence: Divergence) -> Tensor:
    """f(t) / t, whose mean under the policy is D_f.   log_t: [K], inf where the target is 0.   Returns [K]."""
    u = (-log_t).exp()
    if divergence == "forward-kl":
        return torch.xlogy(u, u)
    if divergence == "reverse-kl":
        return log_t
    if divergence == "js":
        return torch.log(2 / (1 + u)) + torch.xlogy(u, 2 * u / (1 + u))
    if divergence == "tv":
        return (1 - u).abs() / 2
    return (u - 1).square() if divergence == "chi-squared" else log_t.exp() - 2 + u
