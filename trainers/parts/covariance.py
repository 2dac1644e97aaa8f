"""What drives the entropy: how a token's advantage and log-probability go together over the batch.

    cov_n = (A_n - mean of A) * (log p(n) - mean of log p),  means over the tokens that carry loss

Their mean is the covariance, and for a policy gradient the entropy falls as it is positive ("The entropy mechanism of
reinforcement learning for reasoning language models", arXiv 2505.22617). The released code takes the means over a
micro-batch; here they are over the whole batch of an update (R7).
"""

import torch
from torch import Tensor

from agentrl.trainers.step_view import StepView


def token_covariance(logp: Tensor, advantage: Tensor, counted: Tensor) -> Tensor:
    """cov_n, without a gradient.   logp, advantage: [N].   counted: [N] bool.   Returns [N]; 0 where not counted."""
    product = _centred(logp.detach(), counted) * _centred(advantage.detach(), counted)
    return product.masked_fill(~counted, 0.0)


def _centred(value: Tensor, counted: Tensor) -> Tensor:
    """Less the mean of what is counted; exactly 0 where that is all equal."""
    own = value[counted]
    if len(own) == 0 or bool((own == own[0]).all()):
        return torch.zeros_like(value)
    return value - own.mean()


def covariance_metrics(view: StepView, covariance: Tensor, selected: Tensor) -> dict[str, float]:
    """Of the tokens that carry loss, and of the selected ones.   covariance: [N].   selected: [N] bool."""
    assert view.current is not None and view.advantage is not None
    own = covariance[view.trained]
    num, num_selected = max(len(own), 1), max(int(selected.sum()), 1)
    ordered = own.sort().values if len(own) else own.new_zeros(1)
    return {
        "covariance/mean": float(own.sum()) / num,
        "covariance/p99": float(ordered[int(0.99 * (len(ordered) - 1))]),
        "covariance/max": float(ordered[-1]),
        "covariance/selected_share": float(selected.sum()) / num,
        "covariance/selected_logprob": float(view.current.detach()[selected].sum()) / num_selected,
        "covariance/selected_advantage": float(view.advantage[selected].sum()) / num_selected,
    }
