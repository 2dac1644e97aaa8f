"""RiskPO: risk-sensitive policy optimisation with a mixed value at risk (arXiv 2510.00911).

    S_i = sum of R over the i-th rollouts of the questions of a bundle                 a "paper"
    A_R = ([S - q_alpha]_+ - [S - q_beta]_+) / (beta - alpha + eps)                    what lies between the quantiles
    A_C = -[q_alpha - S]_+ / (alpha + eps)                                             the lower tail
    A   = ((1 + omega) A_C + A_R) / (2 + omega) / (max(std of S over the bundle, std_floor) + eps)
    q   = q + quantile_lr * (level - mean of 1[S < q])                                 once a step, for 19 levels

What is raised is the lower tail of what can be got, not the mean: gains above q_beta do not count. Bundles of questions
have scores that differ where those of one question are all alike. `credit` hands a paper's A to its rollouts.

The formulas follow the released code (RTkenny/RiskPO, 65ec40c), which was read and in part run, and notes on the paper.
There the tracked quantiles never reach the advantage, so that its runs used each bundle's own (`quantiles: bundle`);
wired, a bundle of equal scores divides by 1e-6: hence std_floor (ours; a bundle of one paper has std 1). The paper's
ratio is a sequence's (`parts: {surrogate: gspo}`), the code's a token's. Ours too: bundles are drawn by keys of their
trajectories, not by a loader's order; the first step sets the quantiles and takes no step towards its scores.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.segments import count_by, min_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.advantages import members_of_groups
from agentrl.trainers.parts.bundles import Credit, Papers, bundles_of, credited, papers
from agentrl.trainers.parts.places import place_within, rank, trajectory_rank
from agentrl.trainers.parts.quantiles import Quantiles
from agentrl.trainers.step_view import StepView

EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True)
class RiskPOConfig:
    alpha: float = 0.2
    """Level of the lower quantile: what is below it is the tail."""
    beta: float = 0.8
    """Level of the upper quantile: what is above it earns nothing more."""
    omega: float = 0.5
    """How much more the lower tail weighs than the middle; 0.5 as released."""
    mixed: bool = True
    """Mix the lower tail in; false: A_R alone."""
    natural_baseline: bool = False
    """Add q_alpha - q_beta to the numerator of A_R, which then is never positive."""
    bundle: int = 5
    """Questions in a bundle; 5 as in the paper, 1 compares within each question."""
    partial: Literal["rescale", "keep", "drop"] = "rescale"
    """A last bundle of fewer questions: scores scaled up to whole ones (ours), kept as they are, or no advantage."""
    quantiles: Literal["track", "bundle", "mix"] = "track"
    """Those of all steps so far, the bundle's own, or the mean of both."""
    quantile_lr: float = 0.1
    """Step of the tracked quantiles towards what the newest scores say; 0.1 as released."""
    std_floor: float = 0.5
    """The deviation that divides is at least this, in units of S; 0: no floor (released)."""
    credit: Credit = "uniform"
    """uniform: A. score: half where R > 0, else 1.5 times. std: by the question's deviation. sum_mean: by R's share."""

    def __post_init__(self) -> None:
        require(0 < self.alpha <= self.beta < 1, f"alpha is {self.alpha}; 0 < alpha <= beta < 1 must hold")
        require(self.bundle >= 1, f"bundle is {self.bundle}; it must be at least 1")
        for name in ("omega", "quantile_lr", "std_floor"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")


def risk_advantage(score: Tensor, low: float, high: float, config: RiskPOConfig) -> Tensor:
    """A before the deviation divides.   score: [I], S of papers.   low, high: q_alpha and q_beta.   Returns [I]."""
    gain = (score - low).relu() - (score - high).relu() + (low - high if config.natural_baseline else 0.0)
    middle = gain / (config.beta - config.alpha + EPSILON)
    tail = -(low - score).relu() / (config.alpha + EPSILON)
    weight = 1 + config.omega
    return (weight * tail + middle) / (weight + 1) if config.mixed else middle


class QuantileTracker(Quantiles):
    """Scores of papers over the steps so far: RiskPO's only state."""

    def __init__(self, config: RiskPOConfig | None = None) -> None:
        self._config = config or RiskPOConfig()
        self.used: dict[str, float] = {}
        super().__init__(self._config.quantile_lr)

    def update(self, view: StepView) -> None:
        """Once a step, with the papers of all ranks; a view without returns was in no step."""
        if view.returns is not None:
            self.learn(papers_of(view, self._config).score)


def quantiles_of(score: Tensor, config: RiskPOConfig, tracker: Quantiles) -> tuple[float, float]:
    """q_alpha and q_beta for a bundle.   score: [I], of the bundle's papers, at least one."""
    found = []
    for level in (config.alpha, config.beta):
        tracked, own = tracker.at(level), float(torch.quantile(score, level))
        if tracked is None or config.quantiles == "bundle":
            found.append(own)
        else:
            found.append(tracked if config.quantiles == "track" else (tracked + own) / 2)
    return found[0], found[1]


def paper_advantages(made: Papers, config: RiskPOConfig, tracker: Quantiles) -> Tensor:
    """A of every paper.   Returns [I]."""
    advantage = torch.zeros_like(made.score)
    for bundle in made.bundle.unique():
        own = made.bundle == bundle
        score = made.score[own]
        low, high = quantiles_of(score, config, tracker)
        std = float(score.std()) if len(score) > 1 else 1.0
        advantage[own] = risk_advantage(score, low, high, config) / (max(std, config.std_floor) + EPSILON)
    return advantage


def _members(view: StepView) -> tuple[Tensor, Tensor, Tensor]:
    value, group, counted, _ = members_of_groups(view, "trajectory")
    return value, group, counted


def papers_of(view: StepView, config: RiskPOConfig) -> Papers:
    """The batch's papers: groups and rollouts are put together by their keys."""
    value, group, counted = _members(view)
    order = trajectory_rank(view)
    first = min_by(order[counted].double(), group[counted], view.num_groups)
    size = count_by(group[counted], view.num_groups)
    bundle = bundles_of(rank(first), size > 0, config.bundle)
    questions = count_by(bundle[bundle >= 0], view.num_groups)
    if config.partial == "drop":
        bundle = torch.where((bundle >= 0) & (questions[bundle] == config.bundle), bundle, -1)
    place = place_within(2 * group + (~counted).long(), order, 2 * view.num_groups)
    made = papers(value, group, counted, place, bundle)
    if config.partial == "rescale":
        return Papers(made.of_trajectory, made.bundle, made.score * (config.bundle / questions[made.bundle]))
    return made


def _risk(view: StepView, config: RiskPOConfig, state: QuantileTracker) -> Tensor:
    value, group, counted = _members(view)
    made = papers_of(view, config)
    advantage = paper_advantages(made, config, state)
    state.used = {"riskpo/papers": float(len(made.score))}
    if len(made.score):
        low, high = quantiles_of(made.score, config, state)
        state.used |= {"riskpo/quantile_low": low, "riskpo/quantile_high": high}
        state.used["riskpo/paper_score"] = float(made.score.mean())
    return credited(advantage, made, value, group, counted, config.credit)[view.trajectory_of_token]


def _metrics(view: StepView, config: RiskPOConfig, state: QuantileTracker) -> dict[str, float]:
    """Of the whole batch, as the advantage met it."""
    return dict(state.used)


MIXED_VALUE_AT_RISK = Part(
    name="mixed-value-at-risk",
    kind="advantage",
    bind=_risk,
    config=RiskPOConfig,
    section="riskpo",
    state=QuantileTracker,
    metrics=_metrics,
)
"""RiskPO's: scores of papers against two quantiles, the lower tail weighing more and the upper one nothing."""
RISKPO = Algorithm(
    name="riskpo",
    citation="T. Ren et al.: RiskPO: risk-based policy optimization via verifiable reward for LLM post-training. "
    "arXiv 2510.00911.",
    returns="outcome",
    advantage=MIXED_VALUE_AT_RISK,
    surrogate="ppo-clip",
    aggregate="token-mean",
    settings={"ppo-clip": {"clip_low": 0.2, "clip_high": 0.2, "dual_clip": 3.0}},
)
