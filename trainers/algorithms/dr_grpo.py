"""Dr. GRPO: GRPO done right (arXiv 2503.20783).

    L = (1 / J) * sum over the trajectories j of (1 / constant) * sum over the response tokens n of j of
        max(-A_j r, -A_j clip(r, 1 - clip_low, 1 + clip_high))
    A_j = R_j - mean of R over the group

Neither the group's deviation nor a reply's own length divides: the first favours tasks that are nearly always or never
solved, the second long wrong replies. `constant` is the same at every step; the authors take the longest possible reply
(`settings: {token-sum: {constant: N}}`): with Adam it only scales gradients before they are clipped, with another term
beside it says what that weighs. From sail-sg/understand-r1-zero (dfca49d) and verl's functions, which were read.
"""

from agentrl.trainers.algorithm import Algorithm

DR_GRPO = Algorithm(
    name="dr-grpo",
    citation="Z. Liu et al.: Understanding R1-Zero-like training: a critical perspective. arXiv 2503.20783.",
    returns="outcome",
    advantage="group-norm",
    surrogate="ppo-clip",
    aggregate="token-sum",
    settings={
        "group-norm": {"std": False},
        "ppo-clip": {"dual_clip": 0.0},
        "token-sum": {
            "mean_over": "trajectory",
            "constant": 512.0,
        },  # max_new_tokens of short replies; the authors' 3000
    },
)
