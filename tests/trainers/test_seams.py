"""Two seams from end to end: a workspace episode is trained a sequence a turn; an API model's episodes are learned."""

import asyncio
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import agentrl
from agentrl.briefs import briefs_of
from agentrl.cli.main import main
from agentrl.config import APIConfig, RolloutConfig, TrainerConfig
from agentrl.envs import guess
from agentrl.errors import ConfigError, DataError
from agentrl.foreign import drawn, read_episodes, tokenised, trajectory_files
from agentrl.memory.full import Full
from agentrl.memory.workspace import Workspace
from agentrl.models.load import Model
from agentrl.policies.api import APIPolicy
from agentrl.policies.transformers_policy import TransformersPolicy
from agentrl.prompts.action import BareAction
from agentrl.prompts.report import ReportAndAction
from agentrl.records import read_trajectories, write_trajectories
from agentrl.registry import load
from agentrl.runner import Job, Runner
from agentrl.trainers.batch import build_batch
from agentrl.trainers.composition import compose
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.step_metrics import sampler_difference
from agentrl.trainers.update import Updater, flat_gradient
from agentrl.types import Completion, Trajectory
from tests.chat_server import ChatServer, error, reply
from tests.models import tiny_model
from tests.trainers.test_resume import StopAfter
from tests.trainers.toy import NUMBERS, WORDS, final_weights, toy_settings

TAGGED = [
    "<report>low</report>",
    "<report>high</report>",
    *(f"<action>ask {n}</action>" for n in NUMBERS[:4]),
]


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model([*WORDS, *TAGGED], hidden=32)


def play(model: Model, memory: Any, format: Any, num: int, **rollout: Any) -> list[Trajectory]:
    """Episodes of the first two games in groups, sampled by the model."""
    settings = RolloutConfig(max_turns=4, max_new_tokens=4, max_context=512, concurrency=8, **rollout)

    async def run() -> list[Trajectory]:
        policy = TransformersPolicy(model, slots=8, max_context=512)
        try:
            runner = Runner(
                guess, policy, memory=memory, format=format, renderer=model.renderer, rollout=settings, seed=3
            )
            jobs = [Job(t, t.id, n) for t in guess.tasks("train")[:2] for n in range(num)]
            return await runner.run(jobs)
        finally:
            await policy.close()

    return asyncio.run(run())


def test_a_workspace_episode_is_trained_a_sequence_a_turn(model: Model) -> None:
    trajectories = play(model, Workspace(), ReportAndAction(), 3)
    turns = [turn for t in trajectories for turn in t.turns]
    assert any(len(t.turns) > 1 for t in trajectories) and not any(turn.continues for turn in turns)
    composition = compose(load("algorithm", "epo"), {"advantage": "raw-return"}, {"epo": {"entropy_coef": 0.1}})
    batch = build_batch(trajectories)
    said = [turn for turn in turns if turn.completion.token_ids]
    assert len(batch.stretches) == len(said), "a sequence a turn"
    assert [list(s.ids) for s in batch.stretches] == [turn.prompt_ids + turn.completion.token_ids for turn in said]

    updater = Updater(model.module, Optimiser(model.module, TrainerConfig(lr=1e-3)))
    known = updater.evaluate(batch)
    assert batch.view.sampled is not None
    found = sampler_difference(batch.view.sampled, known.logprob)
    assert found["sampler_difference/mean"] <= 1e-6 and found["sampler_difference/max"] <= 1e-4
    batch = batch.with_view(composition.advantage(batch.view))
    updater.optimiser.zero_grad()
    updater.gradient(batch, composition)
    gradient = flat_gradient(model.module)
    assert bool(gradient.isfinite().all()) and float(gradient.norm()) > 1e-3
    before = {name: p.detach().clone() for name, p in model.module.named_parameters()}
    updater.step(batch, composition, 1.0)
    changed = [name for name, p in model.module.named_parameters() if not torch.equal(p, before[name])]
    assert changed, "one update changes weights"
    with torch.no_grad():
        for name, parameter in model.module.named_parameters():
            parameter.copy_(before[name])


def test_a_report_that_was_written_is_shown_in_the_next_prompt() -> None:
    said = ["<report>low</report> <action>ask 1</action>", "<report>high</report> <action>ask 2</action>"]
    first, second, third = from_api(Workspace(), ReportAndAction(), [*said, "<action>ask 3</action>"], num=1)[0].turns
    assert (first.report, second.report, third.report) == ("low", "high", None)
    renderer = tiny_model([*WORDS, *TAGGED, "low", "high"]).renderer
    written = tokenised([one(first, second, third)], Workspace(), ReportAndAction(), renderer)[0]
    shown = [renderer._decode(turn.prompt_ids) for turn in written.turns]
    assert "high" not in shown[1] and " low " in shown[1] and " high " in shown[2] and " low " not in shown[2]


