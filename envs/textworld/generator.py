"""TextWorld's generators and compiler, by reference to a game: about a second of processor time each.

Importing this file imports TextWorld. Generation uses global state of the package, so that threads take turns.
"""

import contextlib
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentrl.envs.textworld.challenges import Challenge, read
from agentrl.envs.textworld.games import GameRef, StoredGame
from agentrl.errors import DataError, missing_package
from agentrl.seeds import seed_of

try:
    import textworld
    from textworld.challenges import CHALLENGES
    from textworld.generator import compile_game, make_game
    from textworld.generator.game import GameProgression
    from textworld.generator.inform7 import CouldNotCompileGameError, Inform7Game
except ModuleNotFoundError as error:
    raise missing_package("the textworld environment", str(error.name), "pip install textworld") from error

_LOCK = threading.RLock()
_ATTEMPTS = 10
_STOCK_WALKTHROUGH = textworld.GameMaker.set_walkthrough


def make(ref: GameRef) -> StoredGame:
    """Generate and compile a game. Raises DataError where the package cannot make one of these settings.

    Some seeds of some settings allow no game; then a seed that follows from it is taken, of the same split.
    """
    challenge = read(ref.word)
    for attempt in range(_ATTEMPTS):
        seed = ref.seed if attempt == 0 else 4 * (seed_of("textworld-again", ref.seed, attempt) % 2**29) + ref.seed % 4
        try:
            return _made(challenge, ref, seed)
        except OSError as error:
            raise DataError(f"textworld cannot write the game {ref.word} to be compiled ({error})") from None
        except CouldNotCompileGameError as error:
            raise DataError(
                f"textworld cannot compile {ref.word}: the game is too big; take smaller settings"
            ) from error
        except Exception as error:  # the generators raise all sorts
            failure = error
    reason = str(failure).strip().splitlines() or [type(failure).__name__]
    raise DataError(
        f"textworld cannot make {ref.word}: {reason[0][:200]} ({_ATTEMPTS} seeds from {ref.seed} on were tried); "
        "take other settings"
    ) from failure


def _made(challenge: Challenge, ref: GameRef, seed: int) -> StoredGame:
    with _LOCK, tempfile.TemporaryDirectory(prefix="agentrl-textworld-") as folder, _undisturbed():
        options = textworld.GameOptions()
        options.seeds = seed
        options.path = str(Path(folder) / "game.z8")
        options.grammar.only_last_action = not ref.steps
        game = _game(challenge, ref, options)
        compile_game(game, options)
        about = Path(folder, "game.json").read_text(encoding="utf-8")
        return StoredGame(Path(options.path).read_bytes(), about, tuple(game.walkthrough or ()))


def _game(challenge: Challenge, ref: GameRef, options: Any) -> Any:
    """The package's description of a game of this challenge."""
    values = challenge.settings
    if challenge.name == "custom":
        options.nb_rooms, options.nb_objects = values["rooms"], values["objects"]
        options.quest_length, options.quest_breadth = values["quest"], values["breadth"]
        options.nb_parallel_quests = values["parallel"]
        return make_game(options)
    settings: dict[str, Any] = dict(values)
    if challenge.name == "simple":
        settings |= {"goal": "detailed" if ref.steps else "brief", "test": ref.split == "test"}
    if challenge.name == "cooking":
        settings |= {"split": ref.split, "recipe_seed": 0}
    return CHALLENGES[f"tw-{challenge.name.replace('-', '_')}"][1](settings, options)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """The package compiles a game once more to find what its walkthrough's commands do; the description knows that.

    Where it does so all the same, the interpreter warns that it knows no score of the game.
    """
    textworld.GameMaker.set_walkthrough = _set_walkthrough
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        textworld.GameMaker.set_walkthrough = _STOCK_WALKTHROUGH


def _set_walkthrough(maker: Any, commands: list[str]) -> None:
    """What GameMaker.set_walkthrough does, without an interpreter: which actions bring about each event of a quest."""
    maker._working_game = game = maker.build()
    inform7 = Inform7Game(game)
    progression = GameProgression(game, track_quests=True)
    waiting = [event for quest in progression.quest_progressions for event in quest.win_events]
    found: dict[Any, int] = {}  # events that are equal are one, as they are for the package
    actions: list[Any] = []
    for number, command in enumerate(commands, 1):
        valid = sorted(progression.valid_actions, key=lambda action: len(action.preconditions), reverse=True)
        action = next((a for a in valid if inform7.gen_commands_from_actions([a]) == [command]), None)
        if action is None:
            _STOCK_WALKTHROUGH(maker, commands)
            return
        pending = [event for event in waiting if not event.triggered]
        progression.update(action)
        actions.append(action)
        found |= {event.event: number for event in pending if event.triggered}
    for event, number in found.items():
        event.actions = tuple(actions[:number])
        event.commands = tuple(commands[:number])
