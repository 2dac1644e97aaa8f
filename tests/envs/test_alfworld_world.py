"""The world around the engines: where games come from, what an action may look like, how an episode ends."""

import json
import time

import pytest

from agentrl.envs import alfworld
from agentrl.envs.alfworld.sources import load_text
from agentrl.errors import ConfigError, DataError, WorldFailure
from agentrl.settings import from_mapping
from agentrl.types import Task
from tests.envs.episodes import OFFICIAL, official, play

NATIVE = alfworld.Config(engine="native", data="generated")


def unpacked(folder):
    """The sample of official games as the official folder tree."""
    for split in alfworld.SPLITS:
        for task in official(split):
            text = load_text(task.data)
            place = folder / "json_2.1.1" / task.id
            place.mkdir(parents=True)
            game = {"pddl_domain": text.domain, "grammar": text.grammar, "pddl_problem": text.problem}
            game |= {"solvable": True, "walkthrough": list(text.walkthrough)}
            (place / "game.tw-pddl").write_text(json.dumps(game))
    return folder


def test_a_folder_tree_and_compact_files_give_the_same_games(tmp_path):
    folder = unpacked(tmp_path)
    for split in alfworld.SPLITS:
        tree = alfworld.tasks(split, alfworld.Config(data=str(folder)))
        packed = official(split)
        assert sorted(t.id for t in tree) == sorted(t.id for t in packed)
        packed = {task.id: task for task in packed}
        for task in tree:
            assert load_text(task.data) == load_text(packed[task.id].data)
            assert (task.kind, task.seed) == (packed[task.id].kind, packed[task.id].seed)
            assert alfworld.solution(task) == alfworld.solution(packed[task.id])


def test_alfworld_data_is_used_only_where_it_holds_games(tmp_path, monkeypatch):
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    assert alfworld.tasks("train")[0].id == "generated/train/0"
    unpacked(tmp_path)
    assert alfworld.tasks("train")[0].id.startswith("train/pick_")
    assert alfworld.tasks("train", NATIVE)[0].id == "generated/train/0"
    monkeypatch.delenv("ALFWORLD_DATA")
    assert alfworld.tasks("train")[0].id == "generated/train/0"


def test_listing_thousands_of_games_is_quick_and_plays_none():
    begin = time.process_time()
    panel = alfworld.tasks("train", NATIVE)
    assert len(panel) == 3553 and time.process_time() - begin < 1


