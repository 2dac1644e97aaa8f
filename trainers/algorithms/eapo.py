"""EAPO: efficiency-aware policy optimisation, on episodes whose workspace is rebuilt each round (arXiv 2511.07327).

    r_t   = gamma^(T - 1 - t) * R                    t = 0 .. T-1: the round, of T; R: the outcome, 0 or 1
    A_t   = (r_t - mean of r) / (std of r + epsilon) over all rounds of all trajectories of the group
    rho_t = exp(mean over the tokens of round t of  log p - log p_old)
    L     = mean over the rounds of  max(-A rho, -A clip(rho, 1 - clip_low, 1 + clip_high))

The sooner a task is solved the more its rounds are credited with, so that among successes short ones are preferred: in
a group in which all succeed, the early rounds of long episodes have negative advantages. Each round is a sample of its
own, as the workspace memory makes it (`memory: workspace`, `format: report`); a round counts once, whatever its length.

The paper was read in full. It drops rounds at random until the data-parallel ranks divide their number; a flat batch
has no need of that, so it is off (`whole-multiple: {multiple: 8}`); advantages are taken before. With fewer rounds than
that nothing is dropped, which the paper does not say (ours). It gives no clip range: 0.2 is ours. The epsilon, 1e-6,
is that of slime, the framework it trained on. A round on its own, and rounds that are all equal, get 0.
"""

from agentrl.trainers.algorithm import Algorithm

EAPO = Algorithm(
    name="eapo",
    citation="G. Chen et al.: IterResearch: rethinking long-horizon agents via Markovian state reconstruction. "
    "arXiv 2511.07327.",
    returns="discounted",
    advantage="group-norm",
    selections=("whole-multiple",),
    surrogate="gspo",
    aggregate="turn-mean",
    settings={
        "discounted": {"gamma": 0.995},
        "group-norm": {"unit": "turn", "alone": "zero"},
        "gspo": {"unit": "turn", "clip_low": 0.2, "clip_high": 0.2},
    },
)
