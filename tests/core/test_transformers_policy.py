"""The transformers policy: what it samples is what the model says, whatever is in the batch, the slots or the way."""

import asyncio
import itertools
import random
import subprocess
import sys
import threading

import pytest
import torch

from agentrl.errors import PolicyFailure
from agentrl.models.load import Model
from agentrl.policies.transformers_policy import TransformersPolicy
from agentrl.seeds import seed_of
from agentrl.types import Completion, Observation, Policy, Request, Sampling, Task, View
from tests.models import tiny_model

END = 2
VIEW = View(Task("guess", "t", "train", 0), "", Observation("x"))


def request(ids, episode="e", **sampling) -> Request:
    return Request(VIEW, (), tuple(ids), (), Sampling(**sampling), episode)


def ask(model: Model, *requests: Request, **settings) -> list[Completion]:
    """Replies of a fresh policy to requests that are made at once."""

    async def run():
        policy = TransformersPolicy(model, **{"slots": 16, "max_context": 512, **settings})
        try:
            return await asyncio.gather(*(policy.generate(r) for r in requests))
        finally:
            await policy.close()

    return asyncio.run(run())


def candidates(numbers: random.Random) -> tuple[tuple[int, ...], ...]:
    return tuple((*(numbers.randrange(5, 9) for _ in range(numbers.randrange(1, 5))), END) for _ in range(6))


async def episode(policy, number, *, turns=4, temperature=1.0, constrained=False, played=None, changes=lambda ids: ids):
    """A few turns that each go on where the last one ended; `changes` may rewrite what came before."""
    numbers = random.Random(number)
    ids = [0, *(numbers.randrange(5, 64) for _ in range(numbers.randrange(5, 60)))]
    for turn in range(turns):
        among = candidates(numbers) if constrained else None
        sampling = {"temperature": temperature, "max_new_tokens": 9, "seed": seed_of(number, turn), "candidates": among}
        completion = await policy.generate(request(ids, f"e{number}", **sampling))
        played.append((tuple(ids), completion))
        ids = changes(
            [*ids, *completion.token_ids, *(numbers.randrange(5, 64) for _ in range(numbers.randrange(1, 20)))]
        )
        for _ in range(numbers.randrange(4)):
            await asyncio.sleep(0)
    await policy.release(f"e{number}")


def play(model: Model, num_episodes=9, *, policy_settings=None, at_once=99, **settings):
    """(prompt, completion) of every turn of some episodes."""

    async def run():
        policy = TransformersPolicy(model, **{"slots": 16, "max_context": 512, **(policy_settings or {})})
        played, places = [], asyncio.Semaphore(at_once)

        async def one(number):
            async with places:
                await episode(policy, number, played=played, **settings)

        try:
            await asyncio.gather(*(one(number) for number in range(num_episodes)))
        finally:
            await policy.close()
        return played

    return asyncio.run(run())


@torch.no_grad()
def differences(model: Model, played, temperature=1.0) -> torch.Tensor:
    """Sampled log-probs less those of one plain forward pass over prompt and reply, at the same mask."""
    found = []
    for ids, completion in played:
        logits = model.module(torch.tensor([[*ids, *completion.token_ids]])).logits[0, len(ids) - 1 : -1]
        logits = logits / (temperature or 1.0)
        for row, allowed in zip(logits, completion.allowed or [], strict=False):
            blocked = torch.ones(len(row), dtype=torch.bool)
            blocked[allowed] = False
            row[blocked] = -torch.inf
        expected = logits.log_softmax(-1).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        found.append((expected - torch.tensor(completion.logprobs, dtype=expected.dtype)).abs())
    return torch.cat(found)


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.3, 0.0])
@pytest.mark.parametrize(("dtype", "mean", "most"), [(torch.float32, 1e-6, 1e-4), (torch.float64, 1e-9, 1e-9)])
def test_sampled_logprobs_are_those_of_a_plain_forward_pass(dtype, mean, most, temperature, constrained):
    model = tiny_model(dtype=dtype)
    played = play(model, temperature=temperature, constrained=constrained)
    error = differences(model, played, temperature)
    assert len(error) > 60
    assert error.mean() <= mean and error.max() <= most


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "mistral"])
def test_other_architectures_agree_too(architecture):
    model = tiny_model(architecture=architecture, **({"sliding_window": 16} if architecture == "mistral" else {}))
    assert differences(model, play(model, 5)).max() <= 1e-4


