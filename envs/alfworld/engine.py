"""The engine that the benchmark is made with: TextWorld's PddlEnv, with the same texts and a twentieth of the time.

What takes the stock engine long is done once: a game is translated from PDDL a single time instead of four, and the
translation is kept, in memory and in the cache folder; the grammar is parsed once a process; admissible commands are
written out directly instead of deriving the grammar for each. A test compares it with the stock engine, text by text.
"""

import ast
import collections
import contextlib
import functools
import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from agentrl.envs.alfworld.cache import cache_folder, read_json, write_json
from agentrl.envs.alfworld.native import NOTHING
from agentrl.envs.alfworld.sources import GameRef, GameText, load_text, sentence_of
from agentrl.errors import DataError, missing_package


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    """Importing `alfworld` makes a folder and sets $ALFWORLD_DATA; neither is wanted of an import."""
    before = os.environ.get("ALFWORLD_DATA")
    if before is None or not os.path.isdir(before):
        os.environ["ALFWORLD_DATA"] = tempfile.gettempdir()
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("ALFWORLD_DATA", None)
        else:
            os.environ["ALFWORLD_DATA"] = before


@contextlib.contextmanager
def _arguments_kept() -> Iterator[None]:
    """The planner's translator overwrites sys.argv."""
    before = sys.argv
    try:
        yield
    finally:
        sys.argv = before


try:
    with _environment_kept():
        import fast_downward
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos
        from textworld.core import EnvInfos, GameState
        from textworld.envs import PddlEnv
        from textworld.envs.pddl.logic import Atom, GameLogic, PddlState
        from textworld.envs.pddl.textgen import ConditionalSymbol, EvalSymbol, ListSymbol, _parse_and_convert
        from textworld.logic import Placeholder, Proposition, Type, Variable
except ModuleNotFoundError as error:
    raise missing_package(
        "the alfworld environment", str(error.name), "pip install 'textworld[pddl]' alfworld (or set engine=native)"
    ) from error

_LOCK = threading.RLock()
"""Translation and grammar are global to a process; threads take turns."""
_FORMAT = 1
_KEPT = 16
_UNNAMED = "UNKNOWN GOAL."


class Translations:
    """PDDL games as the planner library reads them, kept for the games that come again."""

    def __init__(self) -> None:
        self._recent: collections.OrderedDict[str, dict[str, Any]] = collections.OrderedDict()
        # Importing the translator reads sys.argv, so that the version is taken from the package's metadata.
        self._versions = f"{_FORMAT}/{version('textworld')}/{version('fast_downward_textworld')}"

    def get(self, domain: str, problem: str) -> dict[str, Any]:
        """sas: text; actions, objects, types, facts: what PddlState takes from the parsed task."""
        key = hashlib.sha256("\0".join((self._versions, domain, problem)).encode()).hexdigest()
        if key in self._recent:
            self._recent.move_to_end(key)
            return self._recent[key]
        file = cache_folder() / "alfworld" / "translated" / key[:2] / f"{key}.json.z"
        found = read_json(file)
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            found = _translate(domain, problem)
            write_json(file, found)
        self._recent[key] = found
        while len(self._recent) > _KEPT:
            self._recent.popitem(last=False)
        return found


_TRANSLATIONS = Translations()


def _translate(domain: str, problem: str) -> dict[str, Any]:
    """The one slow step, about 0.3 s a game. Raises DataError where the text is no PDDL problem of the domain."""
    try:
        with _arguments_kept():
            task, sas = fast_downward.pddl2sas(domain, problem, verbose=False)
    except (Exception, SystemExit) as error:
        raise DataError(f"the PDDL problem cannot be translated ({type(error).__name__}: {error})") from None
    facts = [
        [atom.predicate, *atom.args]
        for atom in task.init
        if isinstance(atom, fast_downward.translate.pddl.conditions.Atom) and atom.predicate != "="
    ]
    return {
        "format": _FORMAT,
        "sas": sas,
        "actions": {a.name: [[p.name.strip("?"), p.type_name] for p in a.parameters] for a in task.actions},
        "types": [[t.name, list(t.supertype_names)] for t in task.types],
        "objects": {o.name: o.type_name for o in task.objects},
        "facts": facts,
    }


class _Shallow(dict[Any, Any]):
    """What a sentence's derivation copies deeply at every symbol, and never changes inside."""

    def __deepcopy__(self, memo: Any) -> "_Shallow":
        return _Shallow(self)


