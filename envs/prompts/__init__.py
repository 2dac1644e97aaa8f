"""prompts: the prompts of a file of preferences, completions or messages; one reply each, which nothing here judges.

Sees       the prompt: its last message, those before it as the conversation that they are, a system message as the
           instructions. A raw text is seen as it is.
May do     reply, in one turn, which ends the episode. An empty reply is not valid.
Is paid    0, and no episode is a success: what a reply is worth says a reward of one's own (`--reward`), or a reward
           model.
Ends       terminated after the reply. Never truncated.
Chance     a task is a prompt; there is no chance after it.
Splits     train, valid: a share of the prompts (`held_out`), by their hash, is valid, so that more data moves none.
"""

from agentrl.envs.prompts.world import (
    REPEATS,
    REWARDS,
    SPLITS,
    VALIDATION,
    Config,
    Env,
    brief,
    instructions,
    solution,
    tasks,
    tools,
    vocabulary,
)

__all__ = [
    "REPEATS",
    "REWARDS",
    "SPLITS",
    "VALIDATION",
    "Config",
    "Env",
    "brief",
    "instructions",
    "solution",
    "tasks",
    "tools",
    "vocabulary",
]
