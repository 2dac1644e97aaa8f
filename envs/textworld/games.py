"""A game by reference: generated and compiled when it is first played, kept in the cache, or a file of the user's."""

import collections
import functools
import hashlib
import json
import threading
import zlib
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from agentrl.envs.alfworld.cache import cache_folder, write_bytes
from agentrl.errors import DataError, missing_package

_FORMAT = 1
"""Of a game in the cache; raised when it, or what our generator makes of a seed, changes."""
_KEPT = 32
_SUFFIXES = tuple(f".z{number}" for number in range(1, 9))
_GLULX = (".ulx", ".gblorb", ".blorb", ".glb")
PLAYED = ".z1 to .z8"


@dataclass(frozen=True)
class GameRef:
    """Which game a task is; all that another process needs to have it."""

    word: str = ""
    """The challenge with its settings, of a generated game."""
    seed: int = 0
    split: str = ""
    """Cooking takes its food by split."""
    steps: bool = False
    """The goal is told step by step."""
    cache: str = ""
    path: str = ""
    """A file of the user's, in place of all of the above."""


@dataclass(frozen=True)
class StoredGame:
    """A compiled game."""

    story: bytes
    """What the interpreter runs."""
    about: str
    """TextWorld's description of the game, JSON; empty for a game that TextWorld did not make."""
    walkthrough: tuple[str, ...]


class _Recent:
    """The games that this process had last, so that a group of episodes reads its game once."""

    def __init__(self) -> None:
        self._games: collections.OrderedDict[GameRef, StoredGame] = collections.OrderedDict()
        self._lock = threading.RLock()

    def get(self, ref: GameRef) -> StoredGame:
        with self._lock:
            game = self._games.pop(ref, None) or _read(ref)
            if not ref.path:  # a user's file may change, and is read again
                self._games[ref] = game
            while len(self._games) > _KEPT:
                self._games.popitem(last=False)
            return game


_RECENT = _Recent()


def load(ref: GameRef) -> StoredGame:
    """The game, generated and compiled where it was not before. Raises DataError for a file that cannot be played."""
    return _RECENT.get(ref)


def _read(ref: GameRef) -> StoredGame:
    if ref.path:
        return read_file(Path(ref.path))
    file = cached_file(ref)
    found = _unpacked(file)
    if found is None:
        from agentrl.envs.textworld.generator import make  # heavy, and not needed for a game that is there

        found = make(ref)
        write_bytes(file, _packed(found))
    return found


def cached_file(ref: GameRef) -> Path:
    """Where a generated game is kept: named by all that it depends on."""
    depends = {key: value for key, value in asdict(ref).items() if key != "cache"}
    text = json.dumps([_FORMAT, _version(), depends], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()
    folder = Path(ref.cache).expanduser() if ref.cache else cache_folder()
    return folder / "textworld" / key[:2] / f"{key}.game.z"


@functools.cache
def _version() -> str:
    try:
        return version("textworld")
    except PackageNotFoundError:
        raise missing_package("the textworld environment", "textworld", "pip install textworld") from None


def _packed(game: StoredGame) -> bytes:
    """A line of JSON with the lengths of what follows, then that, compressed (which also has a checksum)."""
    about = game.about.encode()
    head = {"format": _FORMAT, "about": len(about), "story": len(game.story), "walkthrough": game.walkthrough}
    return zlib.compress(json.dumps(head).encode() + b"\n" + about + game.story, 1)


def _unpacked(file: Path) -> StoredGame | None:
    """None where there is no such file or it is damaged: it is made again."""
    try:
        first, _, rest = zlib.decompress(file.read_bytes()).partition(b"\n")
        head = json.loads(first)
        about, story = rest[: head["about"]], rest[head["about"] :]
        if head["format"] != _FORMAT or len(story) != head["story"]:
            return None
        return StoredGame(story, about.decode(), tuple(head["walkthrough"]))
    except (OSError, ValueError, KeyError, TypeError, zlib.error):
        return None


def list_files(place: str, split: str) -> list[Path]:
    """The user's games for a split, by name: of the folder PLACE/SPLIT where there is one, else of PLACE, else PLACE.

    Raises DataError where there is none, or one of a kind that is not played.
    """
    root = Path(place).expanduser().absolute()
    if not root.exists():
        raise DataError(f"there are no games in {root}: there is no such file or folder")
    if root.is_file():
        return [_playable(root)]
    of_splits = any((root / name).is_dir() for name in ("train", "valid", "test"))
    folder = root / split if of_splits else root
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    found = [_playable(file) for file in files if file.suffix.lower() in (*_SUFFIXES, *_GLULX)]
    if not found:
        raise DataError(f"there are no games in {folder}: games are files of type {PLAYED} (tw-make writes .z8)")
    return found


def _playable(file: Path) -> Path:
    suffix = file.suffix.lower()
    if suffix in _GLULX:
        raise DataError(
            f"{file} is a Glulx game, which TextWorld plays no more since its version 1.7; compile it as .z8"
        )
    if suffix not in _SUFFIXES:
        raise DataError(f"{file} is no game: games are files of type {PLAYED}")
    return file


def read_file(file: Path) -> StoredGame:
    """A user's game, and what TextWorld's .json beside it says. Raises DataError where it is missing or damaged."""
    try:
        story = _playable(file).read_bytes()
        beside = file.with_suffix(".json")
        about = beside.read_text(encoding="utf-8") if file.suffix == ".z8" and beside.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the game {file} cannot be read ({error})") from None
    if why := _damage(story):
        raise DataError(f"the game {file} is damaged ({why}); compile or copy it again")
    try:
        known = json.loads(about)["metadata"].get("walkthrough") if about else None
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DataError(
            f"{beside} is not TextWorld's description of a game; tw-make writes it beside the .z8"
        ) from None
    return StoredGame(story, about, tuple(known or ()))


def _damage(story: bytes) -> str:
    """Why the interpreter must not be given this file: it ends the process where a file is no game. Empty: it may."""
    if len(story) < 64 or not 1 <= story[0] <= 8:
        return "it has no header of a Z-machine game"
    unit = {1: 2, 2: 2, 3: 2, 4: 4, 5: 4}.get(story[0], 8)
    length, checksum = (int.from_bytes(story[at : at + 2], "big") for at in (0x1A, 0x1C))
    if length * unit > len(story):
        return f"it has {len(story)} of {length * unit} bytes"
    if length and checksum and sum(story[64 : length * unit]) % 0x10000 != checksum:
        return "its checksum is wrong"
    return ""
