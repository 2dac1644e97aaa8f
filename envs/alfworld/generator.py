"""New games of the official kind from a seed, without a simulator: rooms, objects, task, and a plan that solves it.

A room is an official floor plan as the alfworld package ships it (receptacles and where one stands to use them; a few
appliances that it leaves out get a fixed made-up place). What stands where follows the official training games
(placement.py); what goes where, and the goals, follow the package's tables. As in every official game no goal object
is in the goal's receptacle class when something is only to be moved. The same index is the same game on any machine.

Splits: `valid_unseen` has the four rooms that official training never shows (10, 219, 308, 424). In the other rooms a
tenth of all (room, task, object, target) combinations is `valid_seen`, the rest is `train`.
"""

import functools
import json
import random
from dataclasses import dataclass, replace
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from agentrl.envs.alfworld.native import STATE, Game, Simulator, display_names
from agentrl.envs.alfworld.placement import PLACES, SCENERY
from agentrl.errors import DataError, missing_package
from agentrl.seeds import seed_of

VERSION = 1
"""Of what a seed gives; part of every seed."""

SPLITS = ("train", "valid_seen", "valid_unseen")
TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
SENTENCES = {
    "pick_and_place_simple": ("put a {o} in {t}.", "put some {o} on {t}."),
    "look_at_obj_in_light": ("look at {o} under the {t}.", "examine the {o} with the {t}."),
    "pick_clean_then_place_in_recep": ("put a clean {o} in {t}.", "clean some {o} and put it in {t}."),
    "pick_heat_then_place_in_recep": ("put a hot {o} in {t}.", "heat some {o} and put it in {t}."),
    "pick_cool_then_place_in_recep": ("put a cool {o} in {t}.", "cool some {o} and put it in {t}."),
    "pick_two_obj_and_place": ("put two {o} in {t}.", "find two {o} and put them in {t}."),
}
GOAL_FORMS = dict(zip(TASK_TYPES, ("place", "look", "clean", "heat", "cool", "two"), strict=True))
_BLOCK = tuple(kind for kind, share in zip(TASK_TYPES, (8, 3, 6, 5, 5, 8), strict=True) for _ in range(share))
"""35 games in about the official proportions; every block of a panel is a shuffle of it."""

UNSEEN_ROOMS = (10, 219, 308, 424)
ROOMS = tuple(n + i for n in (0, 200, 300, 400) for i in range(1, 31))
_APPLIANCES = {
    "StoveBurner": 4,
    "CoffeeMachine": 1,
    "Toaster": 1,
    "GarbageCan": 1,
    "ToiletPaperHanger": 1,
    "HandTowelHolder": 1,
    "TowelHolder": 1,
    "LaundryHamper": 1,
    "Toilet": 1,
}
"""Receptacles that the floor plans list without a place, and how many a room has."""
_OPENABLE = frozenset({"Fridge", "Cabinet", "Microwave", "Drawer", "Safe"})
_HOLDERS = frozenset({"Bowl", "Box", "Cup", "Mug", "Pan", "Plate", "Pot"})
_GOAL_COUNTS = {False: (0, 30, 30, 25, 15), True: (0, 0, 45, 35, 20)}
"""Weights of 0 to 4 goal objects, by whether two are asked for; official games have 2.3 in the mean."""
_LAMP = "DeskLamp"
_DEVICES = {"clean": "SinkBasin", "heat": "Microwave", "cool": "Fridge"}


@dataclass(frozen=True, slots=True)
class GeneratedGame:
    """A game, its parts by their readable ids (`Cabinet|+00.65|+00.48|+00.24`)."""

    split: str
    index: int
    kind: str
    """One of TASK_TYPES."""
    room: int
    goal_object: str
    goal_target: str
    sentence: str
    receptacles: dict[str, str]
    """receptacle -> location."""
    placements: tuple[tuple[str, str], ...]
    """(object, receptacle)."""
    start: str
    walkthrough: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As the official folders are named."""
        return f"{self.kind}-{self.goal_object}-None-{self.goal_target}-{self.room}"


@dataclass(frozen=True, slots=True)
class _Tables:
    """The package's tables: what goes where, what can be done with it, and the folder of the floor plans."""

    can_contain: dict[str, frozenset[str]]
    abilities: dict[str, tuple[str, ...]]
    receptacles: frozenset[str]
    layouts: Path


