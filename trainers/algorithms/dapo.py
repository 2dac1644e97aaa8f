"""DAPO: decoupled clip and dynamic sampling (arXiv 2503.14476).

    L = mean over the response tokens n of the batch of  max(-A r, -A clip(r, 1 - 0.2, 1 + 0.28))
    A = (R - mean of R over the group) / (std of R over the group + epsilon)
    R = outcome + min(-(length - (max_length - buffer)) / buffer * factor, 0)         over-long shaping

Four changes to GRPO: the upper clip is the wider one, so that rare tokens can grow; every token of the batch counts the
same; groups in which all succeed or all fail are dropped (`gates: [signal]`, judged by success, not by the shaped
score); and replies that near the limit are charged. No KL term. The dual clip of 10 is the recipe's.

The formulas follow verl's DAPO recipe, which was read and run. There sampling goes on until the batch is full of groups
with signal; here a step has what is left of its groups, unless the curriculum draws again. Over-long shaping needs a
length of one's own: `settings: {overlong: {max_length: N, buffer: M}}`; without it, it is off.
"""

from agentrl.trainers.algorithm import Algorithm

DAPO = Algorithm(
    name="dapo",
    citation="Q. Yu et al.: DAPO: an open-source LLM reinforcement learning system at scale. arXiv 2503.14476.",
    rewards=("overlong",),
    returns="outcome",
    gates=("signal",),
    advantage="group-norm",
    surrogate="ppo-clip",
    aggregate="token-mean",
    settings={
        "signal": {"of": "success"},
        "ppo-clip": {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": 10.0},
    },
)
