"""The ALFRED text domain in plain Python: the sentences and commands of TextWorld's engine, a thousand times as fast.

`parse` reads a PDDL problem, official or generated; `Simulator` plays it. The state is the part of the PDDL state that
an agent can come to see, kept as sets of facts as the engine keeps them, its quirks included: `look` shows what lies
at a location but was taken out of a receptacle there, an object may be in two receptacles, a closed receptacle's
contents can be sliced. A differential test holds the two engines equal, sentence by sentence.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agentrl.errors import DataError

BANNER = "-= Welcome to TextWorld, ALFRED! =-\n\n"
NOTHING = "Nothing happens."
HELP = """Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""

DEVICES = {"clean": ("sinkbasin", "sink"), "heat": ("microwave",), "cool": ("fridge",)}
"""What changes an object's state, by command: types of receptacle."""
ABILITY = {"clean": "cleanable", "heat": "heatable", "cool": "coolable"}
STATE = {"clean": "isclean", "heat": "ishot", "cool": "iscool"}
KNIVES = ("knife", "butterknife")

_FACT = re.compile(r"\(([\w-]+)([^()]*)\)")
_ABILITIES = ("pickupable", "cleanable", "heatable", "coolable", "sliceable", "toggleable", "isreceptacleobject")
_STATES = ("isclean", "ishot", "iscool", "issliced", "istoggled")
_UNSEEN = ("ison", "checked", "examined", "wasinreceptacle", "moveable", "full", "isreceptacleobjectfull")
"""Facts that no sentence and no command depends on."""

_PLACED = r"\(exists\(\?r-receptacle\)\(exists\(\?o-object\)\(and"
_GOALS = {
    "look": re.compile(
        r"\(:goal\(and\(exists\(\?ot-object\?r-receptacle\?a-agent\?l-location\)\(and\(objecttype\?ot(?P<target>\w+)type\)"
        r"\(toggleable\?ot\)\(istoggled\?ot\)\(receptacleatlocation\?r\?l\)\(atlocation\?a\?l\)\(inreceptacle\?ot\?r\)\)\)"
        r"\(exists\(\?o-object\?a-agent\)\(and\(objecttype\?o(?P<object>\w+)type\)\(holds\?a\?o\)\)\)\)\)\)"
    ),
    "place": re.compile(
        r"\(:goal\(and" + _PLACED + r"\(inreceptacle\?o\?r\)\(objecttype\?o(?P<object>\w+)type\)"
        r"\(receptacletype\?r(?P<target>\w+)type\)\)\)\)\)\)\)"
    ),
    "two": re.compile(
        r"\(:goal\(and\(exists\(\?r-receptacle\)\(exists\(\?o1-object\)\(and\(objecttype\?o1(?P<object>\w+)type\)"
        r"\(receptacletype\?r(?P<target>\w+)type\)\(inreceptacle\?o1\?r\)\(exists\(\?o2-object\)\(and\(not\(=\?o1\?o2\)\)"
        r"\(objecttype\?o2(?P=object)type\)\(receptacletype\?r(?P=target)type\)\(inreceptacle\?o2\?r\)\)\)\)\)\)\)\)\)"
    ),
} | {
    kind: re.compile(
        r"\(:goal\(and" + _PLACED + rf"\({ABILITY[kind]}\?o\)\(objecttype\?o(?P<object>\w+)type\)"
        rf"\(receptacletype\?r(?P<target>\w+)type\)\({STATE[kind]}\?o\)\(inreceptacle\?o\?r\)\)\)\)\)\)\)"
    )
    for kind in ABILITY
}
"""The six forms that a goal has, as they read without white space and in lower case."""


class UnknownGame(DataError):
    """A game that the native engine does not know; the real engine plays it."""


