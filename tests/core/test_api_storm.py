"""A server that misbehaves changes no score, loses no reply, and is not paid beyond a limit; the small form."""

import pytest

from agentrl.config import APIConfig
from tests.api_storm import FAULTS, Misbehaving, play
from tests.chat_server import Answer, reply
from tests.core.test_api_limits import calls_of

QUICK = tuple(fault for fault in FAULTS if fault != "hang")


@pytest.mark.parametrize("client", ["openai", "plain"])
def test_a_misbehaving_server_changes_no_score_and_loses_no_reply(tmp_path, client):
    settings = {"client": client, "timeout": 30.0}
    clean = play(Misbehaving(share=0.0, storm_every=0), tmp_path / "clean", 8, 2, 16, **settings)
    storm = play(Misbehaving(storm_every=40, faults=QUICK), tmp_path / "storm", 8, 2, 16, **settings)
    assert storm.problems(clean) == []
    assert len(set(storm.server.bad)) >= 6 and storm.server.bad["storm"] > 0


@pytest.mark.parametrize("limit", [30.0, 60.0])
def test_the_limit_in_money_is_never_exceeded_whatever_the_server_does(tmp_path, limit):
    faults = ("500", "lost", "cut", "malformed", "no choices", "html", "429")
    storm = play(Misbehaving(faults=faults), tmp_path / "storm", 12, 2, 24, client="plain", max_cost=limit)
    assert 0 < storm.server.owed <= storm.policy["cost"] + 1e-9
    assert 0.8 * limit < storm.policy["cost"] <= limit
    failed = [t.failure for t in storm.result.trajectories if t.failure]
    assert len(storm.scores) == 24 and failed and all("api.max_cost" in failure for failure in failed)


def test_a_server_that_hangs_is_left_and_asked_again():
    answers = [Answer(hangs=True), reply("x")]
    settings = APIConfig(timeout=0.2, backoff=0.0)
    policy, (completion,), calls = calls_of(lambda body, headers: answers.pop(0), settings)
    assert completion.text == "x" and len(calls) == 2 and policy.counts.failed == {"lost": 1}
    assert policy.budget.unknown_calls == 1
