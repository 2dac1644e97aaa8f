"""What calls may come to: at once, in a minute, in tokens and in money."""

import asyncio
import contextlib
import math
import random
from importlib import resources

import pytest
import yaml

from agentrl.config import APIConfig
from agentrl.errors import ConfigError, DataError, PolicyFailure
from agentrl.policies.api import APIPolicy
from agentrl.policies.api_answers import Usage
from agentrl.policies.api_limits import Budget, LimitReached, Pace
from agentrl.policies.api_prices import Price, price_of
from tests.chat_server import Answer, ChatServer, error, reply
from tests.core.test_api_answers import request

PRICE = Price(input=1.0, output=10.0, cached=0.5, currency="USD", date="2025-10-01")
PRICES = "date: 2026-01-02\ncurrency: EUR\nmodels:\n  fake: {input: 1000, cached: 100, output: 2000}\n"


@pytest.fixture
def prices(tmp_path):
    file = tmp_path / "prices.yaml"
    file.write_text(PRICES)
    return str(file)


def test_cost_counts_fresh_cached_and_output_tokens():
    # (100 - 40) * 1 + 40 * 0.5 + 7 * 10 = 150 millionths
    assert PRICE.of(Usage(100, 7, 40)) == pytest.approx(150e-6)


def test_every_packaged_price_says_when_and_where_it_was_seen():
    table = yaml.safe_load((resources.files("agentrl.policies") / "prices.yaml").read_text())
    assert table["models"] and table["currency"] == "USD"
    for name, told in table["models"].items():
        price = price_of(name)
        assert price is not None and price.date == str(told["seen"]) and price.date <= str(table["date"])
        assert table["sources"][told["source"]].startswith("https://")
        assert 0 < price.cached <= price.input <= price.output


def test_a_price_that_is_not_there_is_unknown_and_not_0(prices):
    assert price_of("no-such-model") is None and price_of("gpt-4o-mini", prices) is None
    haiku = price_of("claude-haiku-4-5-20251001")
    assert haiku.cached == haiku.input, "without a price of cached tokens they cost as much as any"


@pytest.mark.parametrize(
    "text", ["[]", "models: {}", "date: 1\nmodels: {}", "{", PRICES.replace("1000", "x"), PRICES.replace("1000", "-1")]
)
def test_a_file_that_is_none_of_prices_is_an_error_in_one_line(tmp_path, text):
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(DataError, match=r"prices\.yaml"):
        price_of("fake", str(file))


def test_a_limit_in_money_needs_a_known_price(prices):
    with pytest.raises(ConfigError, match="the price of 'fake' is not known"):
        APIPolicy("fake", "http://127.0.0.1:1/v1", APIConfig(max_cost=1.0))
    APIPolicy("fake", "http://127.0.0.1:1/v1", APIConfig(max_cost=1.0, prices=prices))


@pytest.mark.parametrize("seed", range(5))
def test_no_limit_is_exceeded_at_any_concurrency(seed):
    drawn = random.Random(seed)

    async def run():
        budget, highest = Budget(max_tokens=5_000, max_cost=0.02, price=PRICE), [0, 0.0]

        async def call():
            with contextlib.suppress(LimitReached):
                held = await budget.reserve(drawn.randint(1, 200), drawn.randint(1, 100))
                for _ in range(drawn.randint(0, 3)):
                    await asyncio.sleep(0)
                usage = Usage(drawn.randint(0, held.input), drawn.randint(0, held.output))
                known = drawn.random() < 0.8
                budget.settle(held, usage if known else None, paid=drawn.random() < 0.5)
                highest[:] = max(highest[0], budget.tokens), max(highest[1], budget.cost)

        await asyncio.gather(*(call() for _ in range(300)))
        return highest

    tokens, cost = asyncio.run(run())
    assert 0.9 * 5_000 < tokens <= 5_000 or 0.018 < cost <= 0.02
    assert tokens <= 5_000 and cost <= 0.02


def test_a_call_waits_for_what_others_may_give_back():
    async def run():
        budget = Budget(max_tokens=100)
        first = await budget.reserve(60, 30)
        second = asyncio.create_task(budget.reserve(20, 10))
        await asyncio.sleep(0)
        waits = not second.done()
        budget.settle(first, Usage(20, 5))
        await second
        return waits, budget.tokens

    assert asyncio.run(run()) == (True, 25)


def test_a_call_whose_usage_never_became_known_counts_with_its_worst_case():
    async def run():
        budget = Budget(price=PRICE)
        budget.settle(await budget.reserve(10, 5), None)
        budget.settle(await budget.reserve(10, 5), None, paid=False)
        return budget.tokens, budget.cost, budget.unknown_calls

    assert asyncio.run(run()) == (15, pytest.approx(60e-6), 1)


def test_calls_at_once_are_halved_by_a_busy_server_once_for_all_on_their_way_and_grow_by_one_a_round():
    pace = Pace(64)
    pace.too_busy(entered=1.0, wait=0.0)
    pace.too_busy(entered=1.0, wait=0.0)  # was on its way when the first one came back
    assert pace.limit == 32
    pace.too_busy(entered=math.inf, wait=0.0)
    assert pace.limit == 16
    for _ in range(16):
        pace.went_well()
    assert 16.9 < pace.limit <= 17
    for _ in range(10_000):
        pace.went_well()
    assert pace.limit == 64