@dataclass(slots=True, kw_only=True)
class Game:
    """What a game is at its start. Ids and types are in lower case, as the engine has them."""

    sentence: str
    """The task, as the agent reads it, with its full stop."""
    goal: str
    """look, place, two, clean, heat or cool."""
    goal_object: str
    """Type of the object that the goal is about."""
    goal_target: str
    """Type of the receptacle that it goes to, or of the lamp."""
    start: str
    """Location of the agent."""
    location: Mapping[str, str]
    """receptacle -> location."""
    kind: Mapping[str, str]
    """receptacle or object -> type."""
    openable: frozenset[str]
    can_contain: frozenset[tuple[str, str]]
    """(type of receptacle, type of object)."""
    abilities: Mapping[str, frozenset[str]]
    """object -> what can be done with it."""
    inside: tuple[tuple[str, str], ...]
    """(object, receptacle)."""
    at: tuple[tuple[str, str], ...]
    """(object, location)."""
    nested: tuple[tuple[str, str], ...] = ()
    """(object, the object it lies in)."""
    opened: frozenset[str] = frozenset()
    states: tuple[tuple[str, str], ...] = ()
    """(isclean, ishot, iscool, issliced or istoggled, object)."""
    receptacles: tuple[str, ...] = field(init=False)
    """In the order of the opening sentence."""
    names: dict[str, str] = field(init=False)
    """id -> what the agent reads, as `cabinet 3`."""
    nearby: dict[str, tuple[str, ...]] = field(init=False)
    """location -> receptacles that can be reached from it."""
    travel: dict[str, dict[str, tuple[str, ...]]] = field(init=False)
    """location -> the commands that lead away from it; filled as locations are visited."""

    def __post_init__(self) -> None:
        self.receptacles = tuple(sorted(self.location))
        self.names = display_names({*self.kind, *self.abilities})  # a cracked egg has no type, and takes a number
        near: dict[str, list[str]] = {}
        for receptacle in self.receptacles:
            near.setdefault(self.location[receptacle], []).append(receptacle)
        self.nearby = {place: tuple(found) for place, found in near.items()}
        self.travel = {}

    def travel_from(self, place: str) -> dict[str, tuple[str, ...]]:
        """`go to` commands that are open at a location."""
        if place not in self.travel:
            self.travel[place] = {
                f"go to {self.names[r]}": ("go", r) for r in self.receptacles if self.location[r] != place
            }
        return self.travel[place]


def display_names(ids: Iterable[str]) -> dict[str, str]:
    """id -> `class number`: as AlfredDemangler numbers them, the first id of a class gets the highest number."""
    ordered = sorted(ids)
    base = {i: i.split("_bar_", 1)[0] + ("basin" if "basin" in i else "") for i in ordered}
    left: dict[str, int] = {}
    for name in base.values():
        left[name] = left.get(name, 0) + 1
    names = {}
    for i in ordered:
        names[i] = f"{base[i]} {left[base[i]]}"
        left[base[i]] -= 1
    return names


def parse_goal(goal: str) -> tuple[str, str, str]:
    """(form, type of object, type of target) of a problem's goal; UnknownGame where it has none of the six forms."""
    plain = re.sub(r"\s+", "", goal).lower()
    for form, pattern in _GOALS.items():
        found = pattern.match(plain)
        if found:
            return form, found["object"], found["target"]
    raise UnknownGame("the native engine does not know this goal; engine=textworld may")


def parse(problem: str, sentence: str) -> Game:
    """A game from its PDDL problem and its task sentence.

    Raises UnknownGame where it holds what no game of ALFRED does, DataError where it is damaged.
    """
    begin, end = problem.find("(:init"), problem.find("(:goal")
    if not 0 <= begin < end:
        raise DataError("the PDDL problem has no (:init ...) and (:goal ...)")
    goal, goal_object, goal_target = parse_goal(problem[end:])
    location: dict[str, str] = {}
    receptacle_type: dict[str, str] = {}
    object_type: dict[str, str] = {}
    only = {"receptacletype": receptacle_type, "objecttype": object_type, "receptacleatlocation": location}
    abilities: dict[str, set[str]] = {}
    pairs: dict[str, list[tuple[str, str]]] = {"inreceptacle": [], "objectatlocation": [], "inreceptacleobject": []}
    single: dict[str, set[str]] = {"openable": set(), "opened": set()}
    can_contain, states, start = set(), [], ""
    for predicate, arguments in _FACT.findall(problem[begin + 6 : end].lower()):
        words = arguments.split()
        if predicate in only:
            value = words[1] if predicate == "receptacleatlocation" else words[1].removesuffix("type")
            if only[predicate].setdefault(words[0], value) != value:
                raise UnknownGame(f"the native engine does not know things with two ({predicate} ...)")
        elif predicate == "cancontain":
            can_contain.add((words[0].removesuffix("type"), words[1].removesuffix("type")))
        elif predicate == "atlocation":
            start = words[1]
        elif predicate in pairs:
            pairs[predicate].append((words[0], words[1]))
        elif predicate in single:
            single[predicate].add(words[0])
        elif predicate in _ABILITIES:
            abilities.setdefault(words[0], set()).add(predicate)
        elif predicate in _STATES:
            states.append((predicate, words[0]))
        elif predicate not in _UNSEEN:
            raise UnknownGame(
                f"the native engine does not know ({predicate} ...); the real one does (engine=textworld)"
            )
    if not start or set(receptacle_type) != set(location):
        raise DataError("the PDDL problem is incomplete: a receptacle without a type or place, or no (atLocation ...)")
    return Game(
        sentence=sentence,
        goal=goal,
        goal_object=goal_object,
        goal_target=goal_target,
        start=start,
        location=location,
        kind=receptacle_type | object_type,
        openable=frozenset(single["openable"]),
        can_contain=frozenset(can_contain),
        abilities={o: frozenset(a) for o, a in abilities.items()},
        inside=tuple(pairs["inreceptacle"]),
        at=tuple(pairs["objectatlocation"]),
        nested=tuple(pairs["inreceptacleobject"]),
        opened=frozenset(single["opened"]),
        states=tuple(states),
    )


