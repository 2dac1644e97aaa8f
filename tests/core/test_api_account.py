"""What a model behind an API has cost, over kills and resumes: limits hold, and no reply is paid for twice."""

import asyncio
import json

import pytest

import agentrl
from agentrl.config import APIConfig
from agentrl.errors import DataError
from agentrl.policies.api import APIPolicy
from agentrl.policies.api_account import Account
from agentrl.policies.api_record import CALLS
from tests.chat_server import ChatServer, halving
from tests.core.test_api_answers import request
from tests.eval.cut_short import cut, episodes, results

PRICES = "date: 2026-01-02\ncurrency: USD\nmodels:\n  fake: {input: 1000, cached: 500, output: 2000}\n"
COUNTS = {"replies": 3, "calls": 5, "failed": {"500": 1}, "waited_seconds": 2.0, "tokens": {"input": 33, "output": 9}}


def judged(out, **settings):
    """An evaluation against a server on this machine, and the number of calls that it got."""
    prices = out.parent / "prices.yaml"
    prices.write_text(PRICES, encoding="utf-8")
    settings["api"] = {"prices": str(prices)} | settings.pop("api", {})

    async def run():
        async with ChatServer(halving) as server:
            url = settings.pop("base_url", server.url)
            result = await asyncio.to_thread(
                agentrl.evaluate, env="guess", policy="api:fake", base_url=url, episodes=4, out=out, **settings
            )
            return result, len(server.calls)

    return asyncio.run(run())


def test_what_was_spent_is_read_again_with_calls_in_progress_at_their_worst(tmp_path):
    account = Account(tmp_path / "spending.json")
    assert account.before is None
    account.write(100, 0.25, 1, (40, 0.5, 2), COUNTS)
    again = Account(tmp_path / "spending.json")
    assert again.before == {"tokens": 140, "cost": 0.75, "unknown_calls": 3, "counts": COUNTS}
    assert json.loads((tmp_path / "spending.json").read_text())["held"] == [40, 0.5, 2]
    again.write(1, 0.0, 0, (0, 0.0, 0), {})
    assert Account(tmp_path / "spending.json").before["tokens"] == 1, "a shorter text leaves nothing of a longer one"


def test_a_damaged_account_is_an_error_and_not_nothing_spent(tmp_path):
    (tmp_path / "spending.json").write_text('{"schema": 1, "tok')
    with pytest.raises(DataError, match="what was spent cannot be read"):
        Account(tmp_path / "spending.json")


def test_a_policy_counts_on_where_the_account_ends(tmp_path):
    Account(tmp_path / "spending.json").write(100, 0.0, 0, (40, 0.0, 1), COUNTS)
    policy = APIPolicy("fake", "http://127.0.0.1:1/v1", APIConfig(max_tokens=150))
    policy.keep_account(tmp_path / "spending.json")
    assert policy.budget.tokens == 140
    assert policy.usage()["calls"] == 5 and policy.usage()["failed"] == {"500": 1, "killed": 1}
    with pytest.raises(agentrl.errors.PolicyFailure, match="api.max_tokens is 150 and 140 are spent"):
        asyncio.run(policy.generate(request()))


def test_replies_of_an_episode_that_was_cut_off_are_not_paid_for_again(tmp_path):
    first, asked = judged(tmp_path / "judged")
    assert asked > 8
    whole, played = results(tmp_path / "judged"), episodes(tmp_path / "judged")
    cut(tmp_path / "judged", 2, torn=b"{")
    again, asked_again = judged(tmp_path / "judged", resume=True)
    assert asked_again == 0 and again.usage["policy"] == first.usage["policy"]
    assert results(tmp_path / "judged") == whole and episodes(tmp_path / "judged") == played


def test_calls_of_episodes_that_are_over_are_not_made_again(tmp_path):
    judged(tmp_path / "judged")
    played = episodes(tmp_path / "judged")
    cut(tmp_path / "judged", 2)
    (tmp_path / "judged" / CALLS).unlink()
    _, asked = judged(tmp_path / "judged", resume=True)
    assert asked == sum(len(episode["turns"]) for episode in played[2:])
    assert episodes(tmp_path / "judged") == played


def test_the_limit_of_money_holds_over_a_resume_and_may_be_raised(tmp_path):
    first, _ = judged(tmp_path / "judged", rollout={"tries": 1})
    spent = first.usage["policy"]["cost"]
    cut(tmp_path / "judged", 0)
    (tmp_path / "judged" / CALLS).unlink()
    settings = {"resume": True, "rollout": {"tries": 1}}
    again, asked = judged(tmp_path / "judged", api={"max_cost": spent * 1.01}, **settings)
    assert again.all.failures == 4 and asked == 0 and again.usage["policy"]["cost"] == spent
    assert "is spent; another call may cost" in again.trajectories[0].failure
    raised, asked = judged(tmp_path / "judged", api={"max_cost": spent * 50}, **settings)
    assert raised.all.failures == 0 and raised.usage["policy"]["cost"] == pytest.approx(2 * spent)
