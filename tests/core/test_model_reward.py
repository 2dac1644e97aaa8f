"""A reward model as the reward of a run: in the world's place, in batches, and never a number that was not scored."""

import asyncio
import dataclasses
import math

import pytest
import torch

from agentrl import api
from agentrl.config import RunConfig, resolve
from agentrl.envs import guess
from agentrl.episode import pay
from agentrl.errors import ConfigError, DataError, WorldFailure
from agentrl.model_reward import ModelReward, judged
from agentrl.models.polar_form import PolarForm
from agentrl.models.reward_model import RewardForm, RewardModel
from agentrl.own_reward import learning_from_reward, reward_of
from agentrl.policies.scripted import Expert
from agentrl.records import write_trajectories
from agentrl.rollout_metrics import summaries
from agentrl.runner import Job, Runner
from agentrl.types import Outcome
from tests.core.test_reward_model import episode
from tests.models import tiny_model
from tests.trainers.toy import WORDS

POLAR = RewardForm(form="polar", polar=PolarForm(separator="<act>", end="<end>"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two reward models of another vocabulary than any policy's: one that reads episodes, one that compares."""
    folder, found = tmp_path_factory.mktemp("rewards"), {}
    for name, form in (("episode", RewardForm()), ("polar", POLAR)):
        model = tiny_model([*WORDS, "further", "words"], hidden=32, seed=3)
        model.defaults = {"format": "action", "memory": "full"}
        reward = RewardModel.of(model, form)
        with torch.no_grad():
            reward.values.head.weight.copy_(torch.linspace(-1, 1, 32)[None])
        reward.save(folder / name)
        found[name] = folder / name
    return found


def config(folder, **settings):
    return resolve({"env": "guess", "format": "action", "reward": f"model:{folder}"}, settings)


def played(reward=None, num=4, **rollout):
    tasks = guess.tasks("train")[:num]
    settings = dataclasses.replace(RunConfig().rollout, **rollout)
    with Runner("guess", Expert(guess), format="action", reward=reward, rollout=settings) as runner:
        return runner.play(Job(task, task.id, k) for task in tasks for k in range(2))


def test_the_score_stands_in_the_worlds_place_and_both_are_kept(folders):
    for trajectory in played(ModelReward(folders["episode"], config(folders["episode"]))):
        proxy = trajectory.outcome.score
        assert trajectory.outcome.components == {"proxy": proxy, "world": 1.0}
        assert trajectory.outcome.success, "success stays the world's"
        assert trajectory.reward == pytest.approx(proxy) and proxy != 1


def test_episodes_that_come_together_are_scored_together(folders):
    reward = ModelReward(folders["episode"], config(folders["episode"]))
    sizes, score = [], reward._model.score_ids
    reward._model.score_ids = lambda ids, alone: sizes.append(len(ids)) or score(ids, alone=alone)
    scores = [t.outcome.score for t in played(reward, num=8)]
    assert sum(sizes) == 16 and len(sizes) < 8
    alone = ModelReward(folders["episode"], config(folders["episode"], rollout={"deterministic": True}))
    assert [t.outcome.score for t in played(alone, num=8)] == pytest.approx(scores, rel=1e-5)


def test_a_reward_serves_one_event_loop_after_the_other(folders):
    reward = ModelReward(folders["episode"], config(folders["episode"]))
    assert [t.outcome.score for t in played(reward)] == pytest.approx([t.outcome.score for t in played(reward)])


def test_what_the_model_cannot_score_is_an_infrastructure_failure_and_no_number(folders):
    reward = ModelReward(folders["episode"], config(folders["episode"]))

    def broken(ids, alone):
        raise RuntimeError("out of memory")

    reward._model.score_ids = broken
    for trajectory in played(reward, tries=2):
        assert trajectory.ended == "world_failure" and "out of memory" in trajectory.failure
        assert trajectory.outcome == Outcome(False, 0.0) and trajectory.tries == 2
    reward._model.score_ids = lambda ids, alone: torch.full((len(ids),), math.nan)
    assert {t.ended for t in played(reward, tries=1)} == {"world_failure"}


def test_an_episode_without_a_reply_is_one_too(folders):
    reward = ModelReward(folders["episode"], config(folders["episode"]))
    with pytest.raises(WorldFailure, match="no reply"):
        asyncio.run(reward(episode()))


def test_both_scores_are_logged(folders):
    found = summaries([dataclasses.replace(episode(("a", "b")), outcome=Outcome(True, 1.0))])
    assert "reward/proxy" not in found
    scored = [dataclasses.replace(t, outcome=judged(t, s)) for t, s in zip(played(num=1), (2.0, 3.0), strict=True)]
    found = summaries(scored)
    assert (found["reward/proxy"], found["reward/world"], found["success"]) == (2.5, 1.0, 1.0)


def test_a_reward_function_may_give_an_outcome_in_place_of_the_worlds():
    trajectory = episode(("a", "b"), ("c", "d"))
    trajectory.turns[0].reward = 5.0
    asyncio.run(pay(trajectory, lambda t: judged(t, 0.25), 1.0))
    assert [turn.reward for turn in trajectory.turns] == [0.0, 0.25] and trajectory.outcome.score == 0.25


def test_a_discriminator_compares_with_the_worlds_solution(folders):
    reward = ModelReward(folders["polar"], config(folders["polar"]))
    scores = [t.outcome.score for t in played(reward)]
    assert all(map(math.isfinite, scores))
    assert reward._solutions == {(task.id, task.seed): guess.solution(task)[0] for task in guess.tasks("train")[:4]}
    assert reward._playing == {}


def test_a_discriminator_compares_with_the_best_episodes_that_are_named(folders, tmp_path):
    best, other = episode(("a", "ask 3"), task="guess-100-0"), episode(("a", "ask 4"), task="guess-100-0")
    best.outcome = Outcome(True, 1.0)
    write_trajectories(tmp_path / "episodes.jsonl.gz", [other, best])
    named = config(folders["polar"], reward_settings={"references": str(tmp_path / "episodes.jsonl.gz")})
    reward = ModelReward(folders["polar"], named)
    assert reward._named == {"guess-100-0": "ask 3"}
    assert asyncio.run(reward._reference(other)) == "ask 3"
    own = dataclasses.replace(episode(("a", "ask 5")), reference="ask 9")
    assert asyncio.run(reward._reference(own)) == "ask 9", "that of the data comes first"


def test_a_name_that_is_no_reward_model_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(DataError, match="agentrl train --data"):
        learning_from_reward(config(tmp_path))
    with pytest.raises(DataError, match="agentrl train --data"):
        reward_of(config(tmp_path))


def test_an_algorithm_that_plays_nothing_takes_no_reward(folders):
    with pytest.raises(ConfigError, match="plays no episodes"):
        learning_from_reward(config(folders["episode"], algo="sft"))
    kept = config(folders["episode"], algo="grpo")
    assert learning_from_reward(kept) == kept, "returns stay: the score stands where they read it"


def test_it_is_named_in_evaluate_as_in_training(folders):
    result = api.evaluate(
        {"env": "guess", "format": "action", "rollout": {"max_turns": 2}},
        policy="expert",
        reward=f"model:{folders['episode']}",
        episodes=2,
    )
    assert [set(t.outcome.components) for t in result.trajectories] == [{"proxy", "world"}] * 2
