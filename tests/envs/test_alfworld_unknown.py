"""Games of a domain that the native engine does not know: the real engine plays them, and says so once."""

import json
import logging

import pytest

from agentrl.envs import alfworld
from agentrl.envs.alfworld import world
from agentrl.envs.alfworld.engine import as_mapping
from agentrl.envs.alfworld.native import UnknownGame
from agentrl.envs.alfworld.sources import load_game, load_text
from tests.envs.episodes import official, play
from tests.envs.small_game import CLEAN, LOOK, PROBLEM

NAME = "look_at_obj_in_light-Mug-None-DeskLamp-1"
GENERATED = alfworld.Config(data="generated", num_train=1)


def tree(folder, part="", old="", new="", games=1, **texts):
    """A folder of the official form with a small game; in one of its parts (pddl_domain, ...) a text is another."""
    game = as_mapping(load_text(official("train")[0].data))
    game |= {"pddl_problem": PROBLEM.replace("GOAL", LOOK), "walkthrough": []} | texts
    if part:
        assert old in game[part]
        game[part] = game[part].replace(old, new)
    for number in range(games):
        place = folder / "json_2.1.1" / "train" / NAME / f"trial_{number}"
        place.mkdir(parents=True)
        (place / "game.tw-pddl").write_text(json.dumps(game))
    return alfworld.Config(data=str(folder))


OTHER_WORDS = ("grammar", "You turn on the", "You switch on the")


@pytest.fixture
def notes(caplog):
    world._note.cache_clear()
    caplog.set_level(logging.WARNING, "agentrl")
    yield lambda: [record.getMessage() for record in caplog.records]
    world._note.cache_clear()


def test_another_grammar_is_played_on_the_real_engine_with_one_note(tmp_path, notes):
    config = tree(tmp_path, *OTHER_WORDS, games=2)
    env = alfworld.Env(config)
    for task in alfworld.tasks("train", config):
        with pytest.raises(UnknownGame, match="grammar is not one of those"):
            load_game(task.data)
        _, results, outcome = play(env, task, ["go to desk 1", "take mug 2 from desk 1", "use desklamp 1"])
        assert results[-1].observation.text == "You switch on the desklamp 1." and outcome.success
    assert len(notes()) == 1 and "the real engine plays such games" in notes()[0]


def test_an_env_goes_from_one_engine_to_the_other_and_back(tmp_path, notes):
    unknown = alfworld.tasks("train", tree(tmp_path, *OTHER_WORDS))[0]
    known = official("train")[0]
    env = alfworld.Env()
    for task in (known, unknown, known):
        first, results, _ = play(env, task, ["look"])
        assert first.text.startswith("You are in the middle of a room.") and results[0].valid
        assert (type(env._player) is world.NativePlayer) == (task is known)
    env.close()


@pytest.mark.parametrize(
    ("part", "old", "new", "reason"),
    [
        ("pddl_domain", "(domain alfred)", "(domain home)", "domain 'home' is not one"),
        ("pddl_domain", "(pickupable ?o)", "", "domain 'alfred' is not one"),
        ("grammar", "You open", "You  open", "grammar is not one"),
        ("pddl_problem", "(atLocation agent1", "(holds agent1 Mug_bar_1) (atLocation agent1", "holds"),
        ("pddl_problem", "(isToggled ?ot)", "(isOn ?ot)", "this goal"),
        ("pddl_problem", "(objectType Apple_bar_1 AppleType)", "(objectType Mug_bar_1 AppleType)", "two .objecttype"),
    ],
)
def test_what_the_native_engine_does_not_know_is_named(tmp_path, notes, part, old, new, reason):
    (task,) = alfworld.tasks("train", tree(tmp_path, part, old, new))
    with pytest.raises(UnknownGame, match=reason):
        load_game(task.data)


def test_comments_and_line_ends_make_no_other_domain(tmp_path, notes):
    (task,) = alfworld.tasks("train", tree(tmp_path, "pddl_domain", "\n", " ; said aside\r\n"))
    assert load_game(task.data).goal == "look" and notes() == []


def test_a_plain_sink_is_known_only_where_the_domain_cleans_in_it(tmp_path, notes):
    problem = PROBLEM.replace("GOAL", CLEAN).replace("SinkBasin SinkBasinType", "SinkBasin SinkType")
    official_domain, package_domain = (
        load_text(task.data).domain for task in (official("train")[0], alfworld.tasks("train", GENERATED)[0])
    )
    (task,) = alfworld.tasks("train", tree(tmp_path / "official", pddl_problem=problem, pddl_domain=official_domain))
    assert "sink" in load_game(task.data).kind.values()
    (task,) = alfworld.tasks("train", tree(tmp_path / "package", pddl_problem=problem, pddl_domain=package_domain))
    with pytest.raises(UnknownGame, match="plain sink"):
        load_game(task.data)