def test_a_reply_costs_only_what_is_new():
    played = play(tiny_model(), 1)
    for (ids, before), (_, completion) in itertools.pairwise(played):
        # The last token of a reply is not read until something follows it.
        assert completion.cached_tokens >= len(ids) + len(before.token_ids) - 1
    assert played[0][1].cached_tokens == 0


def test_more_episodes_than_slots_change_nothing_but_the_cost():
    model = tiny_model()
    few, many = play(model, policy_settings={"slots": 2}), play(model)
    assert {ids: c.token_ids for ids, c in few} == {ids: c.token_ids for ids, c in many}
    assert differences(model, few).max() <= 1e-4
    assert sum(c.cached_tokens for _, c in few) < sum(c.cached_tokens for _, c in many)


def test_a_history_that_changes_is_recomputed_from_where_it_differs():
    model = tiny_model()

    def forget_the_middle(ids):
        return [*ids[:4], *ids[9:]]

    played = play(model, changes=forget_the_middle)
    assert differences(model, played).max() <= 1e-4
    assert {c.cached_tokens for _, c in played[9:]} <= {4, 5, 6}  # two ids may be the same by chance


def test_tokens_do_not_depend_on_what_else_is_asked():
    model = tiny_model()
    alone, together = play(model, at_once=1), play(model)
    assert {ids: c.token_ids for ids, c in alone} == {ids: c.token_ids for ids, c in together}


def test_deterministic_replies_are_the_same_bit_for_bit_at_any_concurrency():
    model = tiny_model()
    settings = {"policy_settings": {"deterministic": True}, "turns": 2}
    alone, together = play(model, 5, at_once=1, **settings), play(model, 5, **settings)
    assert {ids: (c.token_ids, c.logprobs) for ids, c in alone} == {
        ids: (c.token_ids, c.logprobs) for ids, c in together
    }


def test_a_seed_gives_its_tokens_and_another_seed_others():
    model = tiny_model()
    requests = [request([0, 7, 8], f"e{i}", seed=seed, max_new_tokens=20) for i, seed in enumerate((1, 1, 2))]
    first, again, other = ask(model, *requests)
    assert first.token_ids == again.token_ids != other.token_ids


def test_greedy_takes_the_likeliest_token_each_time():
    model = tiny_model()
    (completion,) = ask(model, request([0, 7, 8], temperature=0.0, max_new_tokens=12))
    ids = [0, 7, 8]
    for token in completion.token_ids:
        with torch.no_grad():
            assert token == int(model.module(torch.tensor([ids])).logits[0, -1].argmax())
        ids.append(token)


def test_a_reply_ends_with_the_end_of_turn_or_is_marked_as_cut():
    model = tiny_model()
    replies = ask(model, *(request([0, 7, i], f"e{i}", seed=i, max_new_tokens=30) for i in range(5, 45)))
    assert {c.finish for c in replies} == {"stop", "length"}
    for completion in replies:
        assert (completion.token_ids[-1] == END) == (completion.finish == "stop")
        assert END not in completion.token_ids[:-1]
        assert (len(completion.token_ids) == 30) or completion.finish == "stop"
        assert "<end>" not in completion.text


def test_a_reply_is_cut_where_the_context_ends():
    (completion,) = ask(tiny_model(), request([0, *range(5, 35)], seed=4, max_new_tokens=40), max_context=33)
    assert len(completion.token_ids) == 2 and completion.finish == "length"


def test_constrained_replies_are_among_the_candidates():
    model, among = tiny_model(), ((7, 8, END), (7, 9, 10, END), (11, END))
    replies = ask(model, *(request([0, 5, 6], f"e{i}", seed=i, candidates=among) for i in range(40)))
    assert {tuple(c.token_ids) for c in replies} == set(among)
    assert {c.finish for c in replies} == {"stop"}
    for completion in replies:
        assert completion.allowed[0] == [7, 11]
        assert completion.allowed[1:] == {7: [[8, 9], [END]], 11: [[END]]}[completion.token_ids[0]] or (
            completion.allowed[1:] == [[8, 9], [10], [END]]
        )


