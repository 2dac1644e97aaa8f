"""The batch: what of an episode becomes a sequence that the model runs."""

import pytest

from agentrl.trainers.batch import build_batch
from tests.trainers.episodes import random_trajectories


@pytest.mark.parametrize("layout", ["episode", "turn"])
def test_a_sequence_names_the_images_that_stand_in_it_also_where_the_last_reply_is_empty(layout: str) -> None:
    trajectory = next(t for t in random_trajectories(3, breaks=0.0, max_turns=4) if len(t.turns) == 4)
    for number, turn in enumerate(trajectory.turns):
        turn.images = (f"image-{number}",)
        turn.completion.token_ids = [6, 7] if number in (0, 2) else []
        turn.completion.logprobs = [-1.0, -1.0] if number in (0, 2) else []
    prompts = [turn.prompt_ids for turn in trajectory.turns]
    until_first, until_third = [*prompts[0], 6, 7], [*prompts[0], 6, 7, *prompts[1], *prompts[2], 6, 7]
    expected = [(until_third, ("image-0", "image-1", "image-2"))]
    if layout == "turn":
        expected.insert(0, (until_first, ("image-0",)))
    batch = build_batch([trajectory], layout=layout)  # type: ignore[arg-type]
    assert [(list(s.ids), s.images) for s in batch.stretches] == expected
