"""The native engine: its sentences and commands by hand, in a room small enough to be read whole."""

import pytest

from agentrl.envs.alfworld.native import BANNER, HELP, NOTHING, Simulator, parse
from agentrl.errors import DataError
from tests.envs.small_game import CLEAN, LOOK, PROBLEM, TWO


def small(goal=CLEAN):
    return Simulator(parse(PROBLEM.replace("GOAL", goal), "do it."))


def told(play, *commands):
    """The answer to the last of some commands, all of which the game must accept."""
    answer = ""
    for command in commands:
        assert command in play.commands, command
        answer = play.step(command)
    return answer


def test_the_opening_lists_receptacles_and_the_task():
    assert small().opening == BANNER + (
        "You are in the middle of a room. Looking quickly around you, you see a desk 1, a fridge 1, a microwave 1, a"
        " shelf 1, and a sinkbasin 1.\n\nYour task is to: do it."
    )


def test_of_a_class_the_first_in_order_has_the_highest_number():
    assert (
        told(small(), "go to desk 1")
        == "You arrive at desk 1. On the desk 1, you see a desklamp 1, a knife 1, and a mug 2."
    )


def test_a_closed_receptacle_shows_nothing_until_it_is_opened():
    play = small()
    assert told(play, "go to fridge 1") == "You arrive at fridge 1. The fridge 1 is closed."
    assert "take apple 1 from fridge 1" not in play.commands
    assert told(play, "open fridge 1") == "You open the fridge 1. The fridge 1 is open. In it, you see a apple 1."
    assert told(play, "close fridge 1") == "You close the fridge 1." and play.described is None


def test_what_is_refused_changes_nothing():
    play = small()
    before = play.admissible
    for command in ("", "take apple 1 from fridge 1", "GO TO desk 1", "go to desk 2", "open desk 1"):
        assert play.step(command) == NOTHING and play.admissible == before


def test_one_object_is_carried_at_a_time():
    play = small()
    assert told(play, "inventory") == "You are not carrying anything."
    assert told(play, "go to desk 1", "take mug 2 from desk 1") == "You pick up the mug 2 from the desk 1."
    assert "take knife 1 from desk 1" not in play.commands
    assert told(play, "inventory") == "You are carrying: a mug 2."
    assert told(play, "move mug 2 to shelf 1") == "You move the mug 2 to the shelf 1."
    assert told(play, "examine shelf 1") == "On the shelf 1, you see a mug 2, and a mug 1."


def test_what_is_said_to_be_in_itself_is_empty():
    """One official game has a pan in itself; the real engine tells nothing of it."""
    within = PROBLEM.replace("(atLocation agent1", "(inReceptacleObject Mug_bar_1 Mug_bar_1) (atLocation agent1")
    play = Simulator(parse(within.replace("GOAL", CLEAN), "do it."))
    taken = told(play, "go to desk 1", "take mug 2 from desk 1", "examine mug 2")
    assert taken == "This is a normal mug 2. In it, you see nothing."


def test_look_shows_what_was_taken_here_and_lies_beside_it():
    play = small()
    assert told(play, "look") == "You are in the middle of a room. Looking quickly around you, you see nothing."
    assert told(play, "go to desk 1", "look") == "You are facing the desk 1, and shelf 1. Next to it, you see nothing."
    moved = told(play, "take mug 2 from desk 1", "move mug 2 to shelf 1", "look")
    assert moved == "You are facing the desk 1, and shelf 1. Next to it, you see a mug 2."


def test_states_show_when_an_object_is_examined():
    play = small()
    told(play, "go to fridge 1", "open fridge 1", "take apple 1 from fridge 1")
    assert told(play, "examine apple 1") == "There's nothing special about apple 1."
    assert told(play, "cool apple 1 with fridge 1") == "You cool the apple 1 using the fridge 1."
    assert told(play, "examine apple 1") == "This is a cold apple 1."
    told(play, "go to microwave 1", "heat apple 1 with microwave 1")  # also while it is closed
    assert told(play, "examine apple 1") == "This is a hot apple 1."
    assert told(play, "clean apple 1 with sinkbasin 1", "examine apple 1") == "This is a hot and clean apple 1."
    assert not play.won
    told(play, "go to desk 1", "move apple 1 to desk 1")
    assert play.won


def test_a_knife_slices_what_lies_here():
    play = small()
    told(play, "go to desk 1", "take knife 1 from desk 1", "go to fridge 1")
    assert told(play, "slice apple 1 with knife 1") == "You sliced the apple 1 with the knife 1."
    told(
        play, "go to desk 1", "move knife 1 to desk 1", "go to fridge 1", "open fridge 1", "take apple 1 from fridge 1"
    )
    assert told(play, "examine apple 1") == "This is a sliced apple 1."


def test_a_lamp_lights_what_is_held_beside_it():
    play = small(LOOK)
    assert told(play, "go to desk 1", "use desklamp 1") == "You turn on the desklamp 1."
    assert not play.won
    told(play, "take mug 2 from desk 1")
    assert play.won


def test_two_objects_must_be_in_the_same_receptacle():
    play = small(TWO)
    assert not play.won
    told(play, "go to desk 1", "take mug 2 from desk 1", "move mug 2 to shelf 1")
    assert play.won


def test_help_and_the_inside_of_a_mug():
    play = small()
    assert told(play, "help") == HELP and HELP.startswith("Available commands:\n  look:")
    told(play, "go to desk 1", "take mug 2 from desk 1")
    assert told(play, "examine mug 2") == "This is a normal mug 2. In it, you see nothing."


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("GOAL", "(:goal (and (isOn DeskLamp_bar_1)))", "does not know this goal"),
        ("(pickupable Knife_bar_1)", "(haunted Knife_bar_1)", "does not know .haunted"),
        ("(receptacleAtLocation Desk_bar_1 loc_bar_2)", "", "incomplete"),
        ("(atLocation agent1 loc_bar_0)", "", "incomplete"),
        ("(:init", "(:start", "no .:init"),
    ],
)
def test_a_problem_of_another_form_is_refused(old, new, wrong):
    problem = PROBLEM.replace(old, new).replace("GOAL", CLEAN)
    with pytest.raises(DataError, match=wrong):
        parse(problem, "do it.")


def test_a_thing_without_a_type_takes_a_number_of_its_class():
    # as the cracked egg of one official game, train/pick_heat_then_place_in_recep-Plate-None-Cabinet-13
    cracked = PROBLEM.replace(
        "(pickupable Mug_bar_1)", "(pickupable Mug_bar_1) (pickupable Mug_bar_1_bar_MugCracked_0)"
    )
    assert parse(PROBLEM.replace("GOAL", CLEAN), "clean").names["mug_bar_1"] == "mug 2"
    assert parse(cracked.replace("GOAL", CLEAN), "clean").names["mug_bar_1"] == "mug 3"