def test_a_token_without_alternative_has_logprob_zero_and_its_place_in_the_record():
    among = ((7, 8, END), (7, 8, 9, END))
    for completion in ask(tiny_model(), *(request([0, 5], f"e{i}", seed=i, candidates=among) for i in range(4))):
        assert completion.logprobs[:2] == [0.0, 0.0] and completion.logprobs[2] < 0
        assert completion.allowed[:3] == [[7], [8], [END, 9]]


def test_a_single_candidate_is_said_without_the_model():
    (completion,) = ask(tiny_model(), request([0, 5], candidates=((7, 8, END),)))
    assert (completion.token_ids, completion.logprobs) == ([7, 8, END], [0.0, 0.0, 0.0])
    assert completion.finish == "stop" and len(completion.versions) == 3


def test_constrained_replies_are_drawn_in_proportion_to_the_masked_distribution():
    model, among, num = tiny_model(), ((7, END), (8, END), (9, END)), 600
    replies = ask(model, *(request([0, 5], f"e{i}", seed=i, candidates=among) for i in range(num)))
    with torch.no_grad():
        expected = model.module(torch.tensor([[0, 5]])).logits[0, -1, [7, 8, 9]].softmax(-1)
    share = torch.tensor([sum(c.token_ids[0] == i for c in replies) / num for i in (7, 8, 9)])
    assert (share - expected).abs().max() < 4 * (0.25 / num) ** 0.5


def test_after_an_update_no_old_key_or_value_is_used():
    model = tiny_model()

    async def run():
        policy, played, numbers = TransformersPolicy(model, slots=4, max_context=512), [], random.Random(0)
        ids = [0, *range(5, 40)]
        for version in range(3):
            completion = await policy.generate(request(ids, seed=version, max_new_tokens=6))
            assert completion.versions == [version] * len(completion.token_ids)
            assert completion.cached_tokens == 0
            error = differences(model, [(tuple(ids), completion)])
            assert error.max() <= 1e-4
            with torch.no_grad():
                for weight in model.module.parameters():
                    weight.add_(0.02 * torch.randn_like(weight))
            policy.new_weights(version + 1)
            ids = [*ids, *completion.token_ids, numbers.randrange(5, 64)]
            played.append(completion)
        await policy.close()

    asyncio.run(run())


def test_a_reply_in_progress_goes_on_with_new_weights():
    """Changes the weights between two tokens of a reply: from inside the model, while the policy's thread waits."""
    model = tiny_model()
    held, go_on = threading.Event(), threading.Event()
    passes = []

    def stop_at_the_fourth(module, args, kwargs, output):
        passes.append(kwargs["input_ids"].shape[1])
        if len(passes) == 4:
            held.set()
            go_on.wait(60)

    async def run():
        policy = TransformersPolicy(model, slots=2, max_context=256)
        hook = model.module.model.register_forward_hook(stop_at_the_fourth, with_kwargs=True)
        reply = asyncio.ensure_future(policy.generate(request([0, 5, 6, 7], seed=11, max_new_tokens=12)))
        await asyncio.to_thread(held.wait, 60)
        change = asyncio.ensure_future(asyncio.to_thread(policy.new_weights, 1))
        while not policy._engine.turn.locked():  # the change is waiting before the pass goes on
            await asyncio.sleep(0)
        go_on.set()
        await change
        completion = await reply
        hook.remove()
        await policy.close()
        return completion

    completion = asyncio.run(run())
    changed = completion.versions.index(1)
    assert completion.versions == sorted(completion.versions) and 4 <= changed < len(completion.versions)
    assert 4 + changed in passes, "the prompt and what was sampled were not read again"


def test_released_episodes_free_their_slots():
    async def run():
        policy = TransformersPolicy(tiny_model(), slots=8, max_context=512)
        await asyncio.gather(*(episode(policy, number, turns=2, played=[]) for number in range(6)))
        await policy.generate(request([0, 5], "last", max_new_tokens=1))  # the thread has seen every release before
        engine = policy._engine
        assert list(engine.slots) == ["last"] and list(engine.decoder.pools.pools) == [512]
        await policy.close()

    asyncio.run(run())


