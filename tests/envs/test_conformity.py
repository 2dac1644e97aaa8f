"""What every registered world must hold; one file for all of them."""

import inspect
import pickle
import re
from pathlib import Path

import pytest

from agentrl import registry
from agentrl.errors import ConfigError
from agentrl.panels import spread
from agentrl.settings import field_help, from_mapping
from tests.envs.episodes import close, play
from tests.programs import needs_program

TEXTWORLD = {"levels": (1, 2), "num_train": 6, "num_valid": 3}
"""Few games, every challenge in every split: they are kept beside the tests (textworld_games); all are slow."""
SCIENCE = {"tasks": ("lifespan-shortest-lived", "find-non-living-thing"), "admissible": "none"}
"""Each solution takes the simulator half a second; its own tests compare it with the package, task by task."""
SETTINGS = [
    ("guess", {}),
    ("guess", {"admissible": True, "highest": 7}),
    ("chain", {}),
    ("chain", {"admissible": True, "shortest": 1, "longest": 40, "chatter": 3, "num_train": 30, "num_valid": 10}),
    ("rlvr", {}),
    ("rlvr", {"levels": (5,), "format_share": 0.2, "num_train": 90}),
    ("mixture", {"worlds": {"guess": 2, "rlvr": 1}, "settings": {"rlvr": {"num_train": 60}}}),
    ("alfworld", {"engine": "native", "data": "generated"}),
    ("alfworld", {"engine": "native", "data": "generated", "admissible": False, "panel": 3}),
    ("textworld", TEXTWORLD),
    (
        "textworld",
        {
            "challenges": ("treasure-hunter:3",),
            "objective": "steps",
            "admissible": False,
            "intermediate": False,
            "num_train": 3,
            "num_valid": 2,
        },
    ),
    ("scienceworld", {**SCIENCE, "num_train": 2, "num_valid": 1}),
    ("prompts", {"data": str(Path(__file__).parent / "data" / "prompts.jsonl"), "held_out": 0.4}),
]
"""Every world, with settings that change what its episodes are; light ones, since 20 tasks a split are played."""
SLOW = [
    ("alfworld", {"engine": "textworld", "data": "generated", "num_train": 800}),
    ("textworld", {}),
    ("textworld", {"challenges": ("simple", "custom"), "levels": (1, 2, 3, 4, 5), "num_train": 90, "num_valid": 30}),
    ("scienceworld", {"admissible": "none"}),
]
HEADINGS = ("Sees", "May do", "Is paid", "Ends", "Chance", "Splits")
WORLDS = {name: registry.load("env", name) for name, _ in SETTINGS}
SINGLE_TURN = [WORLDS["rlvr"], WORLDS["prompts"]]
UNJUDGED = [WORLDS["prompts"]]
"""No episode is a success: what a reply is worth is said elsewhere."""


def label(value):
    return value if isinstance(value, str) else "-".join(map(str, value.values())) or "default"


@pytest.fixture(params=SETTINGS, ids=lambda pair: "-".join(map(label, pair)))
def settled(request):
    """(world, its settings)."""
    name, settings = request.param
    if name == "scienceworld":
        needs_program("java")
    return WORLDS[name], from_mapping(WORLDS[name].Config, settings)


def solved(world, config, tasks):
    env = world.Env(config)
    for task in tasks:
        _, results, outcome = play(env, task, world.solution(task))
        assert results[-1].terminated and not results[-1].truncated, task.id
        assert all(result.valid for result in results), task.id
        worth = float(world not in UNJUDGED)
        assert outcome.success == bool(worth), task.id
        assert outcome.score == worth == pytest.approx(sum(result.reward for result in results), abs=1e-9), task.id
    close(env)


