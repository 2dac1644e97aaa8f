"""mixture: tasks of several worlds in one run, in shares that its weights say.

Sees       what the task's own world shows, with that world's instructions and tools.
May do     what that world accepts.
Is paid    as that world pays; scores of all worlds are from 0 to 1, so that they can be learned from together.
Ends       as that world ends; `rollout.max_turns` holds for all of them.
Chance     that of the worlds.
Splits     train and valid: of each world its training split and the one that it is validated on.
"""

from agentrl.envs.mixture.world import (
    REPEATS,
    SPLITS,
    VALIDATION,
    Config,
    Env,
    brief,
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
    "hints",
    "instructions",
    "solution",
    "tasks",
    "tools",
    "vocabulary",
]
