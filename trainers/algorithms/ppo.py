"""PPO: proximal policy optimisation with a critic (arXiv 1707.06347), over the tokens of many turns.

    L    = mean over the response tokens n of  max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high))  +  coef * KL
    A    = (A' - mean of A') / sqrt(var of A' + 1e-8)
    A'_n = d_n + gamma * lam * A'_(n+1),   d_n = r_n + gamma * V_(n+1) - V_n
    L_V  = mean over n of  0.5 * max((v - R)^2, (clip(v, V - clip, V + clip) - R)^2),   R_n = A'_n + V_n

V_n is read before response token n is emitted; n + 1 is the next response token of the episode: observations between
turns are skipped. r_n is what the turn was paid, at the turn's last token. After an episode's last token V is 0, or
where it was cut by its context or its tokens the value at the end of the final observation (by choice at the turn limit
too, `trainer.turn_limit_bootstraps`). V and R are of the critic at the rollout's version, v of the critic as it learns.

The papers' texts (GAE: arXiv 1506.02438) were not at hand: the formulas follow verl's functions, which were read and
run. That a turn without tokens leaves its reward to the turn before it is ours. PPO's groups are of any size, 1 too.
"""

from agentrl.trainers.algorithm import Algorithm

PPO = Algorithm(
    name="ppo",
    citation="J. Schulman et al.: Proximal policy optimization algorithms. arXiv 1707.06347.",
    returns="turn-reward",
    advantage="gae",
    modifiers=("whiten",),
    surrogate="ppo-clip",
    regularisers=("kl",),
    value_loss="value-clip",
    aggregate="token-mean",
    settings={"ppo-clip": {"dual_clip": 0.0}, "kl": {"coef": 0.0}},
)
