"""ScienceWorld on its real simulator: as the package's own environment plays it, and the same every time."""

import json
import random

import pytest

import agentrl
from agentrl.envs import scienceworld
from agentrl.envs.scienceworld.benchmark import KINDS, SHORT, SPLITS, selection
from agentrl.envs.scienceworld.demonstrators import as_listed
from agentrl.envs.scienceworld.gold import as_it_reads, shortened
from agentrl.envs.scienceworld.simulation import MOST_OWN, Simulation, end_machines
from agentrl.envs.scienceworld.world import UNKNOWN as NOT_UNDERSTOOD
from agentrl.envs.scienceworld.world import few
from agentrl.errors import ConfigError, WorldFailure
from agentrl.models.tiny.build import UNKNOWN, build_tokenizer
from agentrl.panels import spread
from tests.envs.episodes import play
from tests.envs.stock_scienceworld import end, gold, heard, stock_env
from tests.programs import needs_program

EXPENSIVE = ("mendelian-genetics-known-plant", "mendelian-genetics-unknown-plant")
"""Whose gold paths take the simulator 20 seconds each."""
QUIET = scienceworld.Config(admissible="none")


@pytest.fixture(scope="module", autouse=True)
def _machines_end_with_the_tests():
    needs_program("java")
    yield
    end_machines()


@pytest.fixture(scope="module")
def stock():
    env = stock_env()
    yield env
    end(env)


def task_of(kind, number=None, split="train", **settings):
    config = scienceworld.Config(**{"selection": "all", "tasks": (kind,), **settings})
    panel = scienceworld.tasks(split, config)
    return panel[0] if number is None else next(task for task in panel if task.data.number == number)


def walk(simulation, seed, num, start=0):
    """A random walk, or some of its turns; everything that was heard."""
    said = []
    for turn in range(start, start + num):
        commands = simulation.valid()
        choice = [c for c in commands if not c.startswith(("focus", "reset", "teleport", "go"))]
        command = random.Random(1000 * seed + turn).choice(choice)
        said.append((command, simulation.step(command), commands))
    return said


def as_the_package_plays_it(stock, kind, number, simplifications):
    """Its gold path in our Env and in its own: texts, commands, rewards, scores and ends."""
    task = task_of(kind, number, next(s for s in SPLITS if number in KINDS[kind].variations(s)))
    plan = gold(stock, kind, number, simplifications)
    theirs = heard(stock, kind, number, simplifications, plan)
    env = scienceworld.Env(scienceworld.Config(admissible="all", max_steps=500))
    first, results, outcome = play(env, task, plan)
    env.close()
    ours = [first, *(result.observation for result in results)]
    assert first.text.endswith(theirs[0][0]) and first.text.startswith("Your task is to")
    assert [o.text for o in ours[1:]] == [text for text, *_ in theirs[1:]]
    told = [tuple(c for c in valid if c != "reset task") for _, valid, *_ in theirs]
    assert [o.admissible for o in ours] == told
    rewards = [reward for _, _, reward, _, _ in theirs[1:]]
    rewards[0] += theirs[0][3]  # what the start is worth: the package pays it to nobody, we with the first command
    assert [100 * r.reward for r in results] == pytest.approx(rewards)
    assert [r.terminated for r in results] == [over for *_, over in theirs[1:]]
    assert (outcome.score, outcome.success) == (1.0, True) and theirs[-1][3] == 100, task.id


