"""The world of prompts: what of a file's rows it shows, and what is held out."""

import json
from pathlib import Path

import pytest

import agentrl
from agentrl.briefs import briefs_of
from agentrl.envs import prompts
from agentrl.errors import ConfigError, DataError, WorldFailure
from agentrl.logged_data import read_data
from agentrl.memory.full import Full
from agentrl.models.renderer import Renderer
from agentrl.models.tiny.build import build_tokenizer
from agentrl.prompts.action import BareAction, BareActionConfig
from agentrl.types import Observation, View
from tests.envs.episodes import play

FILE = Path(__file__).parent / "data" / "prompts.jsonl"
CONFIG = prompts.Config(data=str(FILE), held_out=0.4)


def every_task(config=CONFIG):
    return [task for split in prompts.SPLITS for task in prompts.tasks(split, config)]


def of_texts(folder, *texts):
    (folder / "texts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return prompts.Config(data=str(folder / "texts.jsonl"))


def shown(task, config, raw=False):
    """The messages of a task's first prompt."""
    brief = briefs_of(prompts, config)(task)
    first, _, _ = play(prompts.Env(config), task, [])
    view = Full().view(task, brief.instructions, [], first, brief.tools)
    return BareAction(BareActionConfig(raw=raw)).messages(view)


def test_a_prompt_is_one_task_however_many_rows_ask_it():
    assert len(every_task()) == 7 and len({task.id for task in every_task()}) == 7
    (twice,) = [task for task in every_task() if task.data.text == "Add 1 and 2."]
    assert prompts.solution(twice) == ["3"], "the first row's best answer"


def test_the_conversation_is_shown_as_it_stands():
    messages = {json.dumps(shown(task, CONFIG)) for task in every_task()}
    asked = {json.dumps(json.loads(line)["prompt"]) for line in FILE.read_text().splitlines()}
    assert messages == asked


def test_a_conversation_is_told_to_a_person_with_who_said_what():
    seen = Observation("And 1 more?", earlier=(("user", "Add 5 and 2."), ("assistant", "7")))
    assert seen.transcript == "[user] Add 5 and 2.\n\n[assistant] 7\n\n[user] And 1 more?"
    assert Observation("Add 1.").transcript == "Add 1."
    (task,) = [task for task in every_task() if task.data.earlier]
    assert task.data.observation == seen


def test_what_is_played_and_what_is_learned_from_is_the_same_prompt():
    renderer = Renderer(build_tokenizer(prompts.vocabulary(CONFIG)))
    learned = read_data(FILE, memory=Full(), format=BareAction(), renderer=renderer)
    played = {task.id: list(renderer.render(shown(task, CONFIG)).ids) for task in every_task()}
    assert {t.task.id: t.turns[0].prompt_ids for t in learned} == played


def test_a_raw_text_is_played_as_it_is_learned_from(tmp_path):
    row = {"prompt": "1 and 2 is", "chosen": " 3", "rejected": " 4"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    config = prompts.Config(data=str(tmp_path / "pairs.jsonl"))
    renderer = Renderer(build_tokenizer(prompts.vocabulary(config)))
    form = BareAction(BareActionConfig(raw=True))
    first, _ = read_data(config.data, memory=Full(), format=form, renderer=renderer)
    (task,) = prompts.tasks("train", config)
    messages = shown(task, config, raw=True)
    assert messages == [{"role": "raw", "content": "1 and 2 is"}]
    assert list(renderer.render(messages).ids) == first.turns[0].prompt_ids
    view = View(task, "", Observation("1 and 2 is"))
    assert form.parse(" 3", view).action == " 3" and not form.parse(" ", view).readable


def test_held_out_is_by_the_prompts_hash_so_that_more_data_move_none(tmp_path):
    config = of_texts(tmp_path, *(f"prompt {n}" for n in range(200)))
    before = {task.id for task in prompts.tasks("valid", config)}
    assert 8 <= len(before) <= 35
    config = of_texts(tmp_path, *(f"prompt {n}" for n in range(400)))
    assert before <= {task.id for task in prompts.tasks("valid", config)}, "and what has changed is read anew"


def test_of_few_prompts_each_split_has_one(tmp_path):
    for held_out in (1e-6, 1 - 1e-6):
        config = prompts.Config(data=of_texts(tmp_path, "a", "b", "c").data, held_out=held_out)
        sizes = sorted(len(prompts.tasks(split, config)) for split in prompts.SPLITS)
        assert sizes == [1, 2]


def test_a_text_as_a_whole_is_asked_for_by_its_first_words(tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"text": "one two three four  five six seven eight nine ten"}\n')
    (task,) = prompts.tasks("train", prompts.Config(data=str(tmp_path / "texts.jsonl")))
    assert task.data.text == "one two three four  five six seven eight"
    assert prompts.solution(task) == [" nine ten"]


def test_a_reply_ends_the_episode_and_is_not_judged_here():
    task = every_task()[0]
    env = prompts.Env(CONFIG)
    _, results, outcome = play(env, task, ["any reply"])
    assert results[0].terminated and results[0].valid and results[0].observation == Observation("")
    assert (outcome.success, outcome.score) == (False, 0.0)
    with pytest.raises(WorldFailure, match="step after the end of an episode"):
        play_on(env)


def play_on(env):
    import asyncio

    asyncio.run(env.step("again"))


def test_a_reward_of_ones_own_judges(tmp_path, monkeypatch):
    (tmp_path / "paying.py").write_text("def length(trajectory):\n    return len(trajectory.turns[0].action)\n")
    monkeypatch.syspath_prepend(tmp_path)
    result = agentrl.evaluate(
        env="prompts",
        env_settings={"data": str(FILE), "held_out": 0.4},
        format="action",
        policy="expert",
        reward="paying:length",
    )
    assert all(t.reward == len(t.turns[0].action) for t in result.trajectories) and result.trajectories


def test_a_tiny_model_knows_the_words_of_the_data_and_none_without_data():
    words = prompts.vocabulary(CONFIG)
    assert {"Add", "and", "brief", "three", "9", "?"} <= set(words.words)
    assert prompts.vocabulary().words == prompts.vocabulary(prompts.Config()).words == ()


def test_without_data_it_says_how_to_name_some(tmp_path):
    with pytest.raises(ConfigError, match="name a file of them: --data FILE"):
        prompts.tasks("train")
    with pytest.raises(DataError, match="line 2 is no JSON"):
        (tmp_path / "bad.jsonl").write_text('{"prompt": "a"}\n{\n')
        prompts.tasks("train", prompts.Config(data=str(tmp_path / "bad.jsonl")))
    assert len(prompts.tasks("train", prompts.Config(data=str(tmp_path / "bad.jsonl"), bad_rows="skip"))) == 1
    with pytest.raises(ConfigError, match="held_out is 1; it must be above 0 and below 1"):
        prompts.Config(held_out=1)