def test_every_registered_world_is_held_to_this():
    assert set(registry.names("env")) == set(WORLDS)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_a_world_says_what_it_is(world):
    for heading in HEADINGS:
        assert re.search(rf"^{heading}\s", world.__doc__, re.MULTILINE), heading
    assert world.VALIDATION in world.SPLITS and world.REPEATS
    assert set(field_help(world.Config)) == set(world.Config.__dataclass_fields__)
    assert world.instructions(world.Config()).strip() or hasattr(world, "brief"), "its tasks differ in what is told"
    assert world.tools(world.Config()) is None or isinstance(world.tools(world.Config()), list)


def test_a_panel_is_the_same_every_time_and_its_tasks_are_small(settled):
    world, config = settled
    for split in world.SPLITS:
        panel = world.tasks(split, config)
        assert panel and panel == world.tasks(split, config)
        assert all(task.split == split for task in panel)
        assert len(pickle.dumps(panel[0])) < 500 and pickle.loads(pickle.dumps(panel[0])) == panel[0]


def test_splits_share_no_task(settled):
    world, config = settled
    ids = [task.id for split in world.SPLITS for task in world.tasks(split, config)]
    assert len(ids) == len(set(ids))


def test_tasks_spread_over_each_split_are_solved_by_their_solution(settled):
    world, config = settled
    for split in world.SPLITS:
        solved(world, config, spread(world.tasks(split, config), 20))


def test_the_same_task_is_the_same_episode_in_a_fresh_env_and_in_a_used_one(settled):
    world, config = settled
    used = world.Env(config)
    for task in spread(world.tasks(world.VALIDATION, config), 3):
        plan = world.solution(task)
        actions = ["nonsense", *plan[:-1], "look", "ask 1", "ask 7", *plan]
        fresh = world.Env(config)
        once = play(fresh, task, actions)
        assert once == play(used, task, actions) == play(used, task, actions)
        close(fresh)
    close(used)


@pytest.mark.parametrize("action", ["", "\x00", "go", "ask -1", "<action>ask 5</action>", "x" * 100_000, "ﷺ\n\t"])
def test_an_unreadable_action_costs_a_turn_and_nothing_else(settled, action):
    world, config = settled
    task = world.tasks(world.VALIDATION, config)[1]
    env = world.Env(config)
    _, results, outcome = play(env, task, [action])
    assert results[0].valid is (world in UNJUDGED and bool(action.strip())) and results[0].reward == 0
    assert not results[0].truncated and not outcome.success
    assert results[0].terminated is (world in SINGLE_TURN), "the turn is all there is"
    if world not in SINGLE_TURN:
        _, results, outcome = play(env, task, [action, *world.solution(task)])
        assert outcome.success
    close(env)


def test_what_a_world_lists_as_admissible_it_accepts(settled):
    world, config = settled
    task = world.tasks(world.SPLITS[0], config)[2]
    env = world.Env(config)
    first, _, _ = play(env, task, [])
    for action in first.admissible or ():
        _, results, _ = play(env, task, [action])
        assert results[0].valid, action
    close(env)


def test_every_episode_can_be_named_as_the_world_s_own(settled):
    world, config = settled
    names = {task.env for split in world.SPLITS for task in world.tasks(split, config)}
    assert [WORLDS[name] for name in names] == [world]


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_an_unknown_split_or_setting_names_the_nearest_one(world):
    split = world.SPLITS[0]
    with pytest.raises(ConfigError, match=f"did you mean '{split}'"):
        world.tasks(split + "s", world.Config())
    setting = next(iter(inspect.signature(world.Config).parameters))
    with pytest.raises(ConfigError, match=f"did you mean '{setting}'"):
        from_mapping(world.Config, {setting + "x": 1})


@pytest.mark.slow
@pytest.mark.parametrize("name, settings", SETTINGS + SLOW, ids=label)
def test_every_tenth_task_is_solved_by_its_solution(name, settings):
    world = WORLDS[name]
    config = from_mapping(world.Config, settings)
    for split in world.SPLITS:
        solved(world, config, world.tasks(split, config)[::10])