@pytest.mark.parametrize("place", range(3))
def test_gold_paths_of_short_tasks_are_as_the_package_plays_them(stock, place):
    kind, split = SHORT[2 * place], SPLITS[place]
    as_the_package_plays_it(stock, kind, KINDS[kind].variations(split)[place], "easy")


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in EXPENSIVE])
def test_gold_paths_of_all_tasks_are_as_the_package_plays_them(stock, kind, split):
    numbers = KINDS[kind].variations(split)
    as_the_package_plays_it(stock, kind, numbers[len(numbers) // 2], "easy")


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_every_tenth_short_task_is_as_the_package_plays_it(stock, split):
    for task in scienceworld.tasks(split)[::10]:
        as_the_package_plays_it(stock, task.kind, task.data.number, "easy")


@pytest.mark.slow
def test_the_splits_are_the_packages_own(stock):
    for kind, has in KINDS.items():
        stock.load(kind, 0, "")
        theirs = (stock.get_variations_train(), stock.get_variations_dev(), stock.get_variations_test())
        assert [list(has.variations(split)) for split in SPLITS] == list(map(list, theirs))
    assert stock.get_task_names() == list(KINDS)


def test_the_selections_have_as_many_variations_as_are_published():
    def count(name, split):
        return sum(len(KINDS[kind].variations(split)) for kind in selection(name, split))

    assert [count("all", split) for split in SPLITS] == [3592, 1796, 1819]
    assert [count("epo", split) for split in SPLITS] == [3322, 1661, 1684]
    assert (count("epo-unseen", "train"), count("epo-unseen", "test")) == (2242, 549)
    unseen = set(selection("epo-unseen", "test"))
    assert len(unseen) == 10 and not unseen & set(selection("epo-unseen", "train"))
    assert [len(scienceworld.tasks(split)) for split in SPLITS] == [786, 393, 396]
    few_of_each = scienceworld.Config(selection="all", num_train=3, num_valid=1)
    assert [len(scienceworld.tasks(split, few_of_each)) for split in SPLITS] == [90, 30, 30]


@pytest.mark.parametrize("kind, number", [("boil", 14), pytest.param("power-component", 3, marks=pytest.mark.slow)])
def test_an_episode_is_the_same_in_a_used_machine_in_a_new_one_and_beside_others(kind, number):
    """In the art studio, where cups are told apart by names that the simulator draws."""
    alone = Simulation(kind, number, "easy", heap=256, own=True)
    alone.step("teleport to art studio")
    expected = walk(alone, 1, 6)
    alone.close()
    ours = Simulation(kind, number, "easy", heap=512)
    ours.step("teleport to art studio")
    said = []
    for turn in range(6):
        other = Simulation("find-animal", turn, "", heap=512)
        walk(other, turn, turn % 2)
        said += walk(ours, 1, 1, start=turn)
        other.close()
    ours.close()
    assert said == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_episode_of_any_task_is_the_same_in_a_used_machine_as_in_a_new_one(kind):
    number = KINDS[kind].variations("dev")[0]
    simulations = [Simulation(kind, number, "easy", heap=512, own=own) for own in (True, False, False)]
    walks = [walk(simulation, 2, 25) for simulation in simulations]
    for simulation in simulations:
        simulation.close()
    assert walks[0] == walks[1] == walks[2]


def test_strict_episodes_have_a_machine_each_and_are_the_same():
    task, plan, envs = task_of("lifespan-longest-lived"), ["teleport to outside", "wait", "look around"], []
    for strict in (True, False):
        envs.append(scienceworld.Env(scienceworld.Config(strict=strict, admissible="none")))
    played = [play(env, task, plan) for env in envs]
    machines = {env._simulation._machine.pid for env in envs}
    assert played[0] == played[1] and len(machines) == 2
    for env in envs:
        env.close()


def test_what_undoes_a_failure_is_neither_told_nor_done():
    env = scienceworld.Env(scienceworld.Config(admissible="all"))
    task = task_of("lifespan-longest-lived")
    first, results, outcome = play(env, task, ["Reset  the Task", "reset task", "teleport to outside"])
    assert "reset task" not in first.admissible
    assert [(r.valid, r.reward, r.observation.text) for r in results[:2]] == [(False, 0, NOT_UNDERSTOOD)] * 2
    assert outcome.score == results[-1].reward == 0.5 and results[-1].observation.visited == ("outside",)
    _, results, outcome = play(env, task, ["teleport to outside", "focus on agent"])
    assert results[-1].terminated and results[-1].reward == -0.5  # what was earned is lost
    assert (outcome.success, outcome.score, outcome.components) == (False, 0.0, {"progress": 0.0, "failed": 1.0})
    with pytest.raises(WorldFailure, match="call reset first"):
        env.step("reset task")
    env.close()


def test_waiting_ends_no_episode_and_earns_nothing():
    env = scienceworld.Env(scienceworld.Config(admissible="none", max_steps=14))
    _, results, outcome = play(env, task_of("lifespan-longest-lived"), ["teleport to outside", *["wait"] * 20])
    env.close()
    assert len(results) == 14 and results[-1].truncated and not results[-1].terminated
    assert (outcome.success, outcome.score) == (False, 0.5)


def test_a_request_with_several_meanings_is_answered_by_a_list_and_a_number():
    env = scienceworld.Env(scienceworld.Config(admissible="all"))
    task, way = task_of("chemistry-mix-paint-secondary-color"), ["teleport to art studio", "pick up cup"]
    _, (_, asked, chosen, _), _ = play(env, task, [*way, "1", "inventory"])
    assert asked.observation.text.startswith("Ambiguous request") and asked.valid and chosen.valid
    assert asked.observation.admissible[:2] == ("0", "1") and "1:\t" in asked.observation.text
    assert chosen.observation.text.startswith("You move the")
    _, (_, _, cancelled, after), _ = play(env, task, [*way, "nine", "look around"])
    assert not cancelled.valid and after.valid
    env.close()


def test_what_there_is_not_is_refused_by_name():
    good = task_of("boil", 3)
    wrong = (({"number": 99}, "boil has no variation 99; it has 30, from 0 to 29"), ({"kind": "boi"}, "'boil'"))
    for changes, words in wrong:
        data = type(good.data)(**{"kind": "boil", "number": 3, "simplifications": "easy", **changes})
        with pytest.raises(ConfigError, match=words):
            scienceworld.Env().reset(type(good)("scienceworld", "x", "train", 0, data=data))
    with pytest.raises(ConfigError, match="unknown task 'boill'; did you mean 'boil'"):
        scienceworld.Config(selection="all", tasks=("boill",))
    with pytest.raises(ConfigError, match="not in selection 'short'"):
        scienceworld.Config(tasks=("boil",))
    with pytest.raises(ConfigError, match="unknown simplification 'opendoors'; did you mean 'openDoors'"):
        scienceworld.Config(simplifications="opendoors")
    with pytest.raises(WorldFailure, match="cannot set power-componen 0 up"):
        Simulation("power-componen", 0, "", heap=512)


def test_the_short_list_of_commands_has_what_the_expert_says():
    config = scienceworld.Config(num_train=1)
    shown = list(scienceworld.demonstrations("train", config, num=2, seed=3))
    assert len({demonstration.task.kind for demonstration in shown}) == 2
    for demonstration in shown:
        assert demonstration.outcome.success and len(demonstration.steps) <= 10
        assert all(command in seen.admissible for seen, command, _ in demonstration.steps)
        assert all(len(seen.admissible) < 320 for seen, *_ in demonstration.steps)


def test_few_commands_are_those_with_a_use():
    everything = [
        *("inventory", "teleport to kitchen", "go to door to kitchen", "close door to kitchen", "focus on air"),
        *("focus on cup", "look in kitchen", "look in cup", "move cup to kitchen", "move cup to red box"),
        *("move pot to cup", "move cup to pot", "pour cup into pot", "use axe on agent", "pick up pot in kitchen"),
        *("put down cup", "open bee hive", "focus on bee 3", "look in sewer", "wait1"),
    ]
    kept = few(everything, doors=False)
    assert kept == [
        *("inventory", "teleport to kitchen", "focus on cup", "look in cup", "move cup to red box", "move cup to pot"),
        *("pour cup into pot", "pick up pot in kitchen", "put down cup", "open bee hive", "wait1"),
    ]
    assert set(few(everything, doors=True)) - set(kept) == {"close door to kitchen"}
    assert "focus on bee 3" in few(["focus on bee 3", "close bee hive"], doors=False)


def test_gold_paths_are_shortened_where_one_may_teleport():
    walked = ("open door to hallway", "go to hallway", "go to outside", "focus on egg dove", "pick up egg dove")
    boxed = ("look around", "go to kitchen", "move egg dove egg in inventory to red box")
    short = shortened((*walked, *boxed))
    assert short[:3] == ("teleport to outside", "look around", "focus on egg dove")
    assert [as_it_reads(command) for command in short[3:]] == [
        *("pick up dove egg", "teleport to kitchen", "move dove egg to red box"),
    ]
    assert as_it_reads("focus on baby baby wolf") == "focus on baby wolf"
    assert as_listed("move egg dove egg to red box", ("look around", "move dove to red box")) == "move dove to red box"


def test_demonstrations_come_from_the_cache_and_go_astray_where_they_are_told(monkeypatch):
    config = scienceworld.Config(admissible="none", tasks=("find-non-living-thing",), num_train=2)
    shown = list(scienceworld.demonstrations("train", config))
    astray = list(scienceworld.demonstrations("train", config, seed=1, detours=0.9))
    assert all(demonstration.outcome.success for demonstration in astray)
    wrong = [command for d in astray for _, command, learn in d.steps if not learn]
    assert wrong and all(command.startswith("teleport to ") for command in wrong)
    end_machines()
    monkeypatch.setenv("PATH", "")
    assert list(scienceworld.demonstrations("train", config)) == shown and len(shown) == 2
    for demonstration in shown:
        assert [learn for *_, learn in demonstration.steps] == [True] * len(demonstration.steps)


def test_a_tiny_model_knows_every_word_of_the_short_tasks():
    tokenizer = build_tokenizer(scienceworld.vocabulary())
    unknown = tokenizer.convert_tokens_to_ids(UNKNOWN)
    for task in spread(scienceworld.tasks("train"), 2):
        simulation = Simulation(task.kind, task.data.number, "easy", heap=512)
        texts = [simulation.description(), simulation.step("look around")[0]]
        for room in ("kitchen", "outside", "greenhouse"):
            texts += [simulation.step(f"teleport to {room}")[0], simulation.step("look around")[0]]
        commands = simulation.valid()
        simulation.close()
        for text in (*texts, *commands):
            assert unknown not in tokenizer(text, add_special_tokens=False).input_ids, text
        for command in commands:
            assert tokenizer.decode(tokenizer(command, add_special_tokens=False).input_ids) == command


def test_a_random_policy_needs_no_setting_though_the_tiny_model_wants_no_list_of_commands():
    played = agentrl.evaluate({"rollout": {"max_turns": 2}}, env="scienceworld", policy="random", episodes=1)
    (episode,) = played.trajectories
    assert episode.failure is None and all(turn.valid for turn in episode.turns) and episode.turns


def test_a_tiny_model_is_trained_on_it_by_imitation_and_by_reinforcement(tmp_path):
    quiet = {"admissible": "none", "tasks": ["lifespan-longest-lived"], "num_train": 1, "num_valid": 1}
    rollout = {"tasks_per_step": 1, "group_size": 2, "max_turns": 3, "max_context": 700, "max_new_tokens": 6}
    config = {
        "env": "scienceworld",
        "env_settings": quiet,
        "format": "action",
        "seed": 3,
        "rollout": {**rollout, "workers": 1},
        "validation": {"num_tasks": 0},
    }
    learned = agentrl.train(
        config, algo="sft", model="tiny-random", trainer={"steps": 2, "lr": 0.01}, run_dir=tmp_path / "sft"
    )
    lines = [json.loads(line) for line in (learned.run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["success"] for line in lines if "loss" in line] == [1.0, 1.0]
    run = agentrl.train(
        config, algo="grpo", model=str(learned.run_dir), trainer={"steps": 2, "lr": 0.01}, run_dir=tmp_path / "grpo"
    )
    lines = [json.loads(line) for line in (run.run_dir / "metrics.jsonl").read_text().splitlines()]
    assert len([line for line in lines if "loss" in line]) == 2


def test_a_machine_has_room_for_all_episodes_of_a_worker():
    simulations = [Simulation("find-plant", number, "easy", heap=512) for number in range(10)]
    simulations[0].step("look around")
    runtime = simulations[0]._machine._jvm.java.lang.Runtime.getRuntime()
    runtime.gc()
    assert (runtime.totalMemory() - runtime.freeMemory()) / 2**20 < 40
    for simulation in simulations:
        simulation.close()


def test_more_machines_of_single_episodes_than_a_process_should_have_are_refused(monkeypatch):
    assert MOST_OWN == 16
    monkeypatch.setattr("agentrl.envs.scienceworld.simulation.MOST_OWN", 1)
    first = Simulation("boil", 0, "easy", heap=64, own=True)
    with pytest.raises(ConfigError, match="lower rollout.concurrency"):
        Simulation("boil", 0, "easy", heap=64, own=True)
    first.close()