class _State(PddlState):
    """PddlState from a kept translation.

    start: the facts of an earlier start of the same game; None reads them from the library.
    """

    def __init__(self, library: Any, translated: Mapping[str, Any], logic: Any, start: Any = None) -> None:
        # What the stock constructor sets before it translates; its own base class wants another GameLogic.
        self._facts: Any = collections.defaultdict(set)
        self._vars_by_name: dict[str, Any] = {}
        self._vars_by_type: Any = collections.defaultdict(set)
        self._var_counts: Any = collections.Counter()
        self._logic, self.downward_lib = logic, library
        self.name2type = translated["objects"]
        for name, supertypes in translated["types"]:
            with contextlib.suppress(ValueError):  # known from an earlier game
                logic.types.add(Type(name, supertypes))
        library.load_sas(translated["sas"].encode())
        self.start = list(self._facts_at_start(translated)) if start is None else start
        self.add_facts(self.start)

    def _facts_at_start(self, translated: Mapping[str, Any]) -> Iterator[Any]:
        yield from (self._proposition(name, arguments) for name, *arguments in translated["facts"])
        atoms = (Atom * self.downward_lib.get_state_size())()
        self.downward_lib.get_state(atoms)
        yield from (fact for atom in atoms if not (fact := atom.get_fact(self.name2type)).is_negation)

    def _proposition(self, name: str, arguments: list[str]) -> Any:
        return Proposition(name, [Variable(a, self.name2type[a]) for a in arguments])


@functools.lru_cache(maxsize=8)
def _logic(domain: str, grammar: str) -> Any:
    """The parsed grammar of a domain; its types are collected over all games.

    Raises DataError where it could do more than name things: the engine evaluates its expressions as Python.
    """
    logic = GameLogic(domain=domain, grammar=grammar)
    for rules in logic.grammar._rules.values():
        for rule in rules:
            _check(rule.rhs)
    for action in logic.actions.values():
        for text in (action.feedback_rule, action.template):
            _check(_parse_and_convert(text, rule_name="symbols"))
    return logic


_HARMLESS = (ast.Expression, ast.BinOp, ast.Add, ast.BoolOp, ast.Or, ast.Attribute, ast.Name, ast.Constant, ast.Load)
_SHOWN = ("name", "id", "indefinite", "definite")


def _check(symbols: Any) -> None:
    """Refuse symbols of a grammar that hold more than names of things, texts, `+` and `or`."""
    for symbol in symbols if isinstance(symbols, list) else [symbols]:
        if isinstance(symbol, EvalSymbol):
            try:
                nodes = list(ast.walk(ast.parse(symbol.expression.strip(), mode="eval")))
            except SyntaxError:
                nodes = [ast.Pass()]
            for node in nodes:
                if not isinstance(node, _HARMLESS) or (isinstance(node, ast.Attribute) and node.attr not in _SHOWN):
                    what = symbol.expression.strip()[:60]
                    raise DataError(f"the game's grammar holds {what!r}, which may do harm; use games of ALFWorld only")
        elif isinstance(symbol, ConditionalSymbol):
            _check(symbol.expression)
        elif isinstance(symbol, ListSymbol):
            _check(symbol.symbol)