@dataclass(frozen=True, slots=True)
class Room:
    """A floor plan: what never changes between the games of a room."""

    receptacles: dict[str, str]
    by_class: dict[str, tuple[str, ...]]
    classes: tuple[str, ...]
    """Of the objects that can be in it."""


def package_folder() -> Path:
    """Where the alfworld package lies; finding it does not import it. Raises MissingDependency."""
    spec = find_spec("alfworld")
    if spec is None or not spec.submodule_search_locations:
        raise missing_package("the alfworld environment", "alfworld", "pip install alfworld")
    return Path(spec.submodule_search_locations[0])


@functools.cache
def _tables() -> _Tables:
    folder = package_folder() / "gen"
    # Importing `alfworld` makes a folder and sets a variable; its table of constants is loaded without it.
    table_spec = spec_from_file_location("agentrl_alfworld_constants", folder / "constants.py")
    if table_spec is None or table_spec.loader is None:
        raise DataError(f"{folder / 'constants.py'} cannot be loaded; run: pip install --force-reinstall alfworld")
    module = module_from_spec(table_spec)
    table_spec.loader.exec_module(module)
    constants: dict[str, Any] = vars(module)
    able: dict[str, list[str]] = {}
    for ability in ("Cleanable", "Heatable", "Coolable", "Sliceable", "Toggleable"):
        for name in sorted(constants["VAL_ACTION_OBJECTS"][ability]):
            able.setdefault(name, []).append(ability.lower())
    return _Tables(
        {name: frozenset(fit) for name, fit in constants["VAL_RECEPTACLE_OBJECTS"].items()},
        {name: tuple(found) for name, found in able.items()},
        frozenset(constants["RECEPTACLES"]) - _HOLDERS,
        folder / "layouts",
    )


def _class_of(receptacle: str) -> str:
    for basin in ("SinkBasin", "BathtubBasin"):
        if basin in receptacle:
            return basin
    return receptacle.split("|", 1)[0]


def _location(x: int, z: int, rotation: int, horizon: int) -> str:
    return f"loc|{x}|{z}|{rotation}|{horizon}"


def _coordinates(rng: random.Random) -> str:
    return "|".join(f"{rng.randint(-300, 300) / 100:+06.2f}" for _ in range(3))


