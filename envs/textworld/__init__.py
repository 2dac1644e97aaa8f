"""textworld: text games that are generated and compiled on demand (Côté et al., TextWorld, arXiv 1806.11532).

Sees       the goal and the room at the start; then the engine's answer to the last command, without its banner, prompt
           and status line, and, with `admissible`, every command that the game takes now.
May do     the game's own commands: go, look, inventory, examine, take, drop, put, insert, open, close, lock, unlock,
           eat, cook, slice and the like. Case and white space do not matter. What the game does not take, several
           commands at once, and commands to the interpreter itself (save, restart) are refused and cost the turn.
Is paid    with `intermediate` each gain of the game's score over its highest score; else 1.0 at the command that wins.
           The outcome's score is the sum.
Ends       terminated: won, or lost (success is False). truncated: after `max_steps` commands.
Chance     none: the same task is always the same game.
Splits     train, valid, test: no seed is in two of them; cooking takes other food for each. With `games`, the user's
           own game files, a folder a split, or the same ones in all.
"""

from agentrl.envs.textworld.vocabulary import vocabulary
from agentrl.envs.textworld.world import (
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
