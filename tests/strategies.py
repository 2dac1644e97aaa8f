"""The one strategy from which property tests draw: random batches as a step sees them."""

import hypothesis
import torch
from hypothesis import strategies as st

from agentrl.trainers.step_view import StepView
from tests.builders import reordered, view_of

PROBES = ("proxy-keeps", "proxy-kl", "sum-of-squares", "hidden-norm", "score-norm", "score-variance")
"""What the probes of all parts read."""


def examples(num: int) -> hypothesis.settings:
    """So many examples in the normal run, and twenty times as many with `--hypothesis-profile=slow`."""
    return hypothesis.settings(max_examples=max(1, num * hypothesis.settings.default.max_examples // 100))


@st.composite
def views(draw: st.DrawFn, min_groups: int = 0, max_groups: int = 3) -> StepView:
    """Groups of trajectories of turns, in any order, every field filled, float64.

    Turns may have no token, trajectories may be masked (no loss), in no statistics, or all of summarise turns' making;
    scores are few values, so that groups are often all equal; groups may be of one, or empty of what counts.
    """
    turns = st.lists(st.integers(0, 4), min_size=1, max_size=4)
    groups = draw(st.lists(st.lists(turns, min_size=1, max_size=4), min_size=min_groups, max_size=max_groups))
    trajectories = [own for group in groups for own in group]
    num_turns = sum(len(own) for own in trajectories)
    num_tokens = sum(sum(own) for own in trajectories)

    def switches(size: int, mostly: bool = True) -> list[bool]:
        return [mostly if draw(st.integers(0, 4)) else not mostly for _ in range(size)]

    acts = switches(num_turns)
    positions, place = [], 0
    for own in trajectories:
        acting = 0
        for _ in own:
            positions.append(acting)
            acting += acts[place]
            place += 1
    in_statistics = switches(len(trajectories))
    demonstrated = [not counted and draw(st.booleans()) for counted in in_statistics]
    greedy = [
        not counted and not shown and draw(st.booleans())
        for counted, shown in zip(in_statistics, demonstrated, strict=True)
    ]
    carries_loss = [
        (counted or shown) and kept
        for counted, shown, kept in zip(in_statistics, demonstrated, switches(len(trajectories)), strict=True)
    ]
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))

    def numbers(size: int, low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(size, generator=random, dtype=torch.float64)

    old = numbers(num_tokens, -4, 0)
    view = view_of(
        groups,
        acts=acts,
        turn_position=positions,
        turn_place=[place for own in trajectories for place in range(len(own))],
        in_statistics=in_statistics,
        demonstrated=demonstrated,
        greedy=greedy,
        trained=[kept for own, kept in zip(trajectories, carries_loss, strict=True) for _ in range(sum(own))],
        readable=switches(num_turns),
        valid=switches(num_turns),
        reward=[draw(st.sampled_from([0.0, 0.1, 1.0])) for _ in range(num_turns)],
        score=[draw(st.sampled_from([0.0, 1.0, 1 / 3])) for _ in trajectories],
        old=old,
        sampled=old + numbers(num_tokens, -0.1, 0.1),
        current=old + numbers(num_tokens, -0.7, 0.7),
        reference=old + numbers(num_tokens, -1, 1),
        guidance=old + numbers(num_tokens, -1, 1),
        mismatched=numbers(len(trajectories), -2, 3).masked_fill(torch.tensor(in_statistics) < 1, torch.nan),
        entropy=numbers(num_tokens, 0, 3),
        sampled_entropy=numbers(num_tokens, 0, 3),
        bootstraps=(bootstraps := [draw(st.integers(0, 3)) == 0 for _ in trajectories]),
        value=(value := numbers(num_tokens, -1, 1)),
        current_value=value + numbers(num_tokens, -1, 1),
        value_at_start=(at_start := numbers(num_turns, -1, 1)),
        current_value_at_start=at_start + numbers(num_turns, -1, 1),
        value_at_end=numbers(num_turns, -1, 1),
        value_after=numbers(len(trajectories), -1, 1) * torch.tensor(bootstraps, dtype=torch.float64),
        step=draw(st.integers(0, 10)),
        learning_rate=0.5,
        num_steps=10,
        target=[draw(st.integers(5, 7)) for _ in range(num_tokens)],
        observation_class=[draw(st.integers(0, 2)) for _ in range(num_turns)],
        answer_class=[draw(st.integers(0, 2)) for _ in trajectories],
        singleton=draw(st.sampled_from(["zero", "raw"])),
    )
    read = {name: numbers(num_tokens, 0, 1) for name in PROBES}
    read["proxy-keeps"] = read["proxy-keeps"].round()
    view = view.with_fields(probes=read, sampled_probes={name: value.flip(0) for name, value in read.items()})
    return reordered(view, draw(st.integers(0, 2**31 - 1)))[0]
