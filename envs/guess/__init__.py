"""guess: a number is hidden, the agent finds it by asking. The smallest world, for tests and as an example.

Sees       whether the number is higher or lower than the one it asked; at the start, the range. With `admissible`,
           every question that is left, and `give up`.
May do     `ask N`, or `give up`. Case and white space do not matter. Anything else is answered "I did not understand",
           is not valid and costs the turn.
Is paid    1.0 at the turn that names the number; 0 otherwise.
Ends       terminated: found, or gave up. Never truncated here: the turn limit belongs to the runner.
Chance     the number comes from the task's seed; the same task is always the same game.
Splits     train: 1,000 games; valid: 100 (seeds do not overlap, numbers do).
"""

from agentrl.envs.guess.world import (
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
