"""A value head: how much is still to come at a place of a sequence, read from a model's hidden states."""

import copy

import torch
from torch import Tensor, nn

from agentrl.models.forward import causal_model


class ValueModel(nn.Module):
    """A backbone and a linear head over its last hidden states. The head begins at 0, and so do all values."""

    def __init__(self, backbone: nn.Module, *, shared: bool = False) -> None:
        """backbone: a causal language model.   shared: it is the policy's, and stays so; else it becomes the critic's.

        A backbone of one's own whose vocabulary head is not its embedding leaves that head frozen: nothing reads it.
        """
        super().__init__()
        weight = causal_model(backbone).get_output_embeddings().weight
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        self.head = nn.Linear(weight.shape[1], 1, dtype=dtype, device=weight.device)
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.zero_()
        if shared:
            object.__setattr__(self, "backbone", backbone)  # not a part of this module: its weights are the policy's
        else:
            self.backbone = backbone
            if weight is not causal_model(backbone).get_input_embeddings().weight:
                weight.requires_grad_(False)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: [K, d], last hidden states at the places that are read.   Returns [K] float32 or float64."""
        values: Tensor = self.head(hidden.to(self.head.weight.dtype))[:, 0]
        return values


def copied(module: nn.Module) -> nn.Module:
    """The same model with weights of its own, trained where the other's are."""
    own = copy.deepcopy(module)
    for parameter in own.parameters():
        parameter.grad = None
    return own
