"""Drawing tokens: even random numbers, right proportions, the edges of top-p and top-k, trees of candidates."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentrl.policies.sampling import Draw, continuations, draw, uniforms
from agentrl.seeds import seed_of

LOGITS = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()


def shares(logits, **settings):
    num = 1000
    temperature = settings.pop("temperature", 1.0)
    draws = [Draw(temperature, (i + 0.5) / num, **settings) for i in range(num)]
    ids, logprobs = draw(logits.expand(num, -1), draws)
    return {i: ids.count(i) / num for i in sorted(set(ids))}, dict(zip(ids, logprobs, strict=True))


def test_the_random_numbers_are_even_and_independent_of_seed_and_place():
    seeds = [seed_of("run", i) for i in range(200)]
    grid = np.array([uniforms([seed] * 100, range(100)) for seed in seeds])
    assert grid.min() >= 0 and grid.max() < 1
    assert abs(grid.mean() - 0.5) < 4 / math.sqrt(12 * grid.size)
    for neighbours in (grid[:-1] - grid[1:], grid[:, :-1] - grid[:, 1:]):  # a difference of two has variance 1 / 6
        assert abs(neighbours.var() - 1 / 6) < 0.005
    assert len(np.unique(grid)) == grid.size


@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 10**6)), min_size=1, max_size=9))
def test_a_random_number_depends_on_its_seed_and_counter_alone(pairs):
    together = uniforms([s for s, _ in pairs], [c for _, c in pairs])
    assert together.tolist() == [uniforms([s], [c])[0] for s, c in pairs]


def test_neighbouring_seeds_share_no_stream():
    step = 0x9E3779B97F4A7C15
    first, second = uniforms([5] * 50, range(50)), uniforms([(5 + step) % 2**64] * 50, range(50))
    assert not set(first) & set(second)


def test_tokens_come_in_their_proportions():
    share, logprob = shares(LOGITS)
    assert share == {0: 0.5, 1: 0.25, 2: 0.125, 3: 0.125}
    assert logprob[1] == pytest.approx(math.log(0.25))


def test_temperature_bends_the_proportions_and_the_logprobs():
    share, logprob = shares(LOGITS, temperature=0.5)  # squares: 16, 4, 1, 1 of 22
    assert share[0] == pytest.approx(16 / 22, abs=1e-3) and logprob[0] == pytest.approx(math.log(16 / 22), abs=1e-6)


def test_temperature_zero_takes_the_likeliest_with_its_logprob_at_one():
    share, logprob = shares(LOGITS, temperature=0.0)
    assert share == {0: 1.0} and logprob[0] == pytest.approx(math.log(0.5))


def test_top_k_keeps_the_likeliest_and_their_proportions():
    share, logprob = shares(LOGITS, top_k=2)
    assert share == {0: 0.667, 1: 0.333} and logprob[0] == pytest.approx(math.log(2 / 3))


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, {0}), (0.5, {0}), (0.6, {0, 1}), (0.75, {0, 1}), (1.0, {0, 1, 2, 3})]
)
def test_top_p_keeps_the_fewest_that_reach_it(top_p, kept):
    share, _ = shares(LOGITS.double(), top_p=top_p)
    assert set(share) == kept


def test_only_allowed_ids_are_drawn_in_proportion_among_themselves():
    share, logprob = shares(LOGITS, allowed=[3, 1])
    assert share == {1: 0.667, 3: 0.333} and logprob[3] == pytest.approx(math.log(1 / 3))


def test_rows_with_different_settings_are_drawn_together_as_alone():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 30, generator=generator)
    draws = [
        Draw(1.0, 0.3),
        Draw(0.7, 0.9, top_k=3),
        Draw(0.0, 0.5),
        Draw(1.3, 0.1, allowed=[4, 9, 2]),
        Draw(1.0, 0.6, top_p=0.4),
        Draw(1.0, 0.99, allowed=[7]),
    ]
    together = draw(logits, draws)
    alone = [draw(logits[i : i + 1], [one]) for i, one in enumerate(draws)]
    assert together[0] == [ids[0] for ids, _ in alone]
    assert together[1] == pytest.approx([values[0] for _, values in alone], abs=1e-6)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2.0**-53])
def test_the_ends_of_the_scale_give_tokens_that_can_be(uniform):
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])
    ((token,), (logprob,)) = draw(logits, [Draw(1.0, uniform)])
    assert token in (1, 2) and logprob == pytest.approx(math.log(0.5))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_that_are_not_finite_are_an_error(value):
    with pytest.raises(ArithmeticError, match="not finite"):
        draw(torch.tensor([[0.0, value]]), [Draw(1.0, 0.5)])


def test_double_precision_stays():
    logits = LOGITS.double()[None]
    _, (logprob,) = draw(logits, [Draw(1.0, 0.1)])
    assert logprob == logits.log_softmax(-1)[0, 0].item()


def test_candidates_become_a_tree_and_repeats_do_not_matter():
    assert continuations([(1, 2), (1, 3), (4,), (1, 2)]) == {1: {2: {}, 3: {}}, 4: {}}


@pytest.mark.parametrize("candidates", [[], [()], [(1,), (1, 2)], [(1, 2), ()]])
def test_candidates_of_which_one_could_not_end_are_an_error(candidates):
    with pytest.raises(ValueError, match="candidate"):
        continuations(candidates)
