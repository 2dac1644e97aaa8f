"""What a set of trajectories comes to, in numbers with stable names."""

from collections.abc import Iterable, Sequence

from agentrl.types import ENDS, Trajectory, Turn


def summaries(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Means over the episodes that ended by themselves; failures of infrastructure are counted apart.

    success, score, reward, turns, tokens   means an episode (turns: acting ones; tokens: sampled ones)
    invalid_rate, unreadable_rate           shares of acting turns that the world refused, that no one could read
    ended/<end>                             share of each way of ending, over all episodes
    episodes, infrastructure_failures       counts; how many of the former are the latter
    retried                                 count of episodes that needed more than one try
    world_seconds, policy_seconds           means an episode
    new_sequences                           turns an episode, beyond its first, whose prompt did not continue the last
    cached_token_share                      share of prompt tokens whose keys and values were reused

    A mean over nothing is 0. Entropy is not here: the trainer knows it.
    """
    episodes = [t for t in trajectories if not ENDS[t.ended].infrastructure]
    turns = [turn for t in episodes for turn in t.turns]
    acting = [turn for turn in turns if turn.kind == "act"]
    found = {
        "success": _mean(float(t.outcome.success) for t in episodes),
        "score": _mean(t.outcome.score for t in episodes),
        "reward": _mean(t.reward for t in episodes),
        "turns": _mean(float(t.num_acts) for t in episodes),
        "tokens": _mean(float(t.num_tokens) for t in episodes),
        "invalid_rate": _mean(float(not turn.valid) for turn in acting),
        "unreadable_rate": _mean(float(not turn.readable) for turn in acting),
    }
    found |= _two_scores(episodes)
    for end in ENDS:
        found[f"ended/{end}"] = _mean(float(t.ended == end) for t in trajectories)
    found |= {
        "episodes": float(len(trajectories)),
        "infrastructure_failures": float(len(trajectories) - len(episodes)),
        "retried": float(sum(t.tries > 1 for t in trajectories)),
        "world_seconds": _mean(seconds(t.turns, "world") + seconds(t.turns, "reset") for t in episodes),
        "policy_seconds": _mean(seconds(t.turns, "policy") for t in episodes),
        "new_sequences": _mean(float(_num_new_sequences(t)) for t in episodes),
    }
    prompt_tokens = sum(turn.completion.prompt_tokens for turn in turns)
    cached_tokens = sum(turn.completion.cached_tokens for turn in turns)
    found["cached_token_share"] = cached_tokens / prompt_tokens if prompt_tokens else 0.0
    return found


def seconds(turns: Iterable[Turn], phase: str) -> float:
    """Time that turns spent in a phase: policy, world, reset."""
    return sum(turn.seconds.get(phase, 0.0) for turn in turns)


def _num_new_sequences(trajectory: Trajectory) -> int:
    return sum(1 for turn in trajectory.turns[1:] if turn.prompt_ids and not turn.continues)


def _two_scores(episodes: Sequence[Trajectory]) -> dict[str, float]:
    """Of a reward that judges in place of the world: its mean, and that of the world's own score; else nothing."""
    told = [t.outcome.components for t in episodes if {"proxy", "world"} <= set(t.outcome.components)]
    return {f"reward/{name}": _mean(parts[name] for parts in told) for name in ("proxy", "world") if told}


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else 0.0
