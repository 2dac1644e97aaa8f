"""SFT: supervised learning of demonstrations.

    L = -(1/N) * sum over the response tokens n of  log p(n)

What is learned from is what demonstrators said in the world; observations carry no loss (R5). No paper's.
"""

from agentrl.trainers.algorithm import Algorithm

SFT = Algorithm(
    name="sft",
    citation="Supervised learning of demonstrations; no paper's.",
    advantage=None,
    surrogate="likelihood",
    aggregate="token-mean",
    needs=("demonstrations",),
)
