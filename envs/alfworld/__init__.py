"""alfworld: household tasks in text rooms (Shridhar et al., ALFWorld, arXiv 2010.03768), offline from pip packages.

Sees       the room's receptacles and the task at the start; then the sentence that answers the last command, and, with
           `admissible`, every command that the game accepts now (but `help`). The engine's banner is left out.
May do     go to, open, close, take, move, clean, heat, cool, use, slice, examine, inventory, look, with things named
           as `cabinet 3`. Case and white space do not matter; `put X in/on Y` is read as `move X to Y`. Anything else
           is answered "Nothing happens." and costs the turn.
Is paid    1.0 at the command that fulfils the task, 0 otherwise; the outcome's score is the same.
Ends       terminated: fulfilled. truncated: after `max_steps` commands.
Chance     none: the same task is always the same game.
Splits     train, valid_seen, valid_unseen. Official games where there are any (`data`, or $ALFWORLD_DATA); otherwise
           games from the generator, in which valid_unseen has rooms that train never shows. A generated score is not
           an official one; task ids say which they are.
"""

from agentrl.envs.alfworld.vocabulary import vocabulary
from agentrl.envs.alfworld.world import (
    REPEATS,
    SPLITS,
    VALIDATION,
    Config,
    Env,
    demonstrations,
    instructions,
    solution,
    tasks,
    tools,
)

__all__ = [
    "REPEATS",
    "SPLITS",
    "VALIDATION",
    "Config",
    "Env",
    "demonstrations",
    "instructions",
    "solution",
    "tasks",
    "tools",
    "vocabulary",
]
