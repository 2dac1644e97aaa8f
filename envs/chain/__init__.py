"""chain: letters lie in boxes, each names the box of the next; the answer needs them all. For episodes of any length.

Sees       at the start, the box of the first letter; then the letter in the box that it opened: its number, how far it
           turns a counter (from 0 to 99, then 0 again), idle talk where `chatter` asks for it, and the next box. With
           `admissible`, the box that was named last, and every answer.
May do     `open BOX`, as `open amber otter 7`, any box of the trail at any time; `answer N`. Case and white space do
           not matter. Another box is not there; anything else is answered "I did not understand". Both are not valid
           and cost the turn.
Is paid    1.0 for the right answer: what the counter shows after the last letter; 0 otherwise.
Ends       terminated: answered. Never truncated here: the turn limit belongs to the runner.
Chance     boxes and turns of the counter come from the task's seed; the same task is always the same trail.
Splits     train: 1,000 trails; valid: 100 (seeds do not overlap). A trail has from `shortest` to `longest` letters,
           each power of two as often, and takes one turn more. Kind: 2-3 letters, 4-7 letters, 8-15 letters, ...
"""

from agentrl.envs.chain.world import (
    REPEATS,
    SPLITS,
    VALIDATION,
    Config,
    Env,
    guess,
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
    "guess",
    "instructions",
    "solution",
    "tasks",
    "tools",
    "vocabulary",
]
