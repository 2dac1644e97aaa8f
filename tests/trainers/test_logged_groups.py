"""Logged groups: the order in which a step gets them, numbers that are taken once, replies to other prompts."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from agentrl.trainers.batch import build_batch
from agentrl.trainers.drawing import by_group, drawn_groups
from agentrl.trainers.frozen_models import KeptNumbers
from agentrl.trainers.mismatched import mismatched, mismatched_log_ratio, partners
from tests.trainers.episodes import random_trajectories


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 9))
def test_every_group_comes_once_before_any_comes_again(num_groups, num, seed):
    groups = [[f"{number}a", f"{number}b"] for number in range(num_groups)]
    drawn, whole = [], []
    for step in range(3 * num_groups):
        one = drawn_groups(groups, num, seed, step)
        assert len(set(one)) == len(one) and len(one) <= 2 * num
        assert one == drawn_groups(groups, num, seed, step)
        drawn += one
        whole.append(len(one))
    counts = [drawn.count(f"{number}a") for number in range(num_groups)]
    assert min(counts) >= 1 and all(f"{n}a" in drawn[: 2 * num_groups * num] for n in range(num_groups))


def test_a_frozen_model_is_asked_once_for_each_trajectory_in_whatever_batch_it_comes():
    trajectories = random_trajectories(4, vocab=20, groups=4, group_size=2, max_turns=2)
    asked, kept = [], KeptNumbers()

    def measure(batch):
        asked.append(batch.view.num_trajectories)
        return -batch.target.double()

    first = build_batch([t for group in by_group(trajectories)[:2] for t in group])
    later = build_batch(list(reversed(trajectories)))
    assert torch.equal(kept.read(first, measure), -first.target.double())
    assert torch.equal(kept.read(later, measure), -later.target.double())
    assert torch.equal(kept.read(first, measure), -first.target.double())
    assert sum(asked) == len(trajectories) and len(asked) == 2


def test_a_mismatched_reply_is_one_of_another_group_and_the_same_in_any_order():
    trajectories = random_trajectories(5, vocab=20, groups=3, group_size=2, max_turns=2)

    def ratios(batch):
        found = mismatched_log_ratio(batch, lambda b: b.target.double(), lambda b: torch.ones(len(b.target)).double())
        return dict(zip(batch.view.key.tolist(), found.tolist(), strict=True))

    batch, turned = build_batch(trajectories), build_batch(list(reversed(trajectories)))
    group = batch.view.group_of_trajectory.tolist()
    assert all(group[other] != group[number] for number, other in enumerate(partners(batch.view)))
    assert ratios(batch) == ratios(turned)
    other, asked = mismatched(batch)
    prompt = batch.stretches[0].ids[: batch.stretches[0].places[0]]
    assert other.stretches[0].ids[: len(prompt)] == prompt and asked.tolist() == list(range(len(trajectories)))


def test_one_group_alone_has_no_mismatched_reply():
    batch = build_batch(random_trajectories(6, vocab=20, groups=1, group_size=3, max_turns=1))
    nothing = mismatched_log_ratio(batch, lambda b: b.target.double(), lambda b: b.target.double())
    assert bool(nothing.isnan().all()) and len(nothing) == 3
