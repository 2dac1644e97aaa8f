"""RLOO: REINFORCE leave-one-out (arXiv 2402.14740).

    L   = -(1/J) * sum over the trajectories j of  A_j * sum over the response tokens n of j of  log p(n)
    A_j = R_j - mean of R over the others of j's group  =  n / (n - 1) * (R_j - mean of R over the group)

The paper's text was not at hand: the advantage follows verl's `compute_rloo_outcome_advantage`, which was read and
run; that a whole trajectory is one action, so that its tokens' log-probs add up, is recalled. The paper takes its KL
penalty off the reward; here it is a term of the loss, off by default (`settings: {kl: {coef: 0.01}}`).
Right for one update a rollout; for several, exchange the surrogate: `parts: {surrogate: ppo-clip}`.
"""

from agentrl.trainers.algorithm import Algorithm

RLOO = Algorithm(
    name="rloo",
    citation=(
        "A. Ahmadian et al.: Back to basics: revisiting REINFORCE style optimization for learning from human "
        "feedback in LLMs. arXiv 2402.14740."
    ),
    returns="outcome",
    advantage="leave-one-out",
    surrogate="policy-gradient",
    regularisers=("kl",),
    aggregate="token-sum",
    settings={"kl": {"coef": 0.0}, "token-sum": {"mean_over": "trajectory"}},
)
