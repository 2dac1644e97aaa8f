"""f-DPG: any f-divergence to a target distribution, as a policy gradient (arXiv 2302.08215).

    target       p = P / Z,   P(y) = ref(y) * exp(R(y) / beta),   Z of each task
    gradient of  D_f(policy || p)  =  mean over y sampled by q of  (policy / q) * f'(t) * gradient of log policy(y)
                 t = policy(y) / p(y):   log t = lp - ref - R / beta + log Z
    L = mean over the trajectories of  -w (r - B) lp,   r = -f'(t),   w = policy / q,   r, B and w not differentiated
    Z = mean of P / q over all of a task's trajectories so far, this step's too;  B = mean of the last `window` r before
    r:  forward-kl  1/t,   reverse-kl  -log t - 1,   js  log(1 + 1/t) - log 2,   tv  -sign(log t) / 2,
        chi-squared  1/t^2 - 1,   reverse-chi-squared  2 (1 - t);   the divergences stand in parts/divergences.py

This target is the optimum of the reward with a KL penalty beta, whichever divergence leads there; reverse-kl is that
objective's policy gradient over beta, where Z only shifts the baseline. lp and ref are sums over the tokens of a
trajectory, q is `proposal`. r is that of the policy before the step's updates (released: each minibatch's). |log t| is
held at `bound` (ours): 1/t overflows early in training. A task's first trajectory, alone, has t = 1.

Formulas from the authors' code (naver/disco, 5ea6fde), read and run, of which nothing is copied; of the paper the
abstract: no divergence is best everywhere, js often better than forward-kl. The chi-squared ones are in the code alone.
Released: window 1024, a mean over prompts of means. beta .1, and the mean over trajectories, are ours. A cap on Z,
other targets and a changing proposal are not built.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from agentrl.errors import ConfigError
from agentrl.segments import count_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.divergences import Divergence, distance, pseudo_reward
from agentrl.trainers.parts.log_ratios import mean_of, trajectory_sum
from agentrl.trainers.parts.pairings import trajectory_return
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class FDPGConfig:
    divergence: Divergence = "js"
    """How the distance to the target is measured."""
    beta: float = 0.1
    """What a nat of divergence from the reference costs in the reward whose optimum is the target."""
    window: int = 1024
    """The baseline is the mean of so many pseudo-rewards; 1024 as released."""
    proposal: Literal["policy", "sampled", "reference"] = "policy"
    """What said the trajectories: the policy before this step's updates; what their log-probs are of; the reference."""
    bound: float = 20.0
    """log t is held between minus this and this; ours."""

    def __post_init__(self) -> None:
        for name in ("beta", "window", "bound"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}; it must be above 0")


def weighed_gradient(logp: Tensor, log_weight: Tensor, advantage: Tensor) -> Tensor:
    """-w A lp, log w held within 20.   logp: [K], with gradient.   log_weight, advantage: [K].   Returns [K]."""
    return -log_weight.detach().clamp(-20, 20).exp() * advantage * logp


