"""CISPO: clipped importance-sampling policy optimisation (MiniMax-M1, arXiv 2506.13585).

    L   = mean over the response tokens n of  -sg(clip(r, 1 - clip_low, 1 + clip_high)) A log p(n)
    r   = exp(log p(n) - log p_old(n))
    A   = (R - mean of R over the group) / (std of R over the group + epsilon)

The ratio is clipped as a weight (sg: no gradient through it), so that no token drops out of the gradient, as those do
that PPO clips. The paper's text was not at hand: the formula follows verl's `compute_policy_loss_cispo`, which was
read and run. clip_low 1 is no lower bound; clip_high 0.28 is verl's. Where r = 1 the gradient is REINFORCE's.
"""

from agentrl.trainers.algorithm import Algorithm

CISPO = Algorithm(
    name="cispo",
    citation="MiniMax: MiniMax-M1: scaling test-time compute efficiently with lightning attention. arXiv 2506.13585.",
    returns="outcome",
    advantage="group-norm",
    surrogate="cispo",
    regularisers=("kl",),
    aggregate="token-mean",
    settings={"kl": {"coef": 0.0}},
)
