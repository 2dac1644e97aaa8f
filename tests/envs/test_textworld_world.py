"""The world around the engine: what is listed, what an action may be, how episodes end, what happens to bad files."""

import dataclasses
import time
from pathlib import Path

import pytest

import agentrl
from agentrl.envs import textworld
from agentrl.envs.textworld import games
from agentrl.envs.textworld.challenges import LADDER, read
from agentrl.envs.textworld.text import NOT_A_VERB, room_of, shown
from agentrl.errors import ConfigError, DataError, WorldFailure
from agentrl.models.tiny.build import UNKNOWN, build_tokenizer
from agentrl.settings import from_mapping
from agentrl.types import Task
from tests.envs.episodes import play
from tests.envs.test_conformity import TEXTWORLD
from tests.envs.textworld_stock import written

PANEL = textworld.Config(**TEXTWORLD)


def one(kind, split="train"):
    return next(task for task in textworld.tasks(split, PANEL) if task.kind == kind)


def test_listing_a_panel_makes_no_game_and_is_quick(tmp_path):
    config = textworld.Config(cache=str(tmp_path), num_train=5000)
    begin = time.process_time()
    panel = textworld.tasks("train", config)
    assert len(panel) == len({task.id for task in panel}) == 5000 and time.process_time() - begin < 2
    assert not list(tmp_path.iterdir())


def test_panels_have_challenges_and_levels_in_turn_and_share_no_seed():
    panels = {split: textworld.tasks(split) for split in textworld.SPLITS}
    assert [len(panel) for panel in panels.values()] == [500, 100, 100]
    kinds = ("coin-collector", "treasure-hunter", "cooking")
    expected = [(kind, difficulty) for difficulty in (0, 0.25, 0.5) for kind in kinds]
    for panel in panels.values():
        assert [(task.kind, task.difficulty) for task in panel[:9]] == expected
    assert len({task.seed for panel in panels.values() for task in panel}) == 700
    assert textworld.tasks("valid", textworld.Config(panel=1))[0].id != panels["valid"][0].id


