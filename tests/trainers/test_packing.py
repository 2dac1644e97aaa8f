"""A prompt that several sequences begin with is run once, and nothing else changes: numbers, gradients, cuts."""

from dataclasses import replace

import pytest
import torch

from agentrl.config import TrainerConfig
from agentrl.models.forward import hidden_states
from agentrl.registry import load
from agentrl.trainers import update
from agentrl.trainers.batch import Stretch, build_batch
from agentrl.trainers.composition import compose
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.packing import WORTH, num_tokens, packed_stream
from agentrl.trainers.update import Updater, flat_gradient
from tests.models import random_module
from tests.trainers.episodes import random_trajectories

PROMPT = tuple(range(3, 3 + WORTH + 4))
VOCAB = 40


def stretch(prompt, *replies, first=0):
    """A sequence of replies with one token seen between them."""
    ids, places = list(prompt), []
    for reply in replies:
        places += range(len(ids), len(ids) + len(reply))
        ids += [*reply, 2]
    return Stretch(tuple(ids), tuple(places), first)


def test_a_common_prompt_stands_once_and_every_token_is_predicted_after_the_one_before_it():
    pair = [stretch(PROMPT, [7, 8, 9]), stretch(PROMPT, [9], [6, 5]), stretch(PROMPT[:-1], [4])]
    stream = packed_stream(pair)
    assert stream.before == ((0, 0), (0, len(PROMPT)), (0, 0))
    assert len(stream.ids) == num_tokens(pair) == sum(len(s.ids) for s in pair) - len(PROMPT)
    asked = iter(stream.predicted_at.tolist())
    for number, one in enumerate(pair):
        shown = [*range(*stream.before[number]), *range(stream.starts[number], stream.starts[number + 1])]
        assert [int(stream.ids[i]) for i in shown] == list(one.ids)
        assert [int(stream.positions[i]) for i in shown] == list(range(len(one.ids)))
        assert [next(asked) for _ in one.places] == [shown[place - 1] for place in one.places]


def test_short_prompts_prompts_with_images_and_sequences_run_one_by_one_share_nothing():
    short, shown = stretch(PROMPT[: WORTH - 1], [7]), replace(stretch(PROMPT, [7]), images=("a",))
    for one in (short, shown):
        assert packed_stream([one, one]).before == () and num_tokens([one, one]) == 2 * len(one.ids)
    assert packed_stream([stretch(PROMPT, [7])] * 2, share=False).before == ()


def pairs(seed=1, prompt=PROMPT):
    """Groups of two that begin with the same prompt; some have further turns."""
    trajectories = random_trajectories(seed, vocab=VOCAB, groups=3, group_size=2, max_turns=3)
    for trajectory in trajectories:
        trajectory.turns[0].prompt_ids = [*prompt, int(trajectory.group.split("/")[-1]) + 5]
        trajectory.outcome = replace(trajectory.outcome, score=float(trajectory.rollout))
    return trajectories


def one_step(module, budget, share, monkeypatch, **settings):
    """The loss and the gradient of DPO."""
    with monkeypatch.context() as patch:
        if not share:
            patch.setattr(update, "packed_stream", lambda stretches, share: packed_stream(stretches, False))
        own = Updater(module, Optimiser(module, TrainerConfig()), micro_batch_tokens=budget, **settings)
        own.optimiser.zero_grad()
        batch, dpo = build_batch(pairs()), compose(load("algorithm", "dpo"))
        reference = own.evaluate(batch, with_entropy=False).logprob + torch.linspace(-1, 1, len(batch.target)).double()
        view = dpo.advantage(batch.view.with_fields(reference=reference))
        found = own.gradient(batch.with_view(view), dpo)
    return found, flat_gradient(module)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("qwen3", {}),
        ("mistral", {"sliding_window": 8}),
    ],
    ids=["closed form", "packed attention with a window"],
)
@pytest.mark.parametrize("budget", [10_000, 90, 20])
def test_losses_and_gradients_are_those_of_whole_sequences(architecture, settings, budget, monkeypatch):
    module = random_module(architecture, vocab=VOCAB, dtype=torch.float64, **settings)
    apart, gradient = one_step(module, 10_000, False, monkeypatch)
    shared, same = one_step(module, budget, True, monkeypatch)
    assert shared.passes == (2 if budget == 20 else 1)
    assert shared.loss == pytest.approx(apart.loss, abs=1e-12)
    torch.testing.assert_close(same, gradient, rtol=1e-8, atol=1e-10)


def test_a_shared_prompt_is_run_once(monkeypatch):
    lengths = []

    def counted(module, packed, *arguments, **named):
        lengths.append(len(packed.ids))
        return hidden_states(module, packed, *arguments, **named)

    module = random_module("qwen3", vocab=VOCAB, dtype=torch.float64)
    monkeypatch.setattr(update, "hidden_states", counted)
    for share in (False, True):
        one_step(module, 10_000, share, monkeypatch)
    whole = sum(len(s.ids) for s in build_batch(pairs()).stretches)
    assert lengths[0] == whole and lengths[-1] == whole - 3 * (len(PROMPT) + 1)
