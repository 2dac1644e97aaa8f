"""Where games come from: the official folder tree, compact files of official games, or the generator.

    FOLDER/json_2.1.1/<split>/<name>/<trial>/game.tw-pddl       what `alfworld-download` fetches
    FOLDER/<split>.jsonl.xz, alfred_domain_official.pddl, alfred_grammar_official.twl2
                                                                the same games, a JSON line each:
                                                                id, task, walkthrough, solvable, pddl_problem
Listing a panel reads no game; a task carries a `GameRef`, and the game is read or made when it is played.
"""

import functools
import hashlib
import json
import lzma
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agentrl.envs.alfworld import generator
from agentrl.envs.alfworld.cache import cache_folder, read_json, write_bytes, write_json
from agentrl.envs.alfworld.domains import why_unknown
from agentrl.envs.alfworld.native import Game, UnknownGame, parse
from agentrl.errors import DataError

_COMPACT_DOMAIN, _COMPACT_GRAMMAR = "alfred_domain_official.pddl", "alfred_grammar_official.twl2"
_UNNAMED = "UNKNOWN GOAL."
"""What a grammar without a task says in place of the sentence."""
_ROW_ID = re.compile(rb'\{"id": "([^"/]+/[^"/]+/[^"/]+)"')


@dataclass(frozen=True, slots=True)
class GameRef:
    """Where a task's game is: small and picklable, and all that an Env needs."""

    source: Literal["generated", "folder", "compact"]
    path: str
    """folder: the game's file; compact: the split's file; generated: empty."""
    split: str
    index: int
    """compact: the line; generated: the number of the game."""
    seed: int = 0
    """generated: of the panel."""


@dataclass(frozen=True, slots=True)
class GameText:
    """A game as the TextWorld engine loads it."""

    domain: str
    grammar: str
    """With the task's sentence in place."""
    problem: str
    sentence: str
    walkthrough: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """A game of a panel before it is read."""

    id: str
    kind: str
    ref: GameRef


def find_source(data: str) -> tuple[Literal["generated", "folder", "compact"], str]:
    """(source, folder) that the setting `data` stands for.

    Raises DataError where a folder holds no games.
    """
    if data == "generated":
        return "generated", ""
    if data == "":
        named = os.environ.get("ALFWORLD_DATA", "")
        return (_official(Path(named)) if named else None) or ("generated", "")
    folder = Path(data).expanduser()
    found = _official(folder)
    if found:
        return found
    what = "holds no games" if folder.is_dir() else "is not a folder"
    raise DataError(
        f"alfworld data={data!r} {what}; expected json_2.1.1/<split>/*/*/game.tw-pddl (alfworld-download fetches it),"
        " <split>.jsonl.xz, or data=generated"
    )


def _official(folder: Path) -> tuple[Literal["folder", "compact"], str] | None:
    """The form in which a folder holds official games; None: it holds none."""
    if _tree(folder):
        return "folder", str(folder)
    if any((folder / f"{split}.jsonl.xz").is_file() for split in generator.SPLITS):
        return "compact", str(folder)
    return None


def _tree(folder: Path) -> Path | None:
    """The folder that has the splits, where it holds a game."""
    for root in (folder / "json_2.1.1", folder):
        if next(root.glob("*/*/*/game.tw-pddl"), None) is not None:
            return root
    return None


def list_games(data: str, split: str, count: int, seed: int, kinds: tuple[str, ...]) -> list[Listed]:
    """The panel of a split, in a fixed order; `count` and `seed` are for generated games.

    Raises DataError where the data has no such split.
    """
    source, folder = find_source(data)
    if source == "generated":
        return _list_generated(split, count, seed, kinds)
    found = _list_folder(folder, split) if source == "folder" else _list_compact(folder, split)
    return [game for game in found if game.kind in kinds]


def _list_generated(split: str, count: int, seed: int, kinds: tuple[str, ...]) -> list[Listed]:
    found: list[Listed] = []
    index = 0
    while len(found) < count:
        if generator.kind_of(split, index, seed) in kinds:
            found.append(generated_game(split, index, seed))
        index += 1
    return found


def generated_game(split: str, index: int, seed: int) -> Listed:
    """A generated game by its number, which need not be in a panel."""
    prefix = "generated" if seed == 0 else f"generated-{seed}"
    kind = generator.kind_of(split, index, seed)
    return Listed(f"{prefix}/{split}/{index}", kind, GameRef("generated", "", split, index, seed))