def one(*turns: Any) -> Trajectory:
    """An episode of `guess` that was cut after these turns."""
    outcome = agentrl.Outcome(success=False, score=0.0)
    return Trajectory(guess.tasks("train")[0], "g", 0, list(turns), None, outcome, "turn_limit", source="api")


def from_api(memory: Any, format: Any, replies: list[str], num: int = 4) -> list[Trajectory]:
    """Games played through the API policy by a server that says these replies in turn, over and over."""

    async def run() -> list[Trajectory]:
        said = itertools.cycle(replies)
        async with ChatServer(lambda body, headers: reply(next(said))) as server:
            policy = APIPolicy("teacher", server.url, APIConfig(backoff=0.0))
            rollout = RolloutConfig(max_turns=3, concurrency=1)
            runner = Runner(guess, policy, memory=memory, format=format, rollout=rollout)
            try:
                return await runner.run([Job(t, t.id) for t in guess.tasks("train")[:num]])
            finally:
                await policy.close()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an evaluation of an API model wrote: four games of 1, then 2, then 3, which is none of the numbers."""
    folder = tmp_path_factory.mktemp("teacher") / "judged"

    def answer(body: dict[str, Any], headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        said = sum(message["role"] == "assistant" for message in body["messages"])
        return reply(f"ask {1 + said}")

    async def run() -> None:
        async with ChatServer(answer) as server:
            settings: dict[str, Any] = {"policy": "api:teacher", "base_url": server.url, "split": "train"}
            settings |= {"format": "action", "rollout": {"max_turns": 3}, "episodes": 4, "out": str(folder)}
            await asyncio.to_thread(agentrl.evaluate, env="guess", **settings)

    asyncio.run(run())
    return folder / "trajectories" / "step-000000.jsonl.gz"


def test_an_api_episode_is_stored_and_tokenised_once_on_entry(taught: Path, model: Model) -> None:
    stored = read_trajectories(taught)
    assert len(stored) == 4 and {t.source for t in stored} == {"api"} and not any(t.turns[0].prompt_ids for t in stored)
    found = tokenised(stored, Full(), BareAction(), model.renderer, briefs_of(guess, guess.Config()))
    for trajectory, entered in zip(stored, found, strict=True):
        assert entered.source == "api" and [turn.continues for turn in entered.turns] == [False, True, True]
        whole = [i for turn in entered.turns for i in (*turn.prompt_ids, *turn.completion.token_ids)]
        view = Full().view(entered.task, guess.instructions(), entered.turns, entered.final_observation)
        shown = model.renderer.render(BareAction().messages(view)).ids
        assert list(shown[: len(whole)]) == whole, "the very stream that the model would be shown"
        for before, turn in zip(trajectory.turns, entered.turns, strict=True):
            assert turn.completion.text == before.completion.text and turn.action == before.action
            assert turn.completion.token_ids == list(model.renderer.reply_ids(before.completion.text))
            assert turn.completion.logprobs is None and turn.learn


def test_an_api_episode_is_learned_by_sft(taught: Path, tmp_path: Path) -> None:
    settings = sft_settings(tmp_path, data=str(taught))
    run = agentrl.train(settings, run_dir=str(tmp_path / "run")).run_dir
    losses = [record["loss"] for record in records(run)]
    assert len(losses) == 6 and losses[-1] < losses[0] - 0.3 and sorted(losses, reverse=True) == losses
    (first, *_) = read_trajectories(run / "trajectories" / "step-000001.jsonl.gz")
    assert first.source == "api" and first.turns[0].completion.token_ids


def test_the_command_line_learns_from_a_folder_and_goes_on_after_a_stop(taught: Path, tmp_path: Path) -> None:
    settings = sft_settings(tmp_path)
    settings["trainer"] |= {"checkpoint_every": 1, "steps": 4}
    settings["rollout"] |= {"tasks_per_step": 3}
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(settings))
    words = ["train", "--config", str(tmp_path / "sft.yaml"), "--set", f"data={taught.parent.parent}", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        agentrl.train(settings, data=str(taught), run_dir=str(stopped), display=StopAfter(2))
    assert main(["train", "--resume", str(stopped), "--quiet"]) == 0
    assert final_weights(stopped) == final_weights(tmp_path / "run")
    assert [r["loss"] for r in records(stopped)] == [r["loss"] for r in records(tmp_path / "run")]


def sft_settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """The toy run as imitation of four episodes a step."""
    settings = toy_settings(folder, algo="sft", trainer={"steps": 6, "lr": 3e-3, "epochs": 1, "minibatches": 1})
    settings |= {"parts": {}, "settings": {}, "validation": {"num_tasks": 0}}
    settings["rollout"] |= {"tasks_per_step": 4}
    settings["trainer"] |= {"checkpoint_every": 10, "warmup_steps": 0}
    return settings | changes


def records(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "train"]


def test_episodes_come_each_once_before_any_again(taught: Path) -> None:
    episodes = read_episodes(taught)
    order = [t.task.id for step in range(4) for t in drawn(episodes, 3, seed=1, step=step)]
    assert all(len(set(order[start : start + 4])) == 4 for start in (0, 4, 8))
    assert order != [t.task.id for step in range(4) for t in drawn(episodes, 3, seed=2, step=step)]


def test_a_reply_that_was_cut_carries_no_loss(taught: Path, model: Model) -> None:
    (episode, *_) = read_trajectories(taught)
    episode.turns[1].completion.finish = "length"
    (entered,) = tokenised([episode], Full(), BareAction(), model.renderer)
    assert [turn.learn for turn in entered.turns] == [True, False, True]
    assert build_batch([entered]).view.trained.tolist() == [True] * 3 + [False] * 3 + [True] * 3


def test_replies_in_another_format_are_refused(taught: Path, model: Model) -> None:
    with pytest.raises(DataError, match="was played as 'ask 1', but the format ReportAndAction reads ''"):
        tokenised(read_trajectories(taught), Full(), ReportAndAction(), model.renderer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algo": "grpo"}, "algorithm 'grpo' plays its own episodes; data is for those that learn from others'"),
        ({"data": "nowhere"}, "data: there is no file or folder nowhere"),
        ({"demonstrations": 5}, "data and demonstrations exclude each other"),
        ({"env": "alfworld", "env_settings": {"num_valid": 1, "num_train": 1}}, "holds episodes of 'guess'"),
        ({"format": "tags"}, "use the format in which it was played"),
        ({"algo": "sft", "parts": {"modifiers": ["engine-correction"]}}, "demonstrations were not sampled"),
    ],
)
def test_what_cannot_be_learned_is_refused_before_anything_is_written(
    taught: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    settings = sft_settings(tmp_path) | {"data": str(taught)} | changes
    with pytest.raises((ConfigError, DataError), match=message):
        agentrl.train(settings, run_dir=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_folder_without_trajectories_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no trajectories; name a run directory"):
        trajectory_files(tmp_path)


def test_a_part_that_needs_sampled_log_probs_refuses_foreign_episodes(taught: Path, model: Model) -> None:
    entered = tokenised(read_trajectories(taught), Full(), BareAction(), model.renderer)
    composition = compose(load("algorithm", "grpo"), {"modifiers": ["+engine-correction"]}, {})
    for trajectories in (entered, [*entered[1:], sampled_like(entered[0])]):
        batch = build_batch(trajectories)
        with pytest.raises(ConfigError, match="'engine-correction' needs the log-probs of the engine that sampled"):
            composition.advantage(batch.view)
    sampled = build_batch([sampled_like(t) for t in entered])
    view = sampled.view.with_fields(old=sampled.view.sampled)
    advantage = composition.advantage(view).advantage
    assert advantage is not None and bool(advantage.isfinite().all())


def sampled_like(trajectory: Trajectory) -> Trajectory:
    """The same episode as if an engine had sampled it."""
    turns = []
    for turn in trajectory.turns:
        ids = turn.completion.token_ids
        turns.append(dataclasses.replace(turn, completion=Completion("", ids, [-1.0] * len(ids))))
    return dataclasses.replace(trajectory, turns=turns, source="sampled")


def test_a_server_that_fails_for_good_leaves_nothing_to_learn_from(tmp_path: Path) -> None:
    async def run() -> list[Trajectory]:
        async with ChatServer(lambda body, headers: error(400, "not like this")) as server:
            policy = APIPolicy("teacher", server.url, APIConfig(backoff=0.0))
            rollout = RolloutConfig(max_turns=3, tries=1)
            runner = Runner(guess, policy, memory=Full(), format=BareAction(), rollout=rollout)
            try:
                return await runner.run([Job(t, t.id) for t in guess.tasks("train")[:2]])
            finally:
                await policy.close()

    played = asyncio.run(run())
    assert {t.ended for t in played} == {"policy_failure"}
    write_trajectories(tmp_path / "failed.jsonl.gz", played)
    with pytest.raises(DataError, match="none of the 2 episodes in"):
        read_episodes(tmp_path / "failed.jsonl.gz")
