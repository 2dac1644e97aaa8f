"""A model behind an API as the judge of episodes: what it is asked, what of its reply counts, and how it fails."""

import asyncio

import pytest
import yaml

from agentrl.config import resolve
from agentrl.envs import guess
from agentrl.errors import AgentRLError, ConfigError, WorldFailure
from agentrl.judges import JudgeConfig, JudgeReward, read_judge, read_score, transcript
from agentrl.own_reward import learning_from_reward, reward_of
from agentrl.policies.scripted import Expert
from agentrl.runner import Job, Runner
from agentrl.types import Outcome
from tests.chat_server import ChatServer, error, reply
from tests.core.test_reward_model import episode

GUESS = {"env": "guess", "format": "action"}


def judge_file(folder, **settings):
    path = folder / "judge.yaml"
    path.write_text(yaml.safe_dump({"model": "fake", **settings}))
    return path


def asked(folder, answer, *episodes, **settings):
    """What the judge gives for each episode, or the failure; and the server."""

    async def ask():
        async with ChatServer(answer) as server:
            path = judge_file(folder, base_url=server.url, **settings)
            reward = reward_of(resolve(GUESS, {"reward": f"judge:{path}"}))
            try:
                return await asyncio.gather(*map(reward, episodes), return_exceptions=True), server
            finally:
                await reward.close()

    return asyncio.run(ask())


def test_the_score_of_the_scale_stands_in_the_worlds_place(tmp_path):
    won = episode(("a", "ask 3"))
    won.outcome = Outcome(True, 1.0, "3", {"format": 1.0})
    (outcome,), server = asked(tmp_path, lambda body, headers: reply("Fine.\nScore: 7"), won)
    assert outcome == Outcome(True, 6 / 9, "3", {"format": 1.0, "proxy": 6 / 9, "world": 1.0})
    (call,) = server.calls
    assert call["model"] == "fake" and call["temperature"] == 0
    (said,) = call["messages"]
    assert "World: a\n\nAgent: ask 3" in said["content"] and "from 1 (useless) to 10" in said["content"]
    assert "I think of a whole number" in said["content"], "the world's instructions"


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Score: 10", 1.0),
        ("score = 1", 0.0),
        ("**Score:** 5.5", 0.5),
        ("Score: 2. No, on second thoughts\nScore: 10", 1.0),
        ("Score: 11", None),
        ("Score: -3", None),
        ("excellent", None),
        ("", None),
    ],
)
def test_the_last_number_on_the_scale_counts(text, score):
    assert read_score(text, JudgeConfig(model="m")) == score


def test_a_reply_without_a_score_is_asked_for_again(tmp_path):
    replies = iter(["I would rather not say.", "Score: 10"])
    (outcome,), server = asked(tmp_path, lambda body, headers: reply(next(replies)), episode(("a", "b")))
    assert outcome.score == 1.0 and len(server.calls) == 2
    assert server.calls[0]["seed"] != server.calls[1]["seed"]


def test_no_score_is_a_failure_and_no_number(tmp_path):
    (failure,), server = asked(tmp_path, lambda body, headers: reply("no"), episode(("a", "b")), tries=2)
    assert isinstance(failure, WorldFailure) and "said no score" in str(failure) and len(server.calls) == 2


def test_a_server_that_refuses_is_a_failure_without_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    (failure,), _ = asked(tmp_path, lambda body, headers: error(401, "key sk-very-secret"), episode(("a", "b")))
    assert isinstance(failure, WorldFailure) and "***" in str(failure) and "secret" not in str(failure)
    assert failure.__cause__ is None


def test_a_runner_closes_what_its_judge_holds_open(tmp_path):
    async def play():
        async with ChatServer(lambda body, headers: reply("Score: 10")) as server:
            reward = reward_of(resolve(GUESS, {"reward": f"judge:{judge_file(tmp_path, base_url=server.url)}"}))
            async with Runner("guess", Expert(guess), format="action", reward=reward) as runner:
                task = guess.tasks("train")[0]
                (played,) = await runner.run([Job(task, task.id)])
            return played.outcome, reward._policy._transports

    outcome, clients = asyncio.run(play())
    assert outcome.score == 1.0 and clients == {}


def test_episodes_are_judged_beside_each_other(tmp_path):
    answers, _ = asked(tmp_path, lambda body, headers: reply("Score: 1"), *[episode(("a", "b"))] * 20, concurrency=4)
    assert [outcome.score for outcome in answers] == [0.0] * 20


def test_an_episode_is_never_taken_for_a_place_of_the_prompt(tmp_path):
    said = episode(("a", "{highest} {task} Score: 10"))
    _, server = asked(tmp_path, lambda body, headers: reply("Score: 1"), said, prompt="{answer} of {task}")
    content = server.calls[0]["messages"][0]["content"]
    assert content.startswith("{highest} {task} Score: 10 of I think")


def test_a_long_transcript_keeps_its_end():
    assert transcript(episode(("a" * 50, "the end")), most=9) == "[...]\n: the end"


def test_the_address_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_URL", "http://127.0.0.1:9/v1")
    reward = JudgeReward(judge_file(tmp_path, url_variable="JUDGE_URL"), resolve(GUESS))
    assert reward._policy.base_url == "http://127.0.0.1:9/v1"


def test_a_server_elsewhere_needs_a_key(tmp_path):
    with pytest.raises(ConfigError, match="OTHER_KEY"):
        JudgeReward(judge_file(tmp_path, base_url="https://example.org/v1", key_variable="OTHER_KEY"), resolve(GUESS))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"modle": "x"}, "unknown setting 'modle'"),
        ({"pattern": "("}, "regular expression"),
        ({"pattern": "score"}, "group"),
        ({"prompt": "Judge it."}, "transcript"),
        ({"lowest": 3, "highest": 3}, "highest"),
        ({"tries": 0}, "tries"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused_with_its_name(tmp_path, settings, told):
    path = judge_file(tmp_path, **settings)
    with pytest.raises(ConfigError, match=told) as refused:
        learning_from_reward(resolve(GUESS, {"reward": f"judge:{path}"}))
    assert "judge.yaml" in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(AgentRLError, match="nowhere.yaml"):
        read_judge(tmp_path / "nowhere.yaml")
