"""scienceworld: tasks of elementary science in a simulated house (Wang et al., ScienceWorld, arXiv 2203.07540).

Sees       its task and the room at the start; then the sentence or list that answers the last command, as the
           simulator gives it, and, with `admissible`, the commands that make sense now.
May do     look, go, teleport (in easy mode), open, pick up, move, pour, mix, activate, use, connect, focus on and more.
           What can be read in several ways is answered by a numbered list, and a number takes one of them. What the
           simulator does not understand it says, and that costs the turn; so does `reset task`, which it would accept.
Is paid    the change of the score, from 0 to 1: a task has partial goals. The outcome's score is where it stands.
           Focusing on the wrong thing takes the score to 0 (the simulator says -100) and marks the episode `failed`.
Ends       terminated: score 1, or failed. truncated: after `max_steps` commands, however long they wait.
Chance     what grows, flies and falls ill does so at random, by the simulator's own numbers, which begin with the
           variation: the same commands make the same episode, in a used Java machine as in a new one.
Splits     train, dev, test: the official ones, which share no variation. `selection` says of which tasks; `epo-unseen`
           has tasks in test that train has not.
"""

from agentrl.envs.scienceworld.vocabulary import vocabulary
from agentrl.envs.scienceworld.world import (
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
