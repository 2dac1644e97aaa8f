"""rlvr: a question, one answer, an exact verifier: the ground of single-turn papers. Puzzles, or data of one's own.

Sees       the question, as `Sort: 7 3 9 1.`; the instructions say how its answer is written.
May do     answer, in one turn, which ends the episode. Of a puzzle, white space and commas between the parts do not
           matter; of a question from `data`, its verifier says what is read.
Is paid    1.0 for a right answer, 0 otherwise (a verifier may give a part); with `format_share` a part of it for an
           answer of the right form.
Ends       terminated after the answer. Never truncated.
Chance     a task is a question; there is no chance after it.
Splits     train, valid, test: a question belongs to one of them by its hash, so that none is seen twice; or as the
           data say.
"""

from agentrl.envs.rlvr.world import (
    REPEATS,
    SPLITS,
    VALIDATION,
    Config,
    Env,
    brief,
    guess,
    hints,
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
    "brief",
    "guess",
    "hints",
    "instructions",
    "solution",
    "tasks",
    "tools",
    "vocabulary",
]