def _list_folder(folder: str, split: str) -> list[Listed]:
    root = (_tree(Path(folder)) or Path(folder)) / split
    if not root.is_dir():
        raise DataError(f"{root} is missing; the official splits are {', '.join(generator.SPLITS)}")
    found: list[Listed] = []
    for name in sorted(os.listdir(root)):
        kind = name.split("-", 1)[0]
        if kind not in generator.TASK_TYPES or "Sliced" in name or not (root / name).is_dir():
            continue  # the official loader leaves these out too
        for trial in sorted(os.listdir(root / name)):
            file = root / name / trial / "game.tw-pddl"
            if file.is_file():
                ref = GameRef("folder", str(file), split, len(found))
                found.append(Listed(f"{split}/{name}/{trial}", kind, ref))
    return found


def _list_compact(folder: str, split: str) -> list[Listed]:
    file = Path(folder) / f"{split}.jsonl.xz"
    if not file.is_file():
        raise DataError(f"{file} is missing; the official splits are {', '.join(generator.SPLITS)}")
    found: list[Listed] = []
    for index, name in enumerate(_row_ids(str(file))):
        kind = name.split("/")[1].split("-", 1)[0]
        found.append(Listed(name, kind, GameRef("compact", str(file), split, index)))
    return found


@dataclass(frozen=True, slots=True)
class _Rows:
    """A compact file, unpacked so that any row can be read alone."""

    places: list[tuple[int, int]]
    """(offset, length) of each row in `path`, or in `content` where nothing could be written."""
    path: Path | None
    content: bytes

    def read(self, index: int) -> dict[str, Any]:
        offset, length = self.places[index]
        if self.path is None:
            packed = self.content[offset : offset + length]
        else:
            with open(self.path, "rb") as file:
                file.seek(offset)
                packed = file.read(length)
        row: dict[str, Any] = json.loads(zlib.decompress(packed))
        return row


def _packed(path: str) -> tuple[bytes, Path]:
    """A compact file as it is, and the cache folder for what is made of it."""
    try:
        packed = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    return packed, cache_folder() / "alfworld" / "rows" / hashlib.sha256(b"rows-1" + packed).hexdigest()[:32]


def _lines(path: str, packed: bytes) -> list[bytes]:
    try:
        return lzma.decompress(packed).splitlines()
    except lzma.LZMAError as error:
        raise DataError(f"{path} is damaged ({error}); copy it again") from None


@functools.lru_cache(maxsize=8)
def _row_ids(path: str) -> tuple[str, ...]:
    """The ids of a compact file's rows, in order."""
    packed, folder = _packed(path)
    known = read_json(folder / "ids.json.z")
    if isinstance(known, list):
        return tuple(known)
    found = [_ROW_ID.match(line) for line in _lines(path, packed)]
    if not found or None in found:
        line = found.index(None) + 1 if found else 1
        raise DataError(f'{path}, line {line}: expected {{"id": "<split>/<name>/<trial>", "task": ...}}')
    ids = tuple(match[1].decode() for match in found if match)
    write_json(folder / "ids.json.z", ids)
    return ids


@functools.lru_cache(maxsize=8)
def _rows(path: str) -> _Rows:
    """Unpack a compact file once, into the cache folder; into memory where that cannot be written."""
    packed, folder = _packed(path)
    index, blob = folder / "places.json.z", folder / "rows"
    known = read_json(index)
    if isinstance(known, dict) and blob.is_file() and blob.stat().st_size == known["size"]:
        return _Rows([(offset, length) for offset, length in known["places"]], blob, b"")
    places: list[tuple[int, int]] = []
    content = bytearray()
    for line in _lines(path, packed):
        row = zlib.compress(line, 1)
        places.append((len(content), len(row)))
        content += row
    write_bytes(blob, bytes(content))
    write_json(index, {"size": len(content), "places": places})
    if blob.is_file() and blob.stat().st_size == len(content):
        return _Rows(places, blob, b"")
    return _Rows(places, None, bytes(content))


