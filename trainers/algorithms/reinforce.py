"""REINFORCE with a baseline (Williams 1992).

    L = -(1/J) * sum over the trajectories j of  (R_j - b) * sum over the response tokens n of j of  log p(n)
    b = mean over the trajectories of the batch of  R_j

The gradient of L is the policy gradient's estimate, the log-probability of a trajectory being the sum of its tokens'.
It is right for one update a rollout; for several, exchange the surrogate: `parts: {surrogate: ppo-clip}`.
With groups of one, which rule out a comparison within the group, this is the algorithm to take. Formula recalled.
"""

from agentrl.trainers.algorithm import Algorithm

REINFORCE = Algorithm(
    name="reinforce",
    citation=(
        "R. J. Williams: Simple statistical gradient-following algorithms for connectionist reinforcement learning. "
        "Machine Learning 8, 1992."
    ),
    returns="outcome",
    advantage="raw-return",
    surrogate="policy-gradient",
    aggregate="token-sum",
    settings={"raw-return": {"baseline": "batch-mean"}, "token-sum": {"mean_over": "trajectory"}},
)