class AlfredEngine(PddlEnv):
    """PddlEnv for ALFRED games: feedback, raw, won, lost, score, done, moves and admissible_commands as there.

    Plans (`policy_commands`) are not offered: the planner may take minutes; games carry a walkthrough.
    """

    def load(self, filename_or_data: Any) -> None:
        """Load a game's mapping of pddl_domain, grammar, pddl_problem. Raises DataError where it is damaged."""
        data: Mapping[str, Any] = filename_or_data
        self._game_file, self._game_data = None, data
        self.walkthrough = data.get("walkthrough")
        self._sentence = sentence_of(data["grammar"])
        self._logic = _logic(data["pddl_domain"], data["grammar"].replace(self._sentence, _UNNAMED, 1))
        self._translated = _TRANSLATIONS.get(data["pddl_domain"], data["pddl_problem"])
        self._pddl_state = _State(self.downward_lib, self._translated, self._logic)
        self._fresh = True
        self._entity_infos = self._get_entity_infos()
        self._templates = {
            name: "go to {r}" if "[" in action.template else action.template
            for name, action in self._logic.actions.items()
        }

    def reset(self) -> Any:
        """Back to the start of the loaded game."""
        if not self._fresh:
            start = self._pddl_state.start
            self._pddl_state = _State(self.downward_lib, self._translated, self._logic, start)
        self._fresh = False
        self.prev_state, self._moves = None, 0
        self.state = GameState()
        self.state.feedback = self.state.raw = self._derive("#intro#", [], [])
        self._gather_infos()
        return self.state

    def step(self, command: str) -> Any:
        """Play an exact command: (state, score, done)."""
        self.prev_state, self.state = self.state, GameState()
        self.state.last_command = command.strip()
        operator = self._operators.get(command.strip())
        if operator is None:
            self.state.feedback = NOTHING
        else:
            self._pddl_state.apply(operator)
            words = operator.name.split()
            self._moves += 1
            self.state.feedback = self._derive(self._logic.actions[words[0]].feedback_rule, words[0], words[1:])
        self.state.raw = self.state.feedback
        self._gather_infos()
        self.state["score"] = int(self.state["won"])
        self.state["done"] = self.state["won"]
        return self.state, self.state["score"], self.state["done"]

    def _gather_infos(self) -> None:
        self.state["won"], self.state["lost"] = self._pddl_state.check_goal(), False
        self._operators = self._applicable()
        self.state["admissible_commands"] = sorted(self._operators)
        if self.request_infos.moves:
            self.state["moves"] = self._moves
        if self.request_infos.facts:
            self.state["facts"] = [self._get_human_readable_fact(fact) for fact in self._pddl_state.facts]

    def _applicable(self) -> dict[str, Any]:
        """command -> operator; of several operators with one command the first, as the stock engine takes it."""
        library = self._pddl_state.downward_lib
        operators = (fast_downward.Operator * library.get_applicable_operators_count())()
        library.get_applicable_operators(operators)
        self._pddl_state._operators = {operator.id: operator for operator in operators}
        found: dict[str, Any] = {}
        for operator in operators:
            action, *arguments = operator.name.split()
            names = {
                parameter: self._entity_infos[argument].name.strip() if argument in self._entity_infos else argument
                for (parameter, _), argument in zip(self._translated["actions"][action], arguments, strict=False)
            }
            found.setdefault(self._templates[action].format(**names), operator)
        return found

    def _derive(self, rule: str, action: Any, arguments: list[str]) -> str:
        """A sentence of the grammar for an action (empty: none) and its arguments."""
        parameters = self._translated["actions"][action] if action else []
        mapping = {
            Placeholder(name, kind): Variable(argument, kind)
            for (name, kind), argument in zip(parameters, arguments, strict=False)
        }
        context = {
            "state": self._pddl_state,
            "facts": list(self._pddl_state.facts),
            "variables": _Shallow((placeholder.name, self._entity_infos[v.name]) for placeholder, v in mapping.items()),
            "mapping": _Shallow(mapping),
            "entity_infos": self._entity_infos,
        }
        text: str = self._logic.grammar.derive(rule, context)
        return text.replace(_UNNAMED, self._sentence)


def as_mapping(text: GameText) -> dict[str, Any]:
    """A game in the form of game.tw-pddl, which every PddlEnv loads."""
    return {
        "pddl_domain": text.domain,
        "grammar": text.grammar,
        "pddl_problem": text.problem,
        "solvable": True,
        "walkthrough": list(text.walkthrough),
    }


_ENGINES = {"textworld": AlfredEngine, "stock": PddlEnv}
_IDLE: dict[str, list[Any]] = {name: [] for name in _ENGINES}
"""Engines that were let go. Each has its own copy of the planner library, which no process gives back."""


class TextWorldPlayer:
    """The real engine with alfworld's own wrappers, by reference to a game; threads take turns.

    engine: `textworld`, the quick one of this file, or `stock`, the package's as it is.
    """

    won = False

    def __init__(self, engine: str = "textworld") -> None:
        self._idle = _IDLE[engine]
        with _LOCK:
            infos = EnvInfos(feedback=True, won=True, admissible_commands=True)
            made = AlfredInfos(AlfredDemangler(_ENGINES[engine](infos), shuffle=False)) if not self._idle else None
            self._env = made or self._idle.pop()
        self._loaded: GameRef | None = None
        self.state: Any = None

    def start(self, ref: GameRef) -> str:
        """The opening text, banner included. Raises DataError where the game cannot be read."""
        with _LOCK:
            if self._loaded != ref:
                self._loaded = None
                self._load(ref)
                self._loaded = ref
            with _arguments_kept():
                self.state = self._env.reset()
        self.won = bool(self.state["won"])
        return str(self.state.feedback)

    def _load(self, ref: GameRef) -> None:
        where = ref.path or f"alfworld game {ref.index} of {ref.split}"
        text = load_text(ref)
        try:
            _logic(text.domain, text.grammar.replace(text.sentence, _UNNAMED, 1))  # refuses what could do harm
            with _arguments_kept():
                self._env.load(as_mapping(text))
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        except Exception as error:  # the grammar's parser and the planner raise all sorts for a damaged file
            raise DataError(f"{where} cannot be loaded ({type(error).__name__}); fetch it again") from error

    def play(self, command: str) -> str:
        """The sentence that answers an exact command."""
        with _LOCK:
            self.state, _, _ = self._env.step(command)
        self.won = bool(self.state["won"])
        return str(self.state.feedback)

    def admissible(self) -> list[str]:
        """What the game accepts now, sorted; `help` is among it."""
        return list(self.state["admissible_commands"])

    def close(self) -> None:
        """Leave the engine to the next player of this process."""
        if self._env is not None:
            self._idle.append(self._env)
        self._env = None