def listing(names: list[str]) -> str:
    """`a`, `a, and b`, `a, b, and c`, or `nothing`: as the game's grammar joins."""
    if not names:
        return "nothing"
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + ", and " + names[-1]


class Simulator:
    """Plays a game. `opening`: its first text; `commands`: what it accepts now; `described`: the receptacle whose
    contents the last sentence told."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.opening = self.reset()

    def reset(self) -> str:
        """Back to the start; the opening text, banner included."""
        game = self.game
        self.place = game.start
        self.holding: str | None = None
        self.opened = set(game.opened)
        self.contents: dict[str, set[str]] = {r: set() for r in game.receptacles}
        for thing, receptacle in game.inside:
            self.contents[receptacle].add(thing)
        self.at: dict[str, set[str]] = {}
        for thing, place in game.at:
            self.at.setdefault(place, set()).add(thing)
        self.taken: set[tuple[str, str]] = set()  # (object, receptacle it was taken from and is not in)
        self.states = {s: {o for state, o in game.states if state == s} for s in _STATES}
        self.described: str | None = None
        self.won = self._reached()
        self._list_commands()
        opening = listing([f"a {game.names[r]}" for r in game.receptacles])
        room = f"You are in the middle of a room. Looking quickly around you, you see {opening}."
        return f"{BANNER}{room}\n\nYour task is to: {game.sentence}"

    @property
    def here(self) -> tuple[str, ...]:
        """Receptacles that can be reached from where the agent stands."""
        return self.game.nearby.get(self.place, ())

    @property
    def admissible(self) -> list[str]:
        """What the game accepts now, sorted; `help` is among it."""
        return sorted(self.commands)

    def step(self, command: str) -> str:
        """Do what an exact command says, white space around it aside; anything else changes nothing."""
        self.described = None
        found = self.commands.get(command.strip())
        if found is None:
            return NOTHING
        feedback: str = getattr(self, "_" + found[0])(*found[1:])
        self._list_commands()
        self.won = self._reached()
        return feedback

    def is_open(self, receptacle: str) -> bool:
        return receptacle not in self.game.openable or receptacle in self.opened

    def _list_commands(self) -> None:
        game, names, held = self.game, self.game.names, self.holding
        commands: dict[str, tuple[str, ...]] = dict(game.travel_from(self.place))
        commands["inventory"], commands["look"], commands["help"] = ("inventory",), ("look",), ("help",)
        abilities = game.abilities.get(held, frozenset()) if held else frozenset()
        for r in self.here:
            name = names[r]
            commands[f"examine {name}"] = ("see", r)
            if r in game.openable:
                verb = "close" if r in self.opened else "open"
                commands[f"{verb} {name}"] = (verb, r)
            reachable = self.is_open(r)
            for thing in self.contents[r]:
                can = game.abilities.get(thing, frozenset())
                if reachable and held is None and "pickupable" in can:
                    commands[f"take {names[thing]} from {name}"] = ("take", thing, r)
                if "toggleable" in can:
                    commands[f"use {names[thing]}"] = ("use", thing)
            if held:
                if reachable and (game.kind[r], game.kind[held]) in game.can_contain:
                    commands[f"move {names[held]} to {name}"] = ("move", held, r)
                for verb, devices in DEVICES.items():
                    if game.kind[r] in devices and ABILITY[verb] in abilities:
                        commands[f"{verb} {names[held]} with {name}"] = ("change", verb, held, r)
        if held:
            commands[f"examine {names[held]}"] = ("examine", held)
            if game.kind[held] in KNIVES:
                for thing in self.at.get(self.place, ()):
                    if "sliceable" in game.abilities.get(thing, ()):
                        commands[f"slice {names[thing]} with {names[held]}"] = ("slice", thing, held)
        self.commands = commands

    def _names(self, things: Iterable[str]) -> list[str]:
        return [f"a {self.game.names[t]}" for t in sorted(things)]

    def _see(self, receptacle: str) -> str:
        name = self.game.names[receptacle]
        if not self.is_open(receptacle):
            return f"The {name} is closed."
        self.described = receptacle
        seen = listing(self._names(self.contents[receptacle]))
        if receptacle in self.game.openable:
            return f"The {name} is open. In it, you see {seen}."
        return f"On the {name}, you see {seen}."

    def _go(self, receptacle: str) -> str:
        self.place = self.game.location[receptacle]
        return f"You arrive at {self.game.names[receptacle]}. {self._see(receptacle)}"

    def _open(self, receptacle: str) -> str:
        self.opened.add(receptacle)
        return f"You open the {self.game.names[receptacle]}. {self._see(receptacle)}"

    def _close(self, receptacle: str) -> str:
        self.opened.discard(receptacle)
        return f"You close the {self.game.names[receptacle]}."

    def _take(self, thing: str, receptacle: str) -> str:
        self.contents[receptacle].discard(thing)
        self.taken.add((thing, receptacle))
        self.at.setdefault(self.place, set()).discard(thing)
        self.holding = thing
        return f"You pick up the {self.game.names[thing]} from the {self.game.names[receptacle]}."

    def _move(self, thing: str, receptacle: str) -> str:
        self.contents[receptacle].add(thing)
        self.taken.discard((thing, receptacle))
        self.at.setdefault(self.place, set()).add(thing)
        self.holding = None
        return f"You move the {self.game.names[thing]} to the {self.game.names[receptacle]}."

    def _change(self, verb: str, thing: str, receptacle: str) -> str:
        self.states[STATE[verb]].add(thing)
        if verb != "clean":
            self.states["iscool" if verb == "heat" else "ishot"].discard(thing)
        return f"You {verb} the {self.game.names[thing]} using the {self.game.names[receptacle]}."

    def _use(self, thing: str) -> str:
        self.states["istoggled"].add(thing)
        return f"You turn on the {self.game.names[thing]}."

    def _slice(self, thing: str, knife: str) -> str:
        self.states["issliced"].add(thing)
        return f"You sliced the {self.game.names[thing]} with the {self.game.names[knife]}."

    def _inventory(self) -> str:
        if self.holding is None:
            return "You are not carrying anything."
        return f"You are carrying: a {self.game.names[self.holding]}."

    def _help(self) -> str:
        return HELP

    def _look(self) -> str:
        if not self.here:
            return "You are in the middle of a room. Looking quickly around you, you see nothing."
        lying = [t for t in sorted(self.at.get(self.place, ())) for r in self.here if (t, r) in self.taken]
        facing = listing([self.game.names[r] for r in self.here])
        return f"You are facing the {facing}. Next to it, you see {listing(self._names(lying))}."

    def _examine(self, thing: str) -> str:
        name, states, can = self.game.names[thing], self.states, self.game.abilities.get(thing, frozenset())
        if "isreceptacleobject" in can:
            # one official game has a pan in itself; no two letters of a rule stand for one thing, so nobody sees it
            inner = listing(self._names(o for o, outer in self.game.nested if outer == thing != o))
            return f"This is a normal {name}. In it, you see {inner}."
        clean, hot, cool = (thing in states[s] for s in ("isclean", "ishot", "iscool"))
        sliced = "sliced " if thing in states["issliced"] else ""
        if clean and (hot or cool):
            return f"This is a {'hot' if hot else 'cool'} and clean {sliced}{name}."
        if clean or hot or cool:  # whole, a cool object is called cold
            word = "clean" if clean else "hot" if hot else "cool" if sliced else "cold"
            return f"This is a {word} {sliced}{name}."
        if "toggleable" in can and thing in states["istoggled"]:
            return f"This {name} is on."
        if "sliceable" in can and sliced:
            return f"This is a sliced {name}."
        return f"There's nothing special about {name}."

    def _reached(self) -> bool:
        game = self.game
        if game.goal == "look":
            if self.holding is None or game.kind[self.holding] != game.goal_object:
                return False
            lit = (o for r in self.here for o in self.contents[r] if o in self.states["istoggled"])
            return any(game.kind[o] == game.goal_target and "toggleable" in game.abilities[o] for o in lit)
        needed = 2 if game.goal == "two" else 1
        for r in game.receptacles:
            if game.kind[r] == game.goal_target:
                fit = [o for o in self.contents[r] if game.kind.get(o) == game.goal_object and self._fits(o)]
                if len(fit) >= needed:
                    return True
        return False

    def _fits(self, thing: str) -> bool:
        goal = self.game.goal
        if goal not in ABILITY:
            return True
        return thing in self.states[STATE[goal]] and ABILITY[goal] in self.game.abilities.get(thing, ())
