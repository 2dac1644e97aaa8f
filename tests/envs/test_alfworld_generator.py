"""Generated games: the same everywhere, of the official form, solvable, and apart from each other by split."""

import subprocess
import sys
from collections import Counter

from agentrl.envs.alfworld import generator
from agentrl.envs.alfworld.generator import GOAL_FORMS, ROOMS, SPLITS, TASK_TYPES, UNSEEN_ROOMS, combinations, split_of
from agentrl.envs.alfworld.native import Simulator, parse

DIGEST = """
import hashlib
from agentrl.envs.alfworld.generator import SPLITS, generate, problem_text
games = [generate(split, index) for split in SPLITS for index in range(12)]
text = "".join(problem_text(game) + game.sentence + repr(game.walkthrough) for game in games)
print(hashlib.sha256(text.encode()).hexdigest())
"""


def some(split, num=36):
    return [generator.generate(split, index) for index in range(num)]


def test_an_index_is_the_same_game_in_every_process():
    found = {
        subprocess.run(
            [sys.executable, "-c", DIGEST], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "7")
    }
    assert len(found) == 1


def test_splits_share_no_combination_and_unseen_rooms_are_never_trained_in():
    seen = {}
    for split in SPLITS:
        for game in some(split, 100):
            combination = (game.room, game.kind, game.goal_object, game.goal_target)
            assert seen.setdefault(combination, split) == split
            assert (game.room in UNSEEN_ROOMS) == (split == "valid_unseen")


def test_every_combination_belongs_to_one_split_and_every_split_has_every_task_type():
    kinds = {split: Counter() for split in SPLITS}
    for room in ROOMS:
        for combination in combinations(room):
            kinds[split_of(room, combination)][combination[0]] += 1
    assert all(set(kinds[split]) == set(TASK_TYPES) for split in SPLITS)
    assert sum(kinds["train"].values()) > 8 * sum(kinds["valid_seen"].values())


def test_walkthroughs_solve_their_games_and_not_before_their_end():
    for split in SPLITS:
        for game in some(split):
            play = Simulator(generator.to_game(game))
            for command in game.walkthrough:
                assert not play.won and command in play.commands, (split, game.index, command)
                play.step(command)
            assert play.won


def test_the_way_over_pddl_gives_the_same_game():
    for split in SPLITS:
        for game in some(split):
            made, read = generator.to_game(game), parse(generator.problem_text(game), game.sentence)
            made.travel.clear()
            assert made == read


def test_goals_are_of_the_kind_that_the_panel_says():
    for index in range(70):
        game = generator.generate("valid_seen", index)
        assert game.kind == generator.kind_of("valid_seen", index)
        assert generator.to_game(game).goal == GOAL_FORMS[game.kind]
        if game.kind in ("pick_and_place_simple", "pick_two_obj_and_place"):
            at_goal = [t for t, r in game.placements if t.startswith(f"{game.goal_object}|") and r in of_goal(game)]
            assert not at_goal


def of_goal(game):
    return generator.room(game.room).by_class[game.goal_target]


def test_every_block_of_a_panel_has_the_official_proportions():
    for start in (0, 35, 3500):
        kinds = Counter(generator.kind_of("train", index) for index in range(start, start + 35))
        assert kinds["pick_and_place_simple"] == kinds["pick_two_obj_and_place"] == 8
        assert kinds["look_at_obj_in_light"] == 3 and sum(kinds.values()) == 35


def test_another_panel_has_other_games():
    first, second = generator.generate("train", 5), generator.generate("train", 5, seed=1)
    assert first.placements != second.placements
