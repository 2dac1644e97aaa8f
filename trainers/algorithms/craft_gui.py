"""CRAFT-GUI: curriculum-reinforced training of GUI agents (arXiv 2508.11360).

    L    = mean over the trajectories, of the mean over their response tokens n, of
           max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high))  +  coef * (exp(-d) - 1 + d)
    A    = (R - mean of R over the group) / (std of R over the group + epsilon)
    r    = exp(log p(n) - log p_old(n))      d = log p(n) - log p_reference(n)

Its objective is GRPO's, with a KL term; what is new is what it learns from: tasks in stages from short to long
(`curriculum: stages`), and rewards that judge format, kind of action and its arguments, which are the world's.
The formulas are recalled, the paper's text was not found; coef 0.04 is GRPO's.
"""

from agentrl.trainers.algorithm import Algorithm

CRAFT_GUI = Algorithm(
    name="craft-gui",
    citation="S. Nong et al.: CRAFT-GUI: curriculum-reinforced agent for GUI tasks. arXiv 2508.11360.",
    returns="outcome",
    advantage="group-norm",
    surrogate="ppo-clip",
    regularisers=("kl",),
    aggregate="trajectory-mean",
    settings={"ppo-clip": {"dual_clip": 0.0}, "kl": {"coef": 0.04, "estimator": "k3"}},
)
