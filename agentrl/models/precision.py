"""Double precision that is double throughout: transformers' norms compute in float32, whatever the weights are."""

import types
from typing import Any

import torch
from torch import Tensor


def _rms_norm(self: Any, hidden_states: Tensor) -> Tensor:
    variance = hidden_states.square().mean(-1, keepdim=True)
    return self.weight * (hidden_states * torch.rsqrt(variance + self.variance_epsilon))


def keep_double(module: torch.nn.Module) -> torch.nn.Module:
    """Let the root-mean-square norms of a float64 model compute in float64; other models are left as they are.

    Without it, cuts and layouts of a batch differ by float32's rounding (1e-7), however small their float64 error is.
    A norm of another form (a weight that is added to 1, say) is left alone: it would no longer be what it was.
    """
    for norm in module.modules():
        weight = getattr(norm, "weight", None)
        if not (type(norm).__name__.endswith("RMSNorm") and hasattr(norm, "variance_epsilon")):
            continue
        if not isinstance(weight, Tensor) or weight.dtype != torch.float64:
            continue
        probe = torch.linspace(-2, 3, weight.numel(), dtype=torch.float64, device=weight.device)[None]
        with torch.no_grad():
            same = torch.allclose(norm(probe).double(), _rms_norm(norm, probe), rtol=1e-5, atol=1e-6)
        if same:
            norm.forward = types.MethodType(_rms_norm, norm)
    return module
