"""PF-PPO: policy filtration, learning from the responses whose reward can be trusted (arXiv 2409.06957).

    among the responses of a prompt, ranked by reward, `keep` carry loss:
    best-worst:  the best and the worst;   best-random:  the best and random others;   best:  the best alone
    then PPO on those, as if they were on-policy

    the filter to choose is the one of highest  R^2 = 1 - sum of (s - s')^2 / sum of (s - mean of s)^2,
    s the true score and R the return of what is kept, s' = a + b R the line that fits best

A reward model is most reliable at the ends of its range: the paper's R^2 is 0.95 for best-worst, 0.92 best-random, 0.89
none, 0.45 best, for the first policy, over bins of similar reward. With `truth` both are shown, of what is kept and of
all, point by point and over ten bins of equal number (ours: the paper's rule is not given, and the order of filters
depends on it). The paper's text was read; its formulas of the weights were not legible, and follow the released code
(swtheing/PF-PPO-RLHF, 6b93abf). There a prompt's best and a random other are kept (filter), or the buffer is sampled
with replacement by weights (reweight); verl takes one best and worst of the whole batch (`scope: batch`). Here the
filter stands after the group's statistics, so that baselines are those of all responses, and before the loss; it
keeps fixed numbers by default, `draw: weights` draws by `filter_weights`, without replacement. Ties go by chance. A
group of no more than `keep` is kept whole.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.errors import ConfigError
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.advantages import return_of_trajectory
from agentrl.trainers.parts.chance import trajectory_chance
from agentrl.trainers.parts.selections import StepCounts
from agentrl.trainers.step_view import StepView

Strategy = Literal["best-worst", "best-random", "best", "power"]


@dataclass(frozen=True, kw_only=True)
class PFPPOConfig:
    strategy: Strategy = "best-worst"
    """Which responses are kept; power: by chance, weighed by |reward|^power."""
    keep: int = 2
    """How many of a group carry loss; best-worst takes as many from above as from below, one more where odd."""
    draw: Literal["counts", "weights"] = "counts"
    """counts: fixed numbers (power is always drawn). weights: drawn by the strategy's weights, without replacement."""
    power: float = 2.0
    """Of strategy power: bad responses with a large negative reward are drawn too."""
    scope: Literal["group", "batch"] = "group"
    """Of what the best and worst are: a group (paper), or the whole batch (verl); then keep is of the batch."""
    truth: str = ""
    """Where the score is a reward model's: what is really wanted, `success` or a component of the score that the world
    tells. R^2 with it is shown; empty: it is not known."""

    def __post_init__(self) -> None:
        require(self.keep >= 1, f"keep is {self.keep}; it must be at least 1")
        require(self.power >= 0, f"power is {self.power}; it must not be negative")
        enough = self.strategy != "best-worst" or self.keep >= 2
        require(enough, f"keep is {self.keep}; strategy best-worst keeps at least 2")


def filter_weights(score: Tensor, strategy: Strategy, power: float = 2.0) -> Tensor:
    """What each member of one group weighs in a draw, not normalised; 1e-8 is added, so that none is impossible.

    power: |R|^power.   best-worst: 1 for what equals the best or the worst.   best-random: .4 for the best, .1 for
    others, which is 1/2 and 1/(2 (n - 1)) for five.   best: 1 for the best.
    score: [K].   Returns [K]. As in verl's `compute_pf_ppo_reweight_data`.
    """
    best, worst = score == score.max(), score == score.min()
    if strategy == "power":
        weight = score.abs() ** power
    elif strategy == "best-random":
        weight = torch.full_like(score, 0.1).masked_fill(best, 0.4)
    else:
        weight = (best | worst if strategy == "best-worst" else best).to(score)
    return weight + 1e-8


def r_squared(reward: Tensor, truth: Tensor) -> float | None:
    """R^2 = 1 - SS_res / SS_tot of the least-squares line  truth ~ a + b reward, which is their correlation squared.

    reward, truth: [K] float.   Returns None where either is constant: undefined.
    """
    if len(reward) == 0 or bool((reward == reward[0]).all()) or bool((truth == truth[0]).all()):
        return None
    x, y = reward - reward.mean(), truth - truth.mean()
    residual = y - x * (x @ y) / (x @ x)
    return 1 - float(residual @ residual / (y @ y))


def bin_means(reward: Tensor, truth: Tensor, num_bins: int = 10) -> tuple[Tensor, Tensor]:
    """Both over bins of equal number, by reward; the first bins have one more where it does not divide.

    reward, truth: [K] float.   Returns [B], [B]; B is num_bins, or K where that is less. Ties stay as they stand.
    """
    order = reward.argsort(stable=True)
    bins = [own for own in order.tensor_split(num_bins) if len(own)]
    means = [torch.stack([value[own].mean() for own in bins]) if bins else value for value in (reward, truth)]
    return means[0], means[1]


