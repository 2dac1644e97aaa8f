"""CAPO: curvature-aware policy optimisation, which drops the tokens whose own step would go too far (arXiv 2510.00819).

With only the head W as the parameter, g the gradient of the token's own objective, D the step that the optimiser would
make of it, v = onehot(o) - pi, h the hidden state that made the logits, F the Fisher matrix diag(pi) - pi pi':

    g   = A v h'             D = g (SGD), or Adam's direction from the moments so far and this g
    m_H = lr <g, D> + lr^2 / 2 * A [ (v'u)^2 - u'Fu ]     u = D h: how far the objective would change
    m_F = lr^2 / 2 * (v'u)^2                              how far the policy would change
    kept: -tau_objective < m_H < tau_objective  (sides both; with above: 0 <= m_H)  and  m_F < tau_policy

    SGD in closed form, z = ||h||^2, s = ||v||^2, phi = sum pi v^2 - (sum pi v)^2:
    m_H = lr A^2 s z + lr^2 / 2 * A^3 z^2 (s^2 - phi)     m_F = lr^2 / 2 * A^2 z^2 s^2

The loss is GRPO's over the kept tokens: a dropped one leaves numerator and denominator. A trajectory that loses all its
tokens is in no count (released: it stays in the mean over sequences, with 0).
The released code (luckeciano/stable-pg-llm, commit 933fe01) was read and its functions were run; of the paper only
summaries. Its trainer pairs logits with the hidden state of the next position; here they are those of one position.
Its Adam counter moves at every micro-batch; here once a step, with the tokens of all ranks. Its learning rate is the
scheduled one, as here, so the box widens as it falls. The test is made once a rollout, of the policy that sampled it.
Adam needs the rows themselves: `top_k` ids a token, two tables as large as the head, and a forward pass more. A row
that no kept token touched keeps its moments (ours). A sampled id outside the top k is taken beside them (ours; `join`).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.models.head import Chunk, Probe
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.probes import curvature_probe, likeliest
from agentrl.trainers.parts.row_moments import RowMoments
from agentrl.trainers.step_view import StepView

BLOCK = 2**24
"""Elements of [tokens, k, width] that Adam's rows are made of at a time."""


@dataclass(frozen=True, kw_only=True)
class CAPOConfig:
    tau_objective: float = 0.01
    """Bound of m_H; 0 switches that test off. 0.01 for CAPO, 5e-4 for Dr.CAPO, 0.1 for ReinCAPO, as released."""
    tau_policy: float = 1e-4
    """Bound of m_F; 0 switches that test off. 1e-4 for CAPO, 1e-3 for Dr.CAPO, 1e-5 for ReinCAPO, as released."""
    sides: Literal["both", "above"] = "both"
    """both: m_H is bounded from both sides. above: it must not be negative either."""
    optimiser: Literal["sgd", "adam"] = "sgd"
    """Whose step is foreseen. adam is the recipes', costs a forward pass and two tables, and needs top_k."""
    top_k: int = 0
    """pi over this many of the likeliest ids; 0: over all of them, which is what is sampled from."""
    join: bool = True
    """The sampled id is taken beside the likeliest; false, as released: where it is not among them, v is -pi."""
    beta1: float = 0.9
    """Adam's, of the first moment."""
    beta2: float = 0.999
    """Adam's, of the second moment."""
    epsilon: float = 1e-8
    """Adam's, in the denominator."""

    def __post_init__(self) -> None:
        require(self.top_k >= 0, f"top_k is {self.top_k}; it must not be negative")
        require(self.optimiser == "sgd" or self.top_k > 0, "optimiser adam needs top_k above 0: a row an id and token")


def sgd_curvature(advantage: Tensor, z: Tensor, s: Tensor, phi: Tensor, lr: float) -> tuple[Tensor, Tensor]:
    """m_H and m_F of plain gradient steps.

    advantage, z, s, phi: [N] float.   lr: learning rate.   Returns ([N], [N]).
    """
    step = lr * advantage * z
    m_h = step * advantage * s + 0.5 * step.square() * advantage * (s.square() - phi)
    return m_h, 0.5 * (step * s).square()


def in_the_box(m_h: Tensor, m_f: Tensor, config: CAPOConfig) -> Tensor:
    """Which tokens are kept.   m_h, m_f: [N].   Returns [N] bool."""
    kept = torch.ones_like(m_h, dtype=torch.bool)
    if config.tau_objective:
        low = m_h >= 0.0 if config.sides == "above" else -config.tau_objective < m_h
        kept = kept & low & (m_h < config.tau_objective)
    return kept & (m_f < config.tau_policy) if config.tau_policy else kept