def test_no_more_calls_are_made_at_once_than_allowed():
    async def run():
        pace, now, most = Pace(3), 0, 0

        async def call():
            nonlocal now, most
            await pace.enter(0)
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1
            pace.leave(0, None)

        await asyncio.gather(*(call() for _ in range(20)))
        return most, pace.busy

    assert asyncio.run(run()) == (3, 0)


def test_a_cancelled_wait_gives_its_turn_to_the_next():
    async def run():
        pace = Pace(1)
        await pace.enter(0)
        first, second = asyncio.create_task(pace.enter(0)), asyncio.create_task(pace.enter(0))
        await asyncio.sleep(0)
        pace.leave(0, None)
        first.cancel()
        await asyncio.wait_for(second, 1)
        return pace.busy

    assert asyncio.run(run()) == 1


@pytest.mark.parametrize("limits", [{"requests_per_minute": 6_000}, {"tokens_per_minute": 600_000}])
def test_calls_are_spread_over_the_minute(limits):
    async def run():
        loop, pace = asyncio.get_running_loop(), Pace(8, **limits)
        started = loop.time()

        async def call():
            waited = await pace.enter(100)
            pace.leave(100, 100)
            return waited

        waited = await asyncio.gather(*(call() for _ in range(11)))
        return loop.time() - started, max(waited)

    took, waited = asyncio.run(run())  # the first at once, ten more each 10 ms after the one before
    assert took >= 0.09 and 0.05 < waited <= took


def calls_of(answer, settings, num=1, concurrency=64):
    """The policy after `num` replies were asked for at once, what came of each, and what the server was sent."""

    async def run():
        async with ChatServer(answer) as server:
            policy = APIPolicy("fake", server.url, settings, concurrency=concurrency)
            asked = (policy.generate(request(seed=n, max_new_tokens=5)) for n in range(num))
            try:
                return policy, await asyncio.gather(*asked, return_exceptions=True), server.calls
            finally:
                await policy.close()

    return asyncio.run(run())


@pytest.mark.parametrize("client", ["openai", "plain"])
def test_a_storm_of_429_is_outlasted_and_uses_up_no_tries(client):
    left = [20]

    def storm(body, headers):
        left[0] -= 1
        return error(429, "slow down") if left[0] >= 0 else reply("x")

    policy, found, calls = calls_of(storm, APIConfig(client=client, backoff=0.0, tries=1), num=4)
    assert [completion.text for completion in found] == ["x"] * 4 and len(calls) == 24
    assert policy.counts.failed == {"429": 20} and policy.counts.replies == 4 and policy.counts.calls == 24
    assert policy.pace.limit < 64


def test_what_a_busy_server_asks_for_is_waited_for_and_told_apart():
    answers = [Answer(429, b"{}", {"Retry-After": "0.05"}), reply("x")]
    policy, (completion,), _ = calls_of(lambda body, headers: answers.pop(0), APIConfig(backoff=9.0))
    assert 0.05 <= completion.waited < 5 and policy.counts.waited == pytest.approx(completion.waited)


def test_a_server_that_asks_for_too_long_is_not_waited_for():
    busy = Answer(429, b'{"error": {"message": "tomorrow"}}', {"Retry-After": "86400"})
    _, (failure,), calls = calls_of(lambda body, headers: busy, APIConfig())
    assert isinstance(failure, PolicyFailure) and "tomorrow" in str(failure) and len(calls) == 1


def test_an_account_without_credit_fails_at_once():
    _, (failure,), calls = calls_of(lambda body, headers: (429, {"error": {"code": "insufficient_quota"}}), APIConfig())
    assert isinstance(failure, PolicyFailure) and len(calls) == 1


def test_the_money_limit_holds_and_each_reply_tells_its_cost(prices):
    usage = {"prompt_tokens_details": {"cached_tokens": 1}}
    settings = APIConfig(max_cost=3.0, prices=prices)
    policy, found, calls = calls_of(lambda body, headers: reply("x", **usage), settings, num=200)
    replies = [one for one in found if not isinstance(one, Exception)]
    assert [one.cost for one in replies] == pytest.approx([(10 * 1000 + 100 + 3 * 2000) / 1e6] * len(replies))
    assert all(isinstance(one, LimitReached | PolicyFailure) for one in found if isinstance(one, Exception))
    assert 0 < len(replies) < 200 and len(calls) == len(replies)
    assert policy.budget.cost == pytest.approx(sum(one.cost for one in replies)) and policy.budget.cost <= 3.0
    assert "api.max_cost is 3" in str(next(one for one in found if isinstance(one, Exception)))


def test_a_reply_of_unknown_price_has_no_cost():
    policy, (completion,), _ = calls_of(lambda body, headers: reply("x"), APIConfig())
    assert completion.cost is None and policy.usage()["cost"] is None
