"""GTPO: group-relative trajectory-based policy optimisation (arXiv 2508.03772).

    J        = mean over groups, and their completions i, of  delta_i (A_i - gamma <H>_i) * mean over i of r_n lambda_n
    A_i      = R_i - mean of R over the group
    <H>_i    = mean entropy of completion i's tokens when they were sampled, without a gradient
    delta_i  = 1 where <H>_i <= threshold, else 0; all 1 where the policy began with a mean entropy above it
    lambda_n = of a conflict token: 2 where A_i > 0, 0 where A_i < 0; 1 elsewhere

A conflict token stands at the same place in a completion with a positive and in one with a negative advantage: within
the run of such tokens from the first one on, or, counted from the back, up to the last. There what is good and what is
bad agree, and the bad must not pull down what the good needs. Completions with A = 0 define no conflicts and keep
lambda = 1; they still get -gamma <H>, also in groups without signal. A filtered completion counts in 1/G, with loss 0.

From the authors' README and code (winstonsmith1897/GTPO, 5d33811), both read. There r is 1 (one update a rollout); a
token of both runs weighs 4 (`overlap: multiply`; the paper's 2 is `once`); the filter is always on, at 0.7 instead of
ln 2; and each loss is divided by a wrong count of conflicts, which is not here. Groups weigh the same (ours). An
agent's completion is all its replies (`unit: trajectory`), or a turn, compared with those at its position.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from agentrl.segments import count_by, mean_by, min_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.advantages import return_of_trajectory
from agentrl.trainers.parts.places import place_in_trajectory, place_within
from agentrl.trainers.step_view import StepView


@dataclass(frozen=True, kw_only=True)
class GTPOConfig:
    gamma: float = 0.1
    """How much of its mean entropy a completion's advantage loses; 0.1 as released."""
    threshold: float = math.log(2)
    """Mean entropy in nats above which a completion is left out; ln 2 in the paper, 0.7 in the code."""
    filter: Literal["by-initial-entropy", "always", "never"] = "by-initial-entropy"
    """by-initial-entropy: only where the run began with a mean entropy not above the threshold (paper)."""
    overlap: Literal["once", "multiply"] = "once"
    """What a token in both runs of a positive completion weighs: 2 (paper), or 4 (code)."""
    unit: Literal["trajectory", "turn"] = "trajectory"
    """What is a completion: all replies of an episode, or one reply, compared with those at its position."""

    def __post_init__(self) -> None:
        require(self.gamma >= 0, f"gamma is {self.gamma}; it must not be negative")
        require(self.threshold >= 0, f"threshold is {self.threshold}; it must not be negative")


def conflict_run(target: Tensor, place: Tensor, completion: Tensor, cell_of_completion: Tensor, sign: Tensor) -> Tensor:
    """Tokens from place 0 of their completion on, as long as each is held by a positive and a negative completion.

    target, place, completion: [N] int; place counted from the front, or from the back.   cell_of_completion, sign: [C]
    int, what it is compared within, and -1, 0 or 1.   Returns [N] bool; False in completions of sign 0.
    """
    if not len(target):
        return torch.zeros_like(target, dtype=torch.bool)
    spot = torch.stack([cell_of_completion[completion], place, target], 1)
    _, held_at = torch.unique(spot, dim=0, return_inverse=True)
    size, of_token = int(held_at.max()) + 1, sign[completion]
    positive, negative = (count_by(held_at[of_token == s], size) > 0 for s in (1, -1))
    held = (positive & negative)[held_at]
    ends = min_by(place[~held].double(), completion[~held], len(sign))
    return (place < ends[completion]) & (of_token != 0)


def conflict_weight(forward: Tensor, backward: Tensor, sign: Tensor, multiply: bool) -> Tensor:
    """lambda.   forward, backward: [N] bool.   sign: [N] int, of each token's completion.   Returns [N] float64."""
    times = forward.double() + backward.double() if multiply else (forward | backward).double()
    return torch.where(times == 0, 1.0, torch.where(sign > 0, 2.0**times, 0.0))


def damped(advantage: Tensor, entropy: Tensor, gamma: float, threshold: float) -> Tensor:
    """delta_i * (A_i - gamma * <H>_i).   advantage, entropy: [C].   threshold: inf keeps all.   Returns [C]."""
    return torch.where(entropy <= threshold, advantage - gamma * entropy, torch.zeros_like(advantage))