def test_a_reply_that_is_given_up_frees_its_place():
    async def run():
        policy = TransformersPolicy(tiny_model(), slots=1, max_context=4096)
        long = asyncio.ensure_future(policy.generate(request([0, 5], "long", max_new_tokens=4000, seed=1)))
        await asyncio.sleep(0)
        long.cancel()
        await policy.release("long")
        completion = await policy.generate(request([0, 6], "other", max_new_tokens=2))
        assert completion.token_ids
        await policy.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (request([]), "at least one id"),
        (request([0, 64]), "does not know"),
        (request([0, -1]), "does not know"),
        (request(range(64), max_new_tokens=2), "leaves no room"),
        (request([0], candidates=()), "no candidates"),
        (request([0], candidates=((7,), (7, 8))), "beginning of another"),
        (Request(VIEW, (), (0, 5), (b"png",), Sampling(), "e"), "images"),
        (Request(VIEW, (), None, (), Sampling(), "e"), "at least one id"),
    ],
)
def test_a_request_that_cannot_be_met_is_a_failure_that_says_why(asked, message):
    with pytest.raises(PolicyFailure, match=message):
        ask(tiny_model(), asked, max_context=64)


def test_an_error_in_the_model_fails_the_requests_and_not_the_policy():
    model = tiny_model()

    async def run():
        policy = TransformersPolicy(model, slots=4, max_context=256)
        weight = model.module.model.norm.weight
        weight.data.fill_(torch.nan)
        results = await asyncio.gather(
            *(policy.generate(request([0, i], f"e{i}")) for i in (5, 6)), return_exceptions=True
        )
        assert all(isinstance(r, PolicyFailure) and "not finite" in str(r) for r in results)
        weight.data.fill_(1.0)
        played = []
        await episode(policy, 3, played=played)
        assert differences(model, played).max() <= 1e-4
        await policy.close()

    asyncio.run(run())


def test_a_closed_policy_fails_what_waits_and_what_comes():
    async def run():
        policy = TransformersPolicy(tiny_model(), slots=1, max_context=4096)
        waiting = [
            asyncio.ensure_future(policy.generate(request([0, 5], f"e{i}", max_new_tokens=4000, seed=i)))
            for i in range(3)
        ]
        await asyncio.sleep(0)
        await policy.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert any(isinstance(r, PolicyFailure) for r in results)
        with pytest.raises(PolicyFailure, match="closed"):
            await policy.generate(request([0, 5]))
        await policy.close()

    asyncio.run(run())
    assert not [t for t in threading.enumerate() if t.name == "agentrl-sampler" and t.is_alive()]


def test_a_policy_that_is_dropped_ends_its_thread():
    before = {t for t in threading.enumerate() if t.name == "agentrl-sampler"}
    TransformersPolicy(tiny_model(), slots=1, max_context=64)
    assert not {t for t in threading.enumerate() if t.name == "agentrl-sampler"} - before


def test_the_interpreter_exits_while_a_policy_is_in_use():
    code = """if True:
        import asyncio, torch
        from tests.core.test_transformers_policy import TransformersPolicy, request, tiny_model
        policy = TransformersPolicy(tiny_model(), slots=4, max_context=9000)
        async def run():
            reply = asyncio.ensure_future(policy.generate(request([0, 5], max_new_tokens=8000, seed=1)))
            await asyncio.sleep(0)
            print("leaving")
        asyncio.run(run())
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "leaving\n", "")


@pytest.mark.parametrize("architecture", ["bloom", "mamba"])
def test_models_that_slots_cannot_run_are_run_plainly(architecture):
    sizes = {"n_head": 4, "n_layer": 2} if architecture == "bloom" else {}
    model = tiny_model(architecture=architecture, **sizes)

    async def run():
        policy = TransformersPolicy(model, slots=4, max_context=256)
        played = []
        await asyncio.gather(*(episode(policy, number, turns=2, played=played) for number in range(3)))
        await policy.close()
        return policy.path, played

    path, played = asyncio.run(run())
    assert path == "plain" and differences(model, played).max() <= 1e-4


def test_an_adapter_is_sampled_with():
    from agentrl.models.adapters import add_lora

    model = tiny_model()
    model.module = add_lora(model.module, 4, 8.0).eval()
    with torch.no_grad():
        for name, weight in model.module.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    assert model.has_adapter and differences(model, play(model, 4)).max() <= 1e-4


def test_bfloat16_is_near_enough_to_sample_with():
    model = tiny_model(dtype=torch.bfloat16)
    assert differences(model, play(model, 6)).mean() < 0.05


def test_it_is_a_policy_that_takes_ids():
    policy = TransformersPolicy(tiny_model(), slots=1, max_context=64)
    assert isinstance(policy, Policy) and policy.takes_ids and policy.path == "slots"