def test_task_types_filter_a_panel_and_keep_its_size():
    kinds = ("look_at_obj_in_light", "pick_two_obj_and_place")
    panel = alfworld.tasks("valid_seen", alfworld.Config(data="generated", task_types=kinds, num_valid=40))
    assert len(panel) == 40 and {task.kind for task in panel} == set(kinds)
    assert {task.kind for task in official("train", task_types=("pick_and_place_simple",))} == {"pick_and_place_simple"}


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"task_types": ["look_at_obj"]}, "did you mean 'look_at_obj_in_light'"),
        ({"engine": "textworld2"}, "did you mean 'textworld'"),
        ({"num_valid": -1}, "at least 0"),
        ({"num_train": 0}, "at least 1"),
        ({"max_steps": 0}, "at least 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, wrong):
    with pytest.raises(ConfigError, match=wrong):
        from_mapping(alfworld.Config, settings)


def test_missing_data_is_an_error_that_says_what_was_expected(tmp_path):
    for data, wrong in ((tmp_path, "holds no games"), (tmp_path / "nowhere", "is not a folder")):
        with pytest.raises(DataError, match=wrong) as raised:
            alfworld.tasks("train", alfworld.Config(data=str(data)))
        assert "game.tw-pddl" in str(raised.value) and "data=generated" in str(raised.value)
    (tmp_path / "train.jsonl.xz").write_bytes((OFFICIAL / "train.jsonl.xz").read_bytes())
    with pytest.raises(DataError, match="valid_seen.jsonl.xz is missing"):
        alfworld.tasks("valid_seen", alfworld.Config(data=str(tmp_path)))


def test_a_damaged_compact_file_is_an_error_of_one_line(tmp_path):
    for content in (b"no xz", (OFFICIAL / "train.jsonl.xz").read_bytes()[:-40]):
        folder = tmp_path / str(len(content))
        folder.mkdir()
        (folder / "train.jsonl.xz").write_bytes(content)
        with pytest.raises(DataError, match=r"train.jsonl.xz is damaged"):
            alfworld.tasks("train", alfworld.Config(data=str(folder)))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pddl_domain": 1, "grammar": 2}', '{"solvable": false}'])
def test_a_damaged_game_file_is_an_error_that_names_it(tmp_path, content):
    folder = unpacked(tmp_path)
    task = alfworld.tasks("valid_unseen", alfworld.Config(data=str(folder), engine="native"))[0]
    with open(task.data.path, "w") as file:
        file.write(content)
    env = alfworld.Env(alfworld.Config(engine="native"))
    with pytest.raises(DataError, match=r"game.tw-pddl"):
        env.reset(task)


def test_compact_files_are_read_where_nothing_can_be_cached(tmp_path, monkeypatch):
    folder = tmp_path / "games"
    folder.mkdir()
    (folder / "train.jsonl.xz").write_bytes((OFFICIAL / "train.jsonl.xz").read_bytes())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AGENTRL_CACHE", str(tmp_path / "file"))
    panel = alfworld.tasks("train", alfworld.Config(data=str(folder)))
    assert [alfworld.solution(task) for task in panel] == [alfworld.solution(task) for task in official("train")]


def test_case_and_white_space_and_the_older_put_are_understood():
    task = next(t for t in alfworld.tasks("train", NATIVE) if t.kind == "pick_and_place_simple")
    plan = alfworld.solution(task)
    words = plan[-1].split(" ")  # move OBJECT N to RECEPTACLE N
    for preposition in ("in/on", "in", "on", "into"):
        put = f"put {words[1]} {words[2]} {preposition} {words[4]} {words[5]}"
        _, results, outcome = play(alfworld.Env(NATIVE), task, ["  GO  to\t" + plan[0][6:].upper(), *plan[1:-1], put])
        assert outcome.success and all(result.valid for result in results)


def test_an_episode_is_cut_at_the_step_limit_and_refuses_more():
    env = alfworld.Env(alfworld.Config(engine="native", data="generated", max_steps=3))
    _, results, outcome = play(env, alfworld.tasks("train", NATIVE)[0], ["look"] * 5)
    assert [result.truncated for result in results] == [False, False, True]
    assert not any(result.terminated for result in results) and outcome.score == 0.0
    with pytest.raises(WorldFailure, match="call reset"):
        env.step("look")


def test_help_is_accepted_and_not_listed():
    first, results, _ = play(alfworld.Env(NATIVE), alfworld.tasks("train", NATIVE)[0], ["help", "nonsense"])
    assert "help" not in first.admissible and "look" in first.admissible
    assert results[0].valid and results[0].observation.text.startswith("Available commands:")
    assert not results[1].valid and results[1].observation.text == "Nothing happens."


def test_the_banner_is_left_out_and_what_was_looked_into_is_told():
    task = alfworld.tasks("train", NATIVE)[0]
    first, results, _ = play(alfworld.Env(NATIVE), task, alfworld.solution(task)[:1])
    assert first.text.startswith("You are in the middle of a room.") and first.visited == ()
    assert results[0].observation.visited == (alfworld.solution(task)[0].removeprefix("go to "),)


def test_a_task_of_another_world_is_refused():
    with pytest.raises(ConfigError, match="not one of alfworld's"):
        alfworld.Env(NATIVE).reset(Task("guess", "guess-1", "train", 1))


def test_generated_panels_are_as_long_as_the_official_ones():
    counts = {split: len(alfworld.tasks(split, NATIVE)) for split in alfworld.SPLITS}
    assert counts == {"train": 3553, "valid_seen": 140, "valid_unseen": 134}
    assert alfworld.tasks("valid_seen", alfworld.Config(data="generated", num_valid=3)) == [
        *alfworld.tasks("valid_seen", NATIVE)[:3]
    ]


def test_difficulty_is_by_task_type_and_the_same_for_official_games():
    by_kind = {task.kind: task.difficulty for task in alfworld.tasks("valid_unseen", NATIVE)}
    assert sorted(by_kind, key=by_kind.__getitem__)[0] == "look_at_obj_in_light" and len(by_kind) == 6
    assert all(0 < difficulty < 1 for difficulty in by_kind.values()) and len({*by_kind.values()}) == 6
    assert all(task.difficulty == by_kind[task.kind] for task in official("train"))


def test_alfworld_data_may_hold_compact_files(monkeypatch):
    monkeypatch.setenv("ALFWORLD_DATA", str(OFFICIAL))
    assert [task.id for task in alfworld.tasks("valid_seen")] == [task.id for task in official("valid_seen")]