class Foresight(RowMoments):
    """CAPO's state: the moments of Adam's step, and this step's learning rate."""

    def __init__(self, config: CAPOConfig) -> None:
        super().__init__(config.beta1, config.beta2, config.epsilon)
        self.config, self.lr = config, 0.0

    def observe(self, view: StepView) -> None:
        """Before the first update of a step."""
        self.lr = view.learning_rate
        self.begin()

    def update(self, view: StepView) -> None:
        self.learn()


def adam_curvature(seen: Chunk, state: Foresight) -> tuple[Tensor, Tensor]:
    """m_H and m_F of Adam's steps; the rows of the kept tokens are added up in the state."""
    ids, pi, v = likeliest(seen, state.config.top_k, state.config.join)
    hidden, advantage = seen.hidden.to(pi), seen.given["advantage"].to(pi)
    found = []
    for rows in torch.arange(len(pi), device=pi.device).split(max(1, BLOCK // (pi.shape[1] * hidden.shape[1]))):
        a, h, own, p = advantage[rows], hidden[rows], v[rows], pi[rows]
        g = (a[:, None] * own)[..., None] * h[:, None, :]
        d = state.direction(g, ids[rows])
        u = torch.einsum("nkd,nd->nk", d, h)
        along, spread = (own * u).sum(-1).square(), p * u
        bend = a * (along - ((spread * u).sum(-1) - spread.sum(-1).square()))
        m_h = state.lr * (g * d).sum((1, 2)) + 0.5 * state.lr**2 * bend
        m_f = 0.5 * state.lr**2 * along
        kept = in_the_box(m_h, m_f, state.config)
        state.add(g[kept], ids[rows][kept])
        found.append((m_h, m_f))
    m_h, m_f = (torch.cat(column) for column in zip(*found, strict=True))
    return m_h, m_f


def _probes(config: CAPOConfig, state: Foresight) -> tuple[Probe, ...]:
    if config.optimiser == "sgd":
        return (curvature_probe(config.top_k, config.join),)
    names = ("capo-objective", "capo-policy")
    return (Probe(names, adam_curvature, settings=(state,), reads=("advantage",), tables=state.sums),)


def _curvature(view: StepView, config: CAPOConfig) -> tuple[Tensor, Tensor]:
    assert view.advantage is not None
    read = view.sampled_probes
    if config.optimiser == "adam":
        return read["capo-objective"], read["capo-policy"]
    z, s, phi = (read[name] for name in ("hidden-norm", "score-norm", "score-variance"))
    return sgd_curvature(view.advantage, z, s, phi, view.learning_rate)


def _select(view: StepView, config: CAPOConfig, state: Foresight) -> Tensor:
    return in_the_box(*_curvature(view, config), config)


def _metrics(view: StepView, config: CAPOConfig, state: Foresight) -> dict[str, float]:
    """Over all tokens of the batch, dropped or not."""
    m_h, m_f = _curvature(view, config)
    dropped, num = ~in_the_box(m_h, m_f, config), max(view.num_tokens, 1)
    last = min(int(0.99 * num), num - 1)
    return {
        "capo/dropped_share": float(dropped.sum()) / num,
        "capo/objective_p99": float(m_h.sort().values[last]) if len(m_h) else 0.0,
        "capo/policy_p99": float(m_f.sort().values[last]) if len(m_f) else 0.0,
        "capo/negative_share": float((m_h < 0).sum()) / num,
    }


CAPO_MASK = Part(
    name="capo-mask",
    kind="selection",
    bind=_select,
    config=CAPOConfig,
    section="capo",
    state=Foresight,
    needs=("advantage",),
    sampled_probes=_probes,
    metrics=_metrics,
)
"""CAPO's: drops the tokens whose own step would change objective or policy by more than a bound."""
CAPO = Algorithm(
    name="capo",
    citation=(
        "L. C. Melo, A. Abate, Y. Gal: Stabilizing policy gradients for sample-efficient reinforcement learning in LLM "
        "reasoning. arXiv 2510.00819."
    ),
    returns="outcome",
    advantage="group-norm",
    selections=(CAPO_MASK,),
    surrogate="ppo-clip",
    aggregate="trajectory-mean",
    settings={"ppo-clip": {"dual_clip": 0.0}, "group-norm": {"epsilon": 1e-4}},
)
