"""GRPO: group relative policy optimisation (DeepSeekMath, arXiv 2402.03300).

    L    = mean over the response tokens n of  max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high))  +  coef * KL
    A    = (R - mean of R over the group) / (std of R over the group + epsilon)
    r    = exp(log p(n) - log p_old(n))
    KL   = mean over the response tokens of  exp(-d) - 1 + d,   d = log p(n) - log p_reference(n)

The group is the trajectories played of the same task. The paper's text was not at hand: the formulas follow verl's
functions, which were read and run. What is set otherwise than in the original, and how to have the original:
tokens count the same, as in DAPO (`parts: {aggregate: trajectory-mean}`); no KL term, as in DAPO, which saves the
reference model (`settings: {kl: {coef: 0.04}}`); no dual clip, as there.
Dr.GRPO (arXiv 2503.20783) is `settings: {group-norm: {std: false}, token-sum: {mean_over: trajectory, constant: 4096}}`
with `parts: {aggregate: token-sum}`: no division by the deviation, none by a reply's own length.
"""

from agentrl.trainers.algorithm import Algorithm

GRPO = Algorithm(
    name="grpo",
    citation=(
        "Z. Shao et al.: DeepSeekMath: pushing the limits of mathematical reasoning in open language models. "
        "arXiv 2402.03300."
    ),
    returns="outcome",
    advantage="group-norm",
    surrogate="ppo-clip",
    regularisers=("kl",),
    aggregate="token-mean",
    settings={"ppo-clip": {"dual_clip": 0.0}, "kl": {"coef": 0.0}},
)
