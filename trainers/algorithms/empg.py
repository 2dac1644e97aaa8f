"""EMPG: entropy-modulated policy gradients for agents of many turns (arXiv 2509.09265).

    H_u  = mean entropy of the tokens of turn u, when it was sampled
    Hn_u = (H_u - min H) / (max H - min H + 1e-8)
    g_u  = exp(-k * Hn_u) / (mean over the turns of exp(-k * Hn) + 1e-8)
    f_u  = exp(-k_f * Hn of the next turn of the trajectory);  nothing after the last one
    A'_u = A * g_u + zeta * f_u
    A_u  = A'_u - mean over the turns of A'

Sure turns (low H) get a larger advantage, unsure ones a smaller; f pays for moving to where the next turn is sure.
Minimum, maximum and means count each turn once, over the batch's turns that have tokens and are in group statistics.
A group without signal still gets zeta * f: drop it with `parts: {gates: [signal]}` where that is not wanted.

The authors released no code and their text was not at hand: the formulas follow two sources of others, ARLArena's
paper and its code after the listing in EMPG's appendix, which was read; the two 1e-8 are that code's. zeta = 0.1 is the
listing's, 0.05 ARLArena's for ALFWorld and WebShop. The successor is the next acting turn by its place (that code asks
how many steps were taken); one without tokens brings no bonus. A summarise turn is scaled and centred, no f (ours).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.segments import count_by, mean_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.credit import LAST, chain_of_turns
from agentrl.trainers.step_view import StepView


@dataclass(frozen=True, kw_only=True)
class EMPGConfig:
    k: float = 1.0
    """How strongly a turn's entropy scales its advantage; 0 scales by 1."""
    k_f: float = 1.0
    """How strongly the next turn's entropy lowers the bonus; 0 pays the same for each."""
    zeta: float = 0.1
    """Weight of the bonus; 0 leaves scaling and centring. 0.1 as in the listing, 0.05 in ARLArena's runs."""
    epsilon: float = 1e-8
    """Added to the range of the entropies and to the mean in the scale's denominator; 1e-8 as in ARLArena's code."""

    def __post_init__(self) -> None:
        for name in ("k", "k_f", "zeta", "epsilon"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")


@dataclass(frozen=True)
class Modulation:
    """What entropies do to advantages; each [U], and 0 for a turn that is not counted."""

    normalised: Tensor
    """Hn."""
    scale: Tensor
    """g."""
    bonus: Tensor
    """f, of the next turn."""


def modulation(turn_entropy: Tensor, counted: Tensor, following: Tensor, config: EMPGConfig) -> Modulation:
    """Hn, g and f of every turn.

    turn_entropy: [U] nats.   counted: [U] bool.   following: [U] int, the next acting turn; LAST: none.
    """
    nothing = torch.zeros_like(turn_entropy)
    if not bool(counted.any()):
        return Modulation(nothing, nothing, nothing)
    low, high = turn_entropy[counted].min(), turn_entropy[counted].max()
    normalised = torch.where(counted, (turn_entropy - low) / (high - low + config.epsilon), nothing)
    damped = (-config.k * normalised).exp()
    scale = torch.where(counted, damped / (damped[counted].mean() + config.epsilon), nothing)
    has_next = counted & (following != LAST) & counted[following]
    bonus = torch.where(has_next, (-config.k_f * normalised[following]).exp(), nothing)
    return Modulation(normalised, scale, bonus)


def centred(advantage: Tensor, turn_of_token: Tensor, counted: Tensor) -> Tensor:
    """A - mean over the counted turns of A, each turn once.

    advantage: [N].   turn_of_token: [N] int.   counted: [U] bool, turns with tokens.   Returns [N]; 0 elsewhere.
    """
    of_turn = mean_by(advantage, turn_of_token, len(counted))[counted]
    mean = of_turn.sum() / max(len(of_turn), 1)
    return torch.where(counted[turn_of_token], advantage - mean, torch.zeros_like(advantage))


def _modulation(view: StepView, config: EMPGConfig) -> tuple[Modulation, Tensor]:
    assert view.sampled_entropy is not None
    filled = count_by(view.turn_of_token, view.num_turns) > 0
    counted = filled & view.in_statistics[view.trajectory_of_turn]
    following = chain_of_turns(view.trajectory_of_turn, view.order_of_turn, view.acts)
    entropy = mean_by(view.sampled_entropy, view.turn_of_token, view.num_turns)
    return modulation(entropy, counted, following, config), counted


def _empg(view: StepView, config: EMPGConfig, state: None) -> Tensor:
    assert view.advantage is not None
    result, counted = _modulation(view, config)
    modulated = view.advantage * result.scale[view.turn_of_token] + config.zeta * result.bonus[view.turn_of_token]
    return centred(modulated, view.turn_of_token, counted)


def _metrics(view: StepView, config: EMPGConfig, state: None) -> dict[str, float]:
    """Over the turns at hand; `view` may be a minibatch, whose range of entropies is then smaller."""
    result, counted = _modulation(view, config)
    if not bool(counted.any()):
        return {}
    return {
        "empg/scale_min": float(result.scale[counted].min()),
        "empg/scale_max": float(result.scale[counted].max()),
        "empg/bonus_mean": float(result.bonus[counted].mean()),
        "empg/normalised_entropy": float(result.normalised[counted].mean()),
    }


EMPG_MODULATION = Part(
    name="empg",
    kind="modifier",
    bind=_empg,
    config=EMPGConfig,
    needs=("sampled_entropy",),
    metrics=_metrics,
)
"""EMPG's: advantages scaled by how sure each turn was, a bonus for sure successors, centred over the turns."""
EMPG = Algorithm(
    name="empg",
    citation="J. Wang et al.: Harnessing uncertainty: entropy-modulated policy gradients for long-horizon LLM agents. "
    "arXiv 2509.09265.",
    returns="outcome",
    advantage="group-norm",
    modifiers=(EMPG_MODULATION,),
    surrogate="ppo-clip",
    regularisers=("kl",),
    aggregate="token-mean",
    settings={"ppo-clip": {"dual_clip": 0.0}, "kl": {"coef": 0.0}},
)
