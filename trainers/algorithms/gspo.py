"""GSPO: group sequence policy optimisation (arXiv 2507.18071).

    L   = mean over the sequences y of the mean over their tokens of  max(-A s, -A clip(s, 1 - clip_low, 1 + clip_high))
    s   = exp(mean over the tokens of y of  log p(n) - log p_old(n))
    A   = (R - mean of R over the group) / (std of R over the group + epsilon)

Every token of a sequence has the same ratio; its gradient is  s * A * mean of d log p(n). The paper's text was not at
hand: the formulas follow verl's `compute_policy_loss_gspo`, which was read and run. verl 0.9.1 honours the aggregation
that is asked for, as here; later ones always take the mean over sequences, which is this algorithm's default.
There is no dual clip. A sequence of an agent is ours to choose: a reply (`settings: {gspo: {unit: turn}}`, with
`parts: {aggregate: turn-mean}`) or all replies of an episode (`unit: trajectory` with `trajectory-mean`); the ranges
3e-4 and 4e-4 are the paper's, 3e-3 and 4e-3 have been used for agents. With one token a sequence it is GRPO.
"""

from agentrl.trainers.algorithm import Algorithm

GSPO = Algorithm(
    name="gspo",
    citation="C. Zheng et al.: Group sequence policy optimization. arXiv 2507.18071.",
    returns="outcome",
    advantage="group-norm",
    surrogate="gspo",
    regularisers=("kl",),
    aggregate="turn-mean",
    settings={"kl": {"coef": 0.0}},
)
