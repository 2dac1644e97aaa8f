"""What the replies of episodes used, as servers counted it: tokens, money, and time spent waiting."""

from collections.abc import Iterable
from typing import Any

from agentrl.types import Trajectory


def usage_of(trajectories: Iterable[Trajectory]) -> dict[str, Any]:
    """Sums over all replies of the episodes.

    tokens: input (cached ones included), cached, output (reasoning included), reasoning.
    cost: None where that of any reply is not known: an unknown price is never 0.   waited_seconds: for rate limits and
    before further tries.
    """
    completions = [turn.completion for trajectory in trajectories for turn in trajectory.turns]
    costs = [completion.cost for completion in completions]
    return {
        "replies": len(completions),
        "tokens": {
            "input": sum(completion.prompt_tokens for completion in completions),
            "cached": sum(completion.cached_tokens for completion in completions),
            "output": sum(completion.output_tokens for completion in completions),
            "reasoning": sum(completion.reasoning_tokens for completion in completions),
        },
        "cost": None if None in costs else sum(cost for cost in costs if cost is not None),
        "waited_seconds": sum(completion.waited for completion in completions),
    }