class TargetEstimates:
    """What is known of the targets: Z of each task, and the last pseudo-rewards."""

    def __init__(self, config: FDPGConfig | None = None) -> None:
        self._config = config or FDPGConfig()
        self._z: dict[int, tuple[float, int]] = {}
        self._rewards: deque[float] = deque(maxlen=self._config.window)

    def baseline(self) -> float:
        """B; 0 before the first step."""
        return math.fsum(self._rewards) / max(len(self._rewards), 1)

    def _with(self, task: Tensor, log_share: Tensor) -> dict[int, tuple[float, int]]:
        """Log of the sum of P / q, and how many, of these tasks, with these trajectories.   task, log_share: [K]."""
        found = {}
        for number in task.unique().tolist():
            (total, count), own = self._z.get(number, (-math.inf, 0)), log_share[task == number]
            found[number] = (float(torch.cat([own, own.new_tensor([total])]).logsumexp(0)), count + len(own))
        return found

    def log_z(self, task: Tensor, log_share: Tensor) -> Tensor:
        """log Z, these trajectories counted in.   task: [K] int.   log_share: [K] log P / q.   Returns [K]."""
        known = self._with(task, log_share)
        return log_share.new_tensor([known[n][0] - math.log(known[n][1]) for n in task.tolist()])

    def update(self, view: StepView) -> None:
        """Once a step, after its last optimiser step, with the trajectories of every rank."""
        if view.returns is None or view.task is None:
            return
        of_step = measured(view, self._config, self)
        self._z |= self._with(view.task[of_step.number], of_step.log_share)
        self._rewards.extend(pseudo_reward(of_step.log_t, self._config.divergence).tolist())

    def state_dict(self) -> dict[str, Any]:
        return {"z": [[task, *known] for task, known in sorted(self._z.items())], "rewards": list(self._rewards)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._z = {int(task): (float(total), int(count)) for task, total, count in state["z"]}
        self._rewards = deque(map(float, state["rewards"]), maxlen=self._config.window)


@dataclass(frozen=True)
class OfStep:
    """The K trajectories that are in statistics and have tokens, by their keys."""

    number: Tensor
    """[K] int64 into [J]."""
    log_share: Tensor
    """[K] log P / q."""
    log_z: Tensor
    """[K] of their tasks."""
    log_t: Tensor
    """[K] log of policy / p, within the bound."""


def proposal_logp(view: StepView, config: FDPGConfig) -> Tensor:
    """[N] log-probs of what said the tokens.   Raises ConfigError where they are asked for and not there."""
    logp = {"policy": view.old, "sampled": view.sampled, "reference": view.reference}[config.proposal]
    if logp is None:
        raise ConfigError("f-dpg.proposal is sampled, but these trajectories have no log-probs; use reference")
    return logp.detach()


def measured(view: StepView, config: FDPGConfig, state: TargetEstimates) -> OfStep:
    """Where the policy before the step's updates stands against the targets."""
    assert view.old is not None and view.reference is not None and view.task is not None and view.key is not None
    filled = count_by(view.trajectory_of_token[view.trained], view.num_trajectories) > 0
    number = (view.in_statistics & filled).nonzero()[:, 0]
    number = number[view.key[number].argsort()]
    log_target = trajectory_sum(view, view.reference) + trajectory_return(view) / config.beta
    log_share = (log_target - trajectory_sum(view, proposal_logp(view, config)))[number]
    log_z = state.log_z(view.task[number], log_share)
    log_t = (trajectory_sum(view, view.old) - log_target)[number] + log_z
    return OfStep(number, log_share, log_z, log_t.clamp(-config.bound, config.bound))


def _pseudo_advantage(view: StepView, config: FDPGConfig, state: TargetEstimates) -> Tensor:
    of_step = measured(view, config, state)
    advantage = pseudo_reward(of_step.log_t, config.divergence) - state.baseline()
    return torch.zeros_like(view.score).index_copy(0, of_step.number, advantage)[view.trajectory_of_token]


def _log_weight(view: StepView, config: FDPGConfig) -> Tensor:
    assert view.current is not None
    return trajectory_sum(view, view.current.detach() - proposal_logp(view, config))


def _f_dpg(view: StepView, config: FDPGConfig, state: None) -> Term:
    assert view.current is not None and view.advantage is not None
    log_weight = _log_weight(view, config)[view.trajectory_of_token]
    return Term(weighed_gradient(view.current, log_weight, view.advantage.detach()))


def _metrics(view: StepView, config: FDPGConfig, state: TargetEstimates) -> dict[str, float]:
    of_step = measured(view, config, state)
    weight = _log_weight(view, config)[of_step.number].clamp(-20, 20).exp()
    return {
        "f_dpg/pseudo_reward": mean_of(pseudo_reward(of_step.log_t, config.divergence)),
        "f_dpg/baseline": state.baseline(),
        "f_dpg/log_z": mean_of(of_step.log_z),
        "f_dpg/divergence": mean_of(weight * distance(of_step.log_t, config.divergence)),
        "f_dpg/held_share": mean_of((of_step.log_t.abs() >= config.bound).to(view.score)),
        "f_dpg/weight_max": float(weight.max()) if len(weight) else 1.0,
    }


PSEUDO_REWARD = Part(
    name="pseudo-reward",
    kind="advantage",
    bind=_pseudo_advantage,
    config=FDPGConfig,
    section="f-dpg",
    state=TargetEstimates,
    needs=("old", "reference"),
    metrics=_metrics,
)
"""f-DPG's: minus the derivative of a divergence from the target distribution, over its running mean."""
WEIGHED_GRADIENT = Part(
    name="f-dpg",
    kind="surrogate",
    bind=_f_dpg,
    config=FDPGConfig,
    needs=("old", "reference", "advantage"),
    couples="group",
)
"""f-DPG's: policy gradient of whole trajectories, weighed by policy over proposal."""
F_DPG = Algorithm(
    name="f-dpg",
    citation=(
        "D. Go, T. Korbak, G. Kruszewski, J. Rozen, N. Ryu, M. Dymetman: Aligning language models with preferences "
        "through f-divergence minimization. ICML 2023. arXiv 2302.08215."
    ),
    advantage=PSEUDO_REWARD,
    surrogate=WEIGHED_GRADIENT,
    aggregate="token-sum",
    learns_from="both",
    settings={"token-sum": {"mean_over": "trajectory"}},
)
