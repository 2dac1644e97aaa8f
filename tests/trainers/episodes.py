"""Random episodes of token ids, as a runner would record them: for tests of the batch and the update."""

import random
from collections.abc import Sequence

from agentrl.types import Completion, Observation, Outcome, Task, Trajectory, Turn


def random_turn(
    rng: random.Random, position: int, vocab: int, *, continues: bool, prompt: Sequence[int], constrained: bool
) -> Turn:
    """One turn with a response of 0 to 5 tokens; sampled log-probs are plausible numbers, not a model's."""
    response = [rng.randrange(5, vocab) for _ in range(rng.choice((1, 2, 3, 5) if position == 0 else (0, 1, 2, 4)))]
    allowed = [sorted({token, *rng.sample(range(5, vocab), 3)}) for token in response] if constrained else None
    return Turn(
        position=position,
        observation=Observation("seen"),
        prompt_ids=list(prompt),
        continues=continues,
        completion=Completion(
            text="",
            token_ids=response,
            logprobs=[-rng.uniform(0.1, 3.0) for _ in response],
            versions=[0] * len(response),
            allowed=allowed,
        ),
        action="a",
        readable=rng.random() < 0.9,
        valid=rng.random() < 0.8,
        reward=rng.choice((0.0, 0.0, 1.0)),
        learn=rng.random() < 0.95,
    )


def random_trajectories(
    seed: int,
    *,
    vocab: int = 40,
    groups: int = 4,
    group_size: int = 3,
    max_turns: int = 5,
    breaks: float = 0.2,
    constrained: bool = False,
    ends: Sequence[str] = ("done", "turn_limit", "gave_up", "context_limit"),
) -> list[Trajectory]:
    """Episodes whose later prompts are the full earlier ones: some turns continue, some open a new sequence.

    breaks: chance that a turn opens a new sequence, whose prompt is then unlike the one before.
    """
    rng = random.Random(seed)
    trajectories = []
    for group in range(groups):
        for member in range(group_size):
            turns: list[Turn] = []
            for position in range(rng.randint(1, max_turns)):
                continues = position > 0 and rng.random() >= breaks
                size = rng.randint(1, 4) if continues else rng.randint(3, 9)
                prompt = [rng.randrange(5, vocab) for _ in range(size)]
                turns.append(
                    random_turn(rng, position, vocab, continues=continues, prompt=prompt, constrained=constrained)
                )
            success = rng.random() < 0.5
            trajectories.append(
                Trajectory(
                    task=Task("none", f"task-{group}", "train", group),
                    group=f"0/{group}",
                    rollout=member,
                    turns=turns,
                    final_observation=None,
                    outcome=Outcome(success, float(success)),
                    ended=rng.choice(list(ends)),  # type: ignore[arg-type]
                )
            )
    return trajectories
