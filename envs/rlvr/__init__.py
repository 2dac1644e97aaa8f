"""rlvr: a question, one answer, an exact verifier. The ground of single-turn papers, with puzzles that are generated.

Sees       the question, as `Sort: 7 3 9 1.`; the instructions say how answers of each kind are written.
May do     answer, in one turn, which ends the episode. White space and commas between the parts do not matter.
Is paid    1.0 for a right answer, 0 otherwise; with `format_share` a part of it for an answer of the right form.
Ends       terminated after the answer. Never truncated.
Chance     a task is a question; there is no chance after it.
Splits     train, valid, test: a question belongs to one of them by its hash, so that none is seen twice.
"""

from agentrl.envs.rlvr.world import (
    REPEATS,
    SPLITS,
    VALIDATION,
    Config,
    Env,
    instructions,
    solution,
    tasks,
    tools,
    vocabulary,
)

__all__ = [
    "REPEATS",
    "SPLITS",
    "VALIDATION",
    "Config",
    "Env",
    "instructions",
    "solution",
    "tasks",
    "tools",
    "vocabulary",
]