def test_a_challenge_may_carry_its_own_settings():
    config = textworld.Config(challenges=("coin-collector:210", "cooking:recipe=2+take=2+go=6+cook"), num_train=4)
    ids = [task.id for task in textworld.tasks("train", config)]
    assert [text.split("/")[0] for text in ids] == ["coin-collector:210", "cooking:recipe=2+take=2+go=6+cook"] * 2
    assert {task.difficulty for task in textworld.tasks("train", config)} == {None}
    assert read("cooking").word == "cooking:default" and read("cooking:default") == read("cooking")
    assert all(read(f"{name}:{level}") for name, levels in LADDER.items() for level in levels)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"challenges": ["coin-colector"]}, "did you mean 'coin-collector'"),
        ({"challenges": ["cooking:recip=2"]}, "did you mean 'recipe'"),
        ({"challenges": ["cooking:go=7"]}, "one of (1, 6, 9, 12)"),
        ({"challenges": ["cooking:take=2"]}, "more ingredients than its recipe"),
        ({"challenges": ["coin-collector:160"]}, "has 120 rooms"),
        ({"challenges": ["treasure-hunter:31"]}, "from 1 to 30"),
        ({"challenges": ["simple:rich"]}, "one of ('dense', 'balanced', 'sparse')"),
        ({"challenges": []}, "must not be empty"),
        ({"levels": [0]}, "from 1 to 5"),
        ({"num_valid": 0}, "at least 1"),
        ({"objective": "step"}, "did you mean 'steps'"),
        ({"max_steps": 0}, "at least 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, wrong):
    with pytest.raises(ConfigError) as raised:
        from_mapping(textworld.Config, settings)
    assert wrong in str(raised.value)


def test_the_goal_may_be_told_step_by_step():
    task = textworld.tasks("train", textworld.Config(challenges=("treasure-hunter:3",), objective="steps"))[0]
    assert task.data.steps and "/steps/" in task.id
    assert "cook THING" in textworld.instructions() and "cook" not in textworld.instructions(
        textworld.Config(challenges=("simple",))
    )


def test_case_and_white_space_do_not_matter_and_the_games_own_synonyms_count():
    task = one("cooking")
    _, results, _ = play(textworld.Env(PANEL), task, ["  INVENTORY ", "i", "x cookbook", "Examine  COOKBOOK", "l"])
    assert all(result.valid for result in results)
    assert results[0].observation.text == results[1].observation.text
    assert results[2].observation.text == results[3].observation.text


@pytest.mark.parametrize(
    "action",
    [
        *("save", "restore", "restart", "quit", "script", "print_state", "tw-print max_score", "restrict commands"),
        *("look. inventory", "look then inventory", "look\ninventory", "\x00look", "look\x00", "me, look", "undo", "g"),
        *("take " + "x" * 300, "[looking - succeeded]", "<score> 9 </score>", "Blick umher", "schaue", "é"),
    ],
)
def test_what_is_not_one_command_about_the_story_is_refused_and_costs_the_turn(action, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, results, outcome = play(textworld.Env(PANEL), one("coin-collector"), [action])
    assert not results[0].valid and results[0].observation.text == NOT_A_VERB
    assert results[0].reward == 0 and not outcome.success and not list(tmp_path.iterdir())


def test_the_score_is_paid_as_it_rises_or_the_win_alone():
    task = one("cooking")
    plan = textworld.solution(task)
    _, dense, won = play(textworld.Env(PANEL), task, plan)
    sparse_config = dataclasses.replace(PANEL, intermediate=False)
    _, sparse, also_won = play(textworld.Env(sparse_config), task, plan)
    assert sum(result.reward > 0 for result in dense) > 1 and won.score == also_won.score == 1.0
    assert [result.reward for result in sparse] == [0.0] * (len(plan) - 1) + [1.0]
    _, _, half = play(textworld.Env(PANEL), task, plan[:-1])
    assert 0 < half.score < 1 and not half.success


def test_a_lost_game_ends_without_success():
    task = one("cooking")
    plan = textworld.solution(task)
    cooked = next(command for command in plan if command.startswith("cook "))
    _, results, outcome = play(textworld.Env(PANEL), task, [*plan[: plan.index(cooked) + 1], cooked, "look"])
    assert results[-1].terminated and not outcome.success and outcome.score < 1
    assert "You lost" in results[-1].observation.text


def test_an_episode_is_cut_at_the_step_limit_and_refuses_more():
    env = textworld.Env(dataclasses.replace(PANEL, max_steps=2))
    _, results, _ = play(env, one("cooking"), ["look"] * 4)
    assert [result.truncated for result in results] == [False, True]
    with pytest.raises(WorldFailure, match="call reset"):
        env.step("look")
    with pytest.raises(WorldFailure, match="call reset"):
        textworld.Env(PANEL).step("look")
    with pytest.raises(ConfigError, match="not one of textworld's"):
        env.reset(Task("guess", "guess-1", "train", 1))


def test_every_observation_names_the_room_it_is_in():
    first, results, _ = play(textworld.Env(PANEL), one("coin-collector"), ["inventory"])
    assert first.visited and first.visited == results[0].observation.visited
    assert first.visited[0].title() in first.text
    assert (
        room_of("You see nothing.") is None
        and shown("\nYou see\n\n\nnothing.\n\n> -= Hall =-0/3") == "You see\nnothing."
    )


def test_a_damaged_cache_is_made_anew_and_one_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    ref = dataclasses.replace(one("treasure-hunter").data, cache=str(tmp_path / "cache"))
    calls = []
    kept = games.load(one("treasure-hunter").data)
    from agentrl.envs.textworld import generator

    monkeypatch.setattr(generator, "make", lambda ref: calls.append(ref) or kept)
    file = games.cached_file(ref)
    assert games._read(ref) == games._read(ref) == kept and len(calls) == 1 and file.is_file()
    whole = file.read_bytes()
    for damaged in (whole[:-9], whole[:200], b"", b"no game", whole[:99] + b"\0\0" + whole[101:]):
        file.write_bytes(damaged)
        assert games._read(ref) == kept and file.read_bytes() == whole
    assert [path.name for path in file.parent.iterdir()] == [file.name], "nothing half written is left"
    (tmp_path / "file").write_text("")
    assert games._read(dataclasses.replace(ref, cache=str(tmp_path / "file"))) == kept


def test_own_games_are_played_with_and_without_their_description(tmp_path):
    file = written(one("treasure-hunter").data, tmp_path)
    config = textworld.Config(games=str(tmp_path))
    task = textworld.tasks("valid", config)[0]
    assert task.id == f"valid/{file.name}" and task.kind == "own"
    _, _, outcome = play(textworld.Env(config), task, textworld.solution(task))
    assert outcome.success
    plan = textworld.solution(task)
    file.with_suffix(".json").unlink()
    assert textworld.solution(task) is None
    first, _, outcome = play(textworld.Env(config), task, plan)
    assert first.admissible is None and outcome.success and outcome.score == 1.0
    assert textworld.tasks("train", textworld.Config(games=str(file)))[0].id == f"train/{file.name}"


def test_own_games_may_have_a_folder_for_each_split(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        written(one("treasure-hunter").data, tmp_path / split)
    config = textworld.Config(games=str(tmp_path))
    assert [len(textworld.tasks(split, config)) for split in ("train", "valid")] == [1, 1]
    with pytest.raises(DataError, match="no games in .*test"):
        textworld.tasks("test", config)


def test_a_game_that_cannot_be_played_is_an_error_of_one_line(tmp_path):
    file = written(one("treasure-hunter").data, tmp_path)
    config = textworld.Config(games=str(tmp_path))
    task, whole = textworld.tasks("train", config)[0], file.read_bytes()
    for damaged in (b"", whole[:100_000], whole[:5000] + b"xx" + whole[5002:], b"Z" * 4000):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged"):
            textworld.Env(config).reset(task)
    file.write_bytes(whole)
    for description in ("{", "[]", '{"metadata": {}}', "{}"):
        file.with_suffix(".json").write_text(description)
        with pytest.raises(DataError, match="description"):
            textworld.Env(config).reset(task)
    file.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        textworld.Env(config).reset(task)
    with pytest.raises(DataError, match="no games in"):
        textworld.tasks("train", config)
    (tmp_path / "story.ulx").write_bytes(b"Glul")
    with pytest.raises(DataError, match="Glulx"):
        textworld.tasks("train", config)
    with pytest.raises(DataError, match="no such file"):
        textworld.tasks("train", textworld.Config(games=str(tmp_path / "nowhere")))


def test_a_seed_that_allows_no_game_is_passed_over_and_settings_that_allow_none_are_told(monkeypatch):
    from agentrl.envs.textworld import generator

    seeds, kept = [], games.load(one("treasure-hunter").data)

    def make(challenge, ref, seed, allowed=2):
        seeds.append(seed)
        if len(seeds) <= allowed:
            raise ValueError("no quest of this length")
        return kept

    ref = one("treasure-hunter", "valid").data
    monkeypatch.setattr(generator, "_made", make)
    assert generator.make(ref) == kept and len(set(seeds)) == 3
    assert {seed % 4 for seed in seeds} == {1} and max(seeds) < 2**32, "of the same split"
    seeds.clear()
    monkeypatch.setattr(generator, "_made", lambda *how: make(*how, allowed=99))
    with pytest.raises(DataError, match="cannot make treasure-hunter:3: no quest of this length"):
        generator.make(ref)


def test_a_tiny_model_knows_every_word_and_most_phrases():
    tokenizer = build_tokenizer(textworld.vocabulary())
    unknown = tokenizer.convert_tokens_to_ids(UNKNOWN)
    words = tokens = 0
    for split in textworld.SPLITS:
        for task in textworld.tasks(split, PANEL):
            first, results, _ = play(textworld.Env(PANEL), task, textworld.solution(task))
            for observation in (first, *(result.observation for result in results)):
                for text in (observation.text, *observation.admissible):
                    ids = tokenizer(text, add_special_tokens=False).input_ids
                    assert unknown not in ids, text
                words += len(observation.text.split())
                tokens += len(tokenizer(observation.text, add_special_tokens=False).input_ids)
                for command in observation.admissible:
                    ids = tokenizer(command, add_special_tokens=False).input_ids
                    assert tokenizer.decode(ids) == command
    assert tokens < 0.75 * words


def test_a_tiny_model_is_trained_on_the_real_engine_in_worker_processes(tmp_path):
    run = agentrl.train(
        env="textworld",
        algo="grpo",
        env_settings=TEXTWORLD,
        model="tiny-random",
        format="action",
        steps=2,
        rollout={"tasks_per_step": 2, "group_size": 2, "max_turns": 4, "max_new_tokens": 6, "workers": 1},
        validation={"num_tasks": 0},
        run_dir=tmp_path / "run",
    )
    assert len(list(Path(tmp_path / "run" / "trajectories").iterdir())) == 2 and run is not None


def test_the_doctor_says_whether_games_can_be_made(monkeypatch):
    from agentrl.cli import doctor

    ok = {finding.name: finding for finding in doctor._textworld_compiler()}
    assert ok["Inform"].level == "ok"
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    (finding,) = doctor._textworld_compiler()
    assert finding.level == "missing" and "ni and inform6 cannot be run" in finding.text and finding.remedy
