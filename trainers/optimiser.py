"""AdamW, or Muon for the hidden matrices with AdamW for the rest; schedules; float32 masters of bfloat16 weights."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from agentrl.config import TrainerConfig


def learning_rate(step: int, config: TrainerConfig) -> float:
    """Share of the peak learning rate at a step, 0-based: warm-up, then the schedule down to `final_lr` of the peak."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    if config.schedule == "linear":
        return 1 - (1 - config.final_lr) * done
    if config.schedule == "cosine":
        return config.final_lr + (1 - config.final_lr) * (1 + math.cos(math.pi * done)) / 2
    if config.schedule == "constant-linear":
        return 1.0 if done < 0.5 else 1 - (1 - config.final_lr) * (2 * done - 1)
    return 1.0


def _is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    return parameter.ndim == 2 and not any(word in name for word in ("embed", "lm_head", "visual", "vision"))


def _into(master: Tensor) -> Callable[[Tensor], None]:
    """Moves a parameter's fresh gradient into its float32 master."""

    def move(parameter: Tensor) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad.float()
        master.grad = gradient if master.grad is None else master.grad.add_(gradient)
        parameter.grad = None

    return move


class Optimiser:
    """Changes the trainable parameters of a module; its whole state is tensors and step numbers, saved as safetensors.

    Parameters below float32 get a float32 master copy, which is what is stepped: a bfloat16 weight would swallow the
    small steps of reinforcement learning. Their gradients are added up in the master too, micro-batch by micro-batch.
    """

    def __init__(self, module: torch.nn.Module, config: TrainerConfig) -> None:
        self._config = config
        self._parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._masters = {
            name: p.detach().float().clone().requires_grad_()
            for name, p in self._parameters.items()
            if p.dtype in (torch.bfloat16, torch.float16)
        }
        for name, master in self._masters.items():
            self._parameters[name].register_post_accumulate_grad_hook(_into(master))
        self._stepped = stepped = {name: self._masters.get(name, p) for name, p in self._parameters.items()}
        muon = [n for n, p in stepped.items() if config.optimiser == "muon" and _is_hidden_matrix(n, p)]
        rest = [n for n in stepped if n not in set(muon)]
        self._parts: list[tuple[str, list[str], Any, float]] = []
        if rest:
            adam = torch.optim.AdamW(
                [stepped[n] for n in rest],
                lr=config.lr,
                betas=(config.betas[0], config.betas[1]),
                weight_decay=config.weight_decay,
            )
            self._parts.append(("adamw", rest, adam, config.lr))
        if muon:
            hidden = torch.optim.Muon(
                [stepped[n] for n in muon], lr=config.muon_lr, weight_decay=config.weight_decay, momentum=0.95
            )
            self._parts.append(("muon", muon, hidden, config.muon_lr))

    def zero_grad(self) -> None:
        for parameter in (*self._parameters.values(), *self._masters.values()):
            parameter.grad = None

    def gradients(self) -> Iterable[Tensor]:
        """Gradients of the trainable parameters, in a fixed order; a parameter without one gets zeros."""
        for parameter in self._stepped.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            yield parameter.grad

    def step(self, share: float) -> float:
        """One step at a share of the peak learning rate.   Returns the norm of the gradient before it was scaled down.

        A gradient that is not finite changes nothing; its norm is returned as it is.
        """
        norm = float(torch.linalg.vector_norm(torch.stack([g.float().norm() for g in self.gradients()])))
        if not math.isfinite(norm):
            return norm
        limit = self._config.max_grad_norm
        scale = limit / (norm + 1e-6) if limit and norm > limit else 1.0
        if scale != 1:
            for gradient in self.gradients():
                gradient.mul_(scale)
        for _, _, optimiser, peak in self._parts:
            for group in optimiser.param_groups:
                group["lr"] = peak * share
            optimiser.step()
        with torch.no_grad():
            for name, master in self._masters.items():
                self._parameters[name].copy_(master)
        return norm

    def state_tensors(self) -> dict[str, Tensor]:
        """Everything that is needed to go on, as named tensors."""
        state: dict[str, Tensor] = {f"master/{n}": m.detach() for n, m in self._masters.items()}
        for kind, names, optimiser, _ in self._parts:
            for name, parameter in zip(names, optimiser.param_groups[0]["params"], strict=True):
                for key, value in optimiser.state[parameter].items():
                    state[f"{kind}/{key}/{name}"] = value if isinstance(value, Tensor) else torch.tensor(value)
        return state

    def load_state_tensors(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_tensors` gave; raises KeyError where a name is unknown."""
        with torch.no_grad():
            for name, master in self._masters.items():
                master.copy_(state[f"master/{name}"])
        for kind, names, optimiser, _ in self._parts:
            for name, parameter in zip(names, optimiser.param_groups[0]["params"], strict=True):
                found = {k.split("/")[1]: v for k, v in state.items() if k.startswith(kind) and k.endswith(f"/{name}")}
                for key, value in found.items():
                    on_host = key == "step"
                    optimiser.state[parameter][key] = value.clone() if on_host else value.to(parameter.device).clone()