@functools.cache
def room(number: int) -> Room:
    """A floor plan with its appliances; the same for every game that is played in it."""
    tables, rng = _tables(), random.Random(seed_of("alfworld-room", VERSION, number))
    plan = json.loads((tables.layouts / f"FloorPlan{number}-openable.json").read_text())
    listed = set(json.loads((tables.layouts / f"FloorPlan{number}-objects.json").read_text()))
    receptacles = {
        name: _location(round(x / 0.25), round(z / 0.25), rotation // 90, horizon)
        for name, (x, z, rotation, horizon) in sorted(plan.items())
        if _class_of(name) in tables.receptacles
    }
    have = {_class_of(name) for name in receptacles}
    for appliance, count in _APPLIANCES.items():
        if appliance in listed and appliance not in have:
            for _ in range(count):
                place = _location(rng.randint(-14, 14), rng.randint(-14, 14), rng.randint(0, 3), 45)
                receptacles[f"{appliance}|{_coordinates(rng)}"] = place
    by_class: dict[str, list[str]] = {}
    for name in receptacles:
        by_class.setdefault(_class_of(name), []).append(name)
    classes = tuple(name for name in sorted(PLACES) if name in listed and _homes(name, by_class))
    return Room(receptacles, {name: tuple(found) for name, found in by_class.items()}, classes)


def _homes(thing: str, classes: Any) -> dict[str, int]:
    """Receptacle class -> weight: where a class of objects stands among the classes that a room has."""
    fits = _tables().can_contain
    return {
        home: weight
        for home, weight in PLACES[thing][1].items()
        if home in classes and (thing in SCENERY or thing in fits.get(home, ()))
    }


def combinations(number: int) -> list[tuple[str, str, str]]:
    """Every (task type, goal object, goal target) that a room allows."""
    tables, plan, found = _tables(), room(number), []
    for thing in plan.classes:
        if thing in SCENERY:
            continue
        if _LAMP in plan.classes:
            found.append(("look_at_obj_in_light", thing, _LAMP))
        homes = _homes(thing, plan.by_class)
        for target in sorted(homes):
            if len(homes) > 1:  # else there is nowhere to bring it from
                found += [("pick_and_place_simple", thing, target), ("pick_two_obj_and_place", thing, target)]
            for verb, device in _DEVICES.items():
                if device in plan.by_class and device != target and f"{verb}able" in tables.abilities.get(thing, ()):
                    found.append((f"pick_{verb}_then_place_in_recep", thing, target))
    return found


def split_of(number: int, combination: tuple[str, str, str]) -> str:
    """The one split that a combination belongs to."""
    if number in UNSEEN_ROOMS:
        return "valid_unseen"
    return "valid_seen" if seed_of("alfworld-split", VERSION, number, *combination) % 10 == 0 else "train"


@functools.cache
def _choices(split: str) -> dict[str, dict[int, list[tuple[str, str, str]]]]:
    """task type -> room -> combinations of a split."""
    found: dict[str, dict[int, list[tuple[str, str, str]]]] = {kind: {} for kind in TASK_TYPES}
    for number in ROOMS:
        if (number in UNSEEN_ROOMS) == (split == "valid_unseen"):
            for combination in combinations(number):
                if split_of(number, combination) == split:
                    found[combination[0]].setdefault(number, []).append(combination)
    return found


def kind_of(split: str, index: int, seed: int = 0) -> str:
    """The task type of a game, without making it."""
    return _shuffled_block(split, index // len(_BLOCK), seed)[index % len(_BLOCK)]


@functools.lru_cache(maxsize=4096)
def _shuffled_block(split: str, block: int, seed: int) -> tuple[str, ...]:
    kinds = list(_BLOCK)
    random.Random(seed_of("alfworld-kinds", VERSION, seed, split, block)).shuffle(kinds)
    return tuple(kinds)


def generate(split: str, index: int, seed: int = 0) -> GeneratedGame:
    """Game number `index` of a split's endless panel; its walkthrough was replayed and solves it."""
    return made(split, index, seed)[0]


@functools.lru_cache(maxsize=256)
def made(split: str, index: int, seed: int) -> tuple[GeneratedGame, Game]:
    """The same, with the game as the native engine plays it; the last few hundred are kept."""
    kind = kind_of(split, index, seed)
    for attempt in range(20):
        rng = random.Random(seed_of("alfworld-game", VERSION, seed, split, index, attempt))
        draft = _with_walkthrough(_draft(split, index, kind, rng))
        game = to_game(draft)
        if solves(game, draft.walkthrough):
            return draft, game
    raise DataError(f"no solvable game came of alfworld {split} {index} (seed {seed}): a defect, please report it")


def solves(game: Game, walkthrough: tuple[str, ...]) -> bool:
    """Does a plan win, no sooner than at its end, with every command admissible."""
    play = Simulator(game)
    for command in walkthrough:
        if play.won or command not in play.commands:
            return False
        play.step(command)
    return play.won


def _draft(split: str, index: int, kind: str, rng: random.Random) -> GeneratedGame:
    choices = _choices(split)[kind]
    number = rng.choice(list(choices))
    _, thing, target = rng.choice(choices[number])
    plan = room(number)
    look, two = kind == "look_at_obj_in_light", kind == "pick_two_obj_and_place"
    placements: dict[str, str] = {}
    for name in plan.classes:
        homes = _homes(name, plan.by_class)
        count = rng.choices(range(4), PLACES[name][0])[0]
        if name == thing:
            count = rng.choices(range(5), _GOAL_COUNTS[two])[0]
            if two or kind == "pick_and_place_simple":
                homes.pop(target)
        elif name == _LAMP and look:
            count = max(count, 1)
        for home in rng.choices(list(homes), list(homes.values()), k=count):
            placements[_new_id(name, placements, rng)] = rng.choice(plan.by_class[home])
    start = _location(rng.randint(-12, 12), rng.randint(-12, 12), rng.randint(0, 3), 30)
    while start in plan.receptacles.values():  # as in every official game, nothing can be reached from the start
        start = _location(rng.randint(-12, 12), rng.randint(-12, 12), rng.randint(0, 3), 30)
    sentence = rng.choice(SENTENCES[kind]).format(o=thing.lower(), t=target.lower())
    placed = tuple(placements.items())
    return GeneratedGame(split, index, kind, number, thing, target, sentence, plan.receptacles, placed, start)


def _new_id(name: str, taken: Any, rng: random.Random) -> str:
    while True:
        made = f"{name}|{_coordinates(rng)}"
        if made not in taken:
            return made


def _with_walkthrough(game: GeneratedGame) -> GeneratedGame:
    """The plan of one who knows where all is: fetch, change, bring; things that lie open are fetched first."""
    names = display_names([mangle(i) for i in game.receptacles] + [mangle(i) for i, _ in game.placements])
    opened: set[str] = set()
    plan: list[str] = []
    here = game.start

    def visit(receptacle: str, inside: bool = True) -> str:
        nonlocal here
        name = names[mangle(receptacle)]
        if game.receptacles[receptacle] != here:
            plan.append(f"go to {name}")
            here = game.receptacles[receptacle]
        if inside and _class_of(receptacle) in _OPENABLE and receptacle not in opened:
            plan.append(f"open {name}")
            opened.add(receptacle)
        return name

    wanted = [(thing, r) for thing, r in game.placements if thing.split("|", 1)[0] == game.goal_object]
    wanted.sort(key=lambda pair: _class_of(pair[1]) in _OPENABLE)
    form = GOAL_FORMS[game.kind]
    for thing, receptacle in wanted[: 2 if form == "two" else 1]:
        name = names[mangle(thing)]
        plan.append(f"take {name} from {visit(receptacle)}")
        if form == "look":
            lamp, stand = next((i, r) for i, r in game.placements if i.startswith(_LAMP))
            visit(stand, inside=False)
            plan.append(f"use {names[mangle(lamp)]}")
            continue
        if form in _DEVICES:
            device = visit(room(game.room).by_class[_DEVICES[form]][0], inside=False)
            plan.append(f"{form} {name} with {device}")
        target = visit(room(game.room).by_class[game.goal_target][0])
        plan.append(f"move {name} to {target}")
    return replace(game, walkthrough=tuple(plan))


@functools.lru_cache(maxsize=65536)
def mangle(name: str) -> str:
    """A readable id as PDDL writes it, in lower case."""
    for sign, word in (("|", "_bar_"), ("-", "_minus_"), ("+", "_plus_"), (".", "_dot_"), (",", "_comma_")):
        name = name.replace(sign, word)
    return name.lower()


def _abilities(name: str) -> tuple[str, ...]:
    able = _tables().abilities.get(name, ())
    able += () if name in SCENERY else ("pickupable",)
    return able + (("isreceptacleobject",) if name in _HOLDERS else ())


@functools.cache
def _can_contain(number: int, things: frozenset[str]) -> frozenset[tuple[str, str]]:
    fits = _tables().can_contain
    homes = room(number).by_class
    return frozenset((h.lower(), t.lower()) for h in homes for t in things if t in fits.get(h, ()))


@functools.cache
def _furniture(number: int) -> tuple[dict[str, str], dict[str, str], frozenset[str]]:
    """Of a room: receptacle -> class, receptacle -> location, what can be opened; as the native engine has them."""
    plan = room(number).receptacles
    homes = {mangle(r): _class_of(r).lower() for r in plan}
    location = {mangle(r): mangle(place) for r, place in plan.items()}
    return homes, location, frozenset(mangle(r) for r in plan if _class_of(r) in _OPENABLE)


def to_game(game: GeneratedGame) -> Game:
    """The same game for the native engine, without the way over PDDL; equal to parsing `problem_text(game)`."""
    homes, location, openable = _furniture(game.room)
    kinds = dict(homes)
    inside = tuple((mangle(thing), mangle(r)) for thing, r in game.placements)
    abilities = {}
    things = set()
    for thing, _ in game.placements:
        name = thing.split("|", 1)[0]
        things.add(name)
        kinds[mangle(thing)] = name.lower()
        if able := _abilities(name):
            abilities[mangle(thing)] = frozenset(able)
    return Game(
        sentence=game.sentence,
        goal=GOAL_FORMS[game.kind],
        goal_object=game.goal_object.lower(),
        goal_target=game.goal_target.lower(),
        start=mangle(game.start),
        location=location,
        kind=kinds,
        openable=openable,
        can_contain=_can_contain(game.room, frozenset(things)),
        abilities=abilities,
        inside=inside,
        at=tuple((thing, location[r]) for thing, r in inside),
    )


def problem_text(game: GeneratedGame) -> str:
    """The game as a PDDL problem of the ALFRED domain; declares only the types that it or the domain names."""
    things = sorted({thing.split("|", 1)[0] for thing, _ in game.placements})
    homes = list(room(game.room).by_class)
    declared = {*things, "Knife", "ButterKnife", _LAMP, game.goal_object}
    declared_homes = {*homes, *_DEVICES.values(), "Sink"} | ({game.goal_target} - {_LAMP})
    fits = _tables().can_contain
    text = [f"(define (problem plan_trial_G{game.index:06d})", "(:domain alfred)", "(:objects", "agent1 - agent"]
    text += [f"{name}Type - otype" for name in sorted(declared)]
    text += [f"{name}Type - rtype" for name in sorted(declared_homes)]
    text += [f"{mangle(thing)} - object" for thing, _ in game.placements]
    text += [f"{mangle(r)} - receptacle" for r in game.receptacles]
    text += [f"{mangle(place)} - location" for place in sorted({*game.receptacles.values(), game.start})]
    text += [")", "(:init"]
    for r, place in game.receptacles.items():
        name = _class_of(r)
        text += [f"(receptacleType {mangle(r)} {name}Type)", f"(receptacleAtLocation {mangle(r)} {mangle(place)})"]
        text += [f"(openable {mangle(r)})"] if name in _OPENABLE else []
    text += [f"(canContain {home}Type {t}Type)" for home in homes for t in things if t in fits.get(home, ())]
    for thing, r in game.placements:
        name = thing.split("|", 1)[0]
        text += [f"(objectType {mangle(thing)} {name}Type)", f"(inReceptacle {mangle(thing)} {mangle(r)})"]
        text += [f"(objectAtLocation {mangle(thing)} {mangle(game.receptacles[r])})"]
        text += [f"({able} {mangle(thing)})" for able in _abilities(name)]
    text += [f"(atLocation agent1 {mangle(game.start)})", ")", _goal_text(game), ")"]
    return "\n".join(text)


def _goal_text(game: GeneratedGame) -> str:
    thing, target, form = game.goal_object, game.goal_target, GOAL_FORMS[game.kind]
    there = f"(objectType ?o {thing}Type) (receptacleType ?r {target}Type)"
    one = "(:goal (and (exists (?r - receptacle) (exists (?o - object) (and {}))))) "
    if form == "place":
        return one.format(f"(inReceptacle ?o ?r) {there}")
    if form == "look":
        return (
            "(:goal (and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and"
            f" (objectType ?ot {target}Type) (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l)"
            " (atLocation ?a ?l) (inReceptacle ?ot ?r))) (exists (?o - object ?a - agent) (and"
            f" (objectType ?o {thing}Type) (holds ?a ?o)))))"
        )
    if form == "two":
        first, second = (
            f"(objectType ?o{n} {thing}Type) (receptacleType ?r {target}Type) (inReceptacle ?o{n} ?r)" for n in (1, 2)
        )
        return (
            f"(:goal (and (exists (?r - receptacle) (exists (?o1 - object) (and {first}"
            f" (exists (?o2 - object) (and (not (= ?o1 ?o2)) {second})))))))"
        )
    return one.format(f"({form}able ?o) {there} ({STATE[form]} ?o) (inReceptacle ?o ?r)")