class InitialEntropy:
    """Mean entropy of the policy's tokens in the first step of the run: GTPO's only state."""

    def __init__(self, config: GTPOConfig | None = None) -> None:
        self.mean: float | None = None
        self.shown: dict[str, float] = {}

    def observe(self, view: StepView) -> None:
        """Before the first update, with the whole batch."""
        if self.mean is None and view.sampled_entropy is not None and view.num_tokens:
            self.mean = float(view.sampled_entropy.mean())

    def update(self, view: StepView) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mean = state["mean"]


def threshold_of(config: GTPOConfig, initial: float | None) -> float:
    """The threshold, or inf where nothing is to be filtered.   initial: mean entropy at the start; None: not known."""
    open_from_the_start = config.filter == "by-initial-entropy" and initial is not None and initial > config.threshold
    return math.inf if config.filter == "never" or open_from_the_start else config.threshold


def completions(view: StepView, unit: str) -> tuple[Tensor, Tensor, Tensor, int]:
    """[N] completion, [N] place from the front, [C] what each is compared within, C."""
    if unit == "trajectory":
        return view.trajectory_of_token, place_in_trajectory(view), view.group_of_trajectory, view.num_trajectories
    longest = int(view.turn_position.max()) + 1 if view.num_turns else 1
    cell = (view.group_of_turn * longest + view.turn_position) * 2 + view.acts.long()
    return (
        view.turn_of_token,
        place_within(view.turn_of_token, view.turn_of_token, view.num_turns),
        cell,
        view.num_turns,
    )


def runs(view: StepView, sign: Tensor, unit: str) -> tuple[Tensor, Tensor]:
    """The runs of conflict tokens from the front and from the back.   sign: [C] int.   Returns [N] bool, twice."""
    assert view.target is not None
    completion, front, cell, num = completions(view, unit)
    back = count_by(completion, num)[completion] - 1 - front
    return (
        conflict_run(view.target, front, completion, cell, sign),
        conflict_run(view.target, back, completion, cell, sign),
    )


def _gtpo(view: StepView, config: GTPOConfig, state: InitialEntropy) -> Tensor:
    assert view.advantage is not None and view.sampled_entropy is not None
    completion, _, _, num = completions(view, config.unit)
    counted = view.in_statistics[view.trajectory_of_token]
    of_completion = return_of_trajectory(view.advantage, completion, num)
    sign = of_completion.sign().long() * (count_by(completion[counted], num) > 0)
    forward, backward = runs(view, sign, config.unit)
    weight = conflict_weight(forward, backward, sign[completion], config.overlap == "multiply")
    entropy = mean_by(view.sampled_entropy, completion, num)
    threshold = threshold_of(config, state.mean)
    filled = count_by(completion, num) > 0
    state.shown = {
        "gtpo/conflict_share": float((forward | backward).sum()) / max(view.num_tokens, 1),
        "gtpo/kept_share": float((entropy[filled] <= threshold).sum()) / max(int(filled.sum()), 1),
    }
    modified = damped(of_completion, entropy, config.gamma, threshold)[completion] * weight.to(entropy)
    return torch.where(counted, modified, torch.zeros_like(modified))


def _metrics(view: StepView, config: GTPOConfig, state: InitialEntropy) -> dict[str, float]:
    """Of the whole batch, as the modifier met it."""
    return dict(state.shown)


CONFLICT_TOKENS = Part(
    name="conflict-tokens",
    kind="modifier",
    bind=_gtpo,
    config=GTPOConfig,
    section="gtpo",
    state=InitialEntropy,
    needs=("sampled_entropy",),
    metrics=_metrics,
    aligned=True,
)
"""GTPO's: what good and bad replies have in common is never pulled down; undecided replies lose advantage."""
GTPO = Algorithm(
    name="gtpo",
    citation="M. Simoni et al.: GTPO: trajectory-based policy optimization in large language models. arXiv 2508.03772.",
    returns="outcome",
    advantage="group-norm",
    modifiers=(CONFLICT_TOKENS,),
    surrogate="policy-gradient",
    aggregate="group-mean",
    settings={"group-norm": {"std": False}},
)