def criterion(reward: Tensor, truth: Tensor, kept: Tensor) -> dict[str, float]:
    """The paper's R^2 of what is kept and of all, in words; what is undefined is left out.

    reward, truth: [K] float.   kept: [K] bool.
    """
    shown = {}
    for of, chosen in (("all", torch.ones_like(kept)), ("kept", kept)):
        points = reward[chosen], truth[chosen]
        for name, value in ((of, r_squared(*points)), (f"{of}_binned", r_squared(*bin_means(*points)))):
            if value is not None:
                shown[f"pf_ppo/r2_{name}"] = value
    return shown


def true_score(view: StepView, truth: str) -> Tensor:
    """[J] float: success, or a component of the score.   Raises ConfigError for one that the world does not tell."""
    if truth == "success":
        return view.success
    if truth not in view.components:
        told = ", ".join(("success", *sorted(view.components)))
        raise ConfigError(f"pf-ppo.truth is {truth!r}, and this world tells: {told}")
    return view.components[truth]


def kept_of_group(score: Tensor, chance: Tensor, config: PFPPOConfig) -> Tensor:
    """Which members of one group carry loss.   score: [K].   chance: [K] in [0, 1).   Returns [K] bool."""
    kept = torch.zeros(len(score), dtype=torch.bool)
    if config.draw == "weights" or config.strategy == "power":
        race = chance.clamp(min=1e-300).log() / filter_weights(score, config.strategy, config.power)
        kept[race.argsort(descending=True)[: config.keep]] = True
        return kept
    by_chance = chance.argsort()
    order = by_chance[score[by_chance].argsort(descending=True, stable=True)]
    if config.strategy == "best-worst":
        low = min(config.keep // 2, len(order))
        kept[order[: config.keep - low]] = True
        kept[order[len(order) - low :]] = True
    elif config.strategy == "best":
        kept[order[: config.keep]] = True
    else:
        others = order[1:]
        kept[order[:1]] = True
        kept[others[chance[others].argsort()[: config.keep - 1]]] = True
    return kept


def _pf_ppo(view: StepView, config: PFPPOConfig, state: StepCounts) -> Tensor:
    assert view.returns is not None
    score = return_of_trajectory(view.returns, view.trajectory_of_turn, view.num_trajectories)
    chance = trajectory_chance(view, "pf-ppo")
    member = torch.zeros(view.num_trajectories, dtype=torch.bool)
    member[view.trajectory_of_token[view.trained]] = True
    group = view.group_of_trajectory if config.scope == "group" else torch.zeros_like(view.group_of_trajectory)
    kept = torch.zeros_like(member)
    for number in group[member].unique().tolist():
        own = (member & (group == number)).nonzero()[:, 0]
        kept[own] = True if len(own) <= config.keep else kept_of_group(score[own], chance[own], config)
    dropped = member & ~kept
    others = {name: count for name, count in state.counts.items() if not name.startswith("pf_ppo/")}
    state.counts = others | {
        "pf_ppo/kept_share": float(kept.sum()) / max(int(member.sum()), 1),
        "pf_ppo/return_kept": float(score[kept].sum()) / max(int(kept.sum()), 1),
        "pf_ppo/return_dropped": float(score[dropped].sum()) / max(int(dropped.sum()), 1),
    }
    if config.truth and bool(member.any()):
        state.counts |= criterion(score[member], true_score(view, config.truth)[member], kept[member])
    return kept[view.trajectory_of_token]


def _counts(view: StepView, config: PFPPOConfig, state: StepCounts) -> dict[str, float]:
    return {name: count for name, count in state.counts.items() if name.startswith("pf_ppo/")}


PF_PPO_FILTER = Part(
    name="pf-ppo",
    kind="selection",
    bind=_pf_ppo,
    config=PFPPOConfig,
    state=StepCounts,
    metrics=_counts,
)
"""PF-PPO's filter: of each group the best and the worst responses carry loss."""
PF_PPO = Algorithm(
    name="pf-ppo",
    citation=(
        "C. Zhang et al.: Policy filtration for RLHF to mitigate noise in reward models. ICML 2025. arXiv 2409.06957."
    ),
    returns="outcome",
    advantage="group-norm",
    selections=(PF_PPO_FILTER,),
    surrogate="ppo-clip",
    regularisers=("kl",),
    aggregate="token-mean",
    settings={"ppo-clip": {"dual_clip": 0.0}, "kl": {"coef": 0.0}},
)