def load_text(ref: GameRef) -> GameText:
    """A game as text. Raises DataError where its file is missing or damaged."""
    if ref.source == "generated":
        game = generator.generate(ref.split, ref.index, ref.seed)
        domain, grammar = _package_texts()
        text = generator.problem_text(game)
        return GameText(domain, _with_sentence(grammar, game.sentence), text, game.sentence, game.walkthrough)
    if ref.source == "compact":
        return _compact_text(ref)
    try:
        with open(ref.path, encoding="utf-8") as file:
            data = json.load(file)
        domain, grammar, problem = (str(data[key]) for key in ("pddl_domain", "grammar", "pddl_problem"))
        walkthrough, solvable = data.get("walkthrough") or (), data.get("solvable", True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{ref.path} is no ALFWorld game ({type(error).__name__}: {error}); fetch it again") from None
    if not solvable:
        raise DataError(f"{ref.path} is marked as unsolvable; leave it out of the folder")
    try:
        return GameText(domain, grammar, problem, sentence_of(grammar), tuple(walkthrough))
    except DataError as error:
        raise DataError(f"{ref.path}: {error}") from None


def _compact_text(ref: GameRef) -> GameText:
    try:
        row = _rows(ref.path).read(ref.index)
        domain, grammar = _texts_beside(str(Path(ref.path).parent))
        sentence, problem = row["task"], row["pddl_problem"]
        walkthrough = tuple(row.get("walkthrough") or ())
    except (OSError, ValueError, KeyError, TypeError, IndexError, zlib.error) as error:
        raise DataError(
            f"{ref.path}, line {ref.index + 1}: no ALFWorld game ({type(error).__name__}: {error})"
        ) from None
    return GameText(domain, _with_sentence(grammar, sentence), problem, sentence, walkthrough)


def load_game(ref: GameRef) -> Game:
    """A game for the native engine; the last few hundred are kept.

    Raises UnknownGame where only the real engine can play it, DataError as `load_text` does.
    """
    return _load_game(ref)


@functools.lru_cache(maxsize=256)
def _load_game(ref: GameRef) -> Game:
    if ref.source == "generated":
        return generator.made(ref.split, ref.index, ref.seed)[1]
    text = load_text(ref)
    try:
        game = parse(text.problem, text.sentence)
        reason = _why_unknown(text, has_sink="sink" in game.kind.values())
        if reason:
            raise UnknownGame(reason)
        return game
    except DataError as error:
        raise type(error)(f"{ref.path}, game {ref.index + 1}: {error}") from None
    except IndexError:
        raise DataError(f"{ref.path}, game {ref.index + 1}: the PDDL problem is damaged; fetch it again") from None


def _why_unknown(text: GameText, has_sink: bool = False) -> str:
    return why_unknown(text.domain, text.grammar.replace(text.sentence, _UNNAMED, 1), has_sink)


def why_not_native(ref: GameRef) -> str:
    """Why the native engine does not know the domain that a game is of; empty: it does, or the game cannot be read."""
    try:
        if ref.source == "compact":
            return why_unknown(*_texts_beside(str(Path(ref.path).parent)))
        if ref.source == "folder":
            return _why_unknown(load_text(ref))
    except DataError:
        pass  # said when it is played
    return ""


def load_walkthrough(ref: GameRef) -> tuple[str, ...]:
    """The commands that solve a game; empty where its file has none."""
    if ref.source == "generated":
        return generator.generate(ref.split, ref.index, ref.seed).walkthrough
    return load_text(ref).walkthrough


def sentence_of(grammar: str) -> str:
    """The task that stands in a game's grammar, with its full stop."""
    begin = grammar.find("Your task is to: ")
    end = grammar.find('"', begin)
    if begin < 0 or end < 0:
        raise DataError("the game's grammar has no 'Your task is to: ...'")
    return grammar[begin + len("Your task is to: ") : end]


def _with_sentence(grammar: str, sentence: str) -> str:
    return grammar.replace(_UNNAMED, sentence, 1)


@functools.cache
def _package_texts() -> tuple[str, str]:
    """(domain, grammar) of the installed package, read without importing it."""
    folder = generator.package_folder() / "data"
    return (folder / "alfred.pddl").read_text(), (folder / "alfred.twl2").read_text()


@functools.lru_cache(maxsize=8)
def _texts_beside(folder: str) -> tuple[str, str]:
    """(domain, grammar) that lie beside compact files; the package's where there are none."""
    domain, grammar = Path(folder) / _COMPACT_DOMAIN, Path(folder) / _COMPACT_GRAMMAR
    if domain.is_file() and grammar.is_file():
        return domain.read_text(), grammar.read_text()
    return _package_texts()
