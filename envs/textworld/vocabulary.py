"""Every word that a game says: read out of the package's own grammars, with the engine's sentences beside them."""

import functools
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from agentrl.errors import missing_package
from agentrl.models.tiny.build import Vocabulary

SENTENCES = """
You take the|You pick up the|from the ground|on the ground|You drop the|You put the|You insert the|into the|onto the
You open the|You close the|You unlock the|You lock the|with the|from the|revealing|revealing a|revealing an
You are carrying|You are carrying nothing|You are carrying a|You eat the|Not bad|You drink the
Useful for frying things|Useful for roasting things|Useful for grilling things
Your score has just gone up by one point|Your score has just gone up by two points
The End|You lost|You scored|out of a possible|in|turn|turns|You can't go that way|You can't see any such thing
You have to open the|first|You have to unlock the|That's not a verb I recognise|You have to be more specific
You need to specify how you want to cut|You still miss something|Something still needs to be cooked
Something still needs to be cut|is already|You fried the|You roasted the|You grilled the|You burned the
You slice the|You dice the|You chop the|Adding the meal to your inventory|You should cook the|That seems to be
You can't use multiple objects with that verb|What do you want to|Time passes|You find nothing of interest
I beg your pardon|Which do you mean|It is closed|It is open|is a raw|is on the|is here|are here|is carried
You open the copy of|Cooking A Modern Approach|3rd Ed|and start reading|Recipe|Ingredients|Directions
Gather all following ingredients and follow the directions to prepare this tasty meal
You are hungry|Let's cook a delicious meal|Check the cookbook in the kitchen for the recipe
Once done|enjoy your meal|fry the|roast the|grill the|chop the|slice the|dice the|prepare meal|eat meal
The dinner is almost ready|It's only missing a grilled|There is nothing on the|There's nothing special about the
go north|go east|go south|go west|go to|examine cookbook|take|from|drop|put|on|insert|into|open|close|unlock|lock|with
cook|eat|with oven|with stove|with BBQ|with knife|from counter|from table|from fridge|on the floor
take coin|take knife|look|inventory|examine
needs cooking|raw|fried|roasted|grilled|burned|uncut|chopped|sliced|diced|cooked
""".replace("\n", "|").strip("|")
"""What the engine says of actions, the cookbook, and the forms of commands, without the signs that are DROPPED."""

SIGNS = "- = * # / ( ) & ' \" ; < > . , : ! ? 0 's 't 're 've 'll 'd"
"""Signs, and the ends of words whose beginning belongs to a phrase."""

DROPPED = r"[.,:!?\"](?=[\s\"]|$)|\"|-=|=-|\*\*\*|--+"
"""Ends of sentences, quotation marks, and the frame of a heading."""

_HOLE = re.compile(r"#[^#\n]*#|\([^()\n]*\)|\[[^\[\]\n]*\]|\|")
_GLUED = re.compile(r"#([^#;\s]+)#([a-z]+)")
_BREAK = re.compile(r"[.,:!?;\"\n]+|--+")
_WORD = re.compile(r"[A-Za-z']+")
_SAID = re.compile(r'"([^"\n]+)"')
_LONGEST, _SHORTEST = 9, 2
"""Words of a phrase that is one token; a longer one is read as its words."""


@functools.cache
def vocabulary() -> Vocabulary:
    """Words and phrases of the grammars of all challenges, in every spelling that stands in a game.

    Raises MissingDependency where the package is not installed.
    """
    pieces = {piece for text in _grammars() for piece in _pieces(text)}
    pieces |= {part.strip() for part in SENTENCES.split("|")}
    names = {name for name in _names() if len(name.split()) > 1}
    runs = {piece for piece in pieces if _SHORTEST <= len(piece.split()) <= _LONGEST} | names
    phrases = {_as_read(run) for run in runs | {_capital(run) for run in runs} | {name.title() for name in names}}
    nouns = {name.split()[-1] for name in _names()}
    texts = (*pieces, *_names(), *_said(), *(f"{noun}{end}" for noun in nouns for end in ("s", "'s")))
    words = {word for text in texts for word in _WORD.findall(text)}
    words |= {_capital(word) for text in (*pieces, *_said()) for word in _WORD.findall(text)[:1]}
    words |= {word.title() for name in _names() for word in name.split()} | set(map(str.lower, words))
    plain = {phrase for phrase in phrases if " " in phrase and "'" not in (phrase[0], phrase[-1])}
    return Vocabulary(tuple(sorted(plain)), tuple(sorted({*words, *SIGNS.split()})), dropped=DROPPED)


def _as_read(text: str) -> str:
    return " ".join(text.split())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _folder() -> Path:
    """Where the package is, without importing it."""
    found = importlib.util.find_spec("textworld")
    if found is None or not found.submodule_search_locations:
        raise missing_package("the textworld environment", "textworld", "pip install textworld")
    return Path(next(iter(found.submodule_search_locations)))


def _grammars() -> list[str]:
    """Of the challenges, and the package's own, which custom games are told in."""
    places = ("challenges/*/textworld_data/text_grammars/*.twg", "generator/data/text_grammars/house_*.twg")
    files = sorted(file for place in places for file in _folder().glob(place))
    return sorted({file.read_text(encoding="utf-8") for file in files})


def _productions(text: str) -> Iterator[tuple[str, str]]:
    """(symbol, what it may become, alternatives parted by a semicolon) of every line of a grammar."""
    for line in text.splitlines():
        symbol, colon, alternatives = line.partition(":")
        if colon and (not line.startswith("#") or symbol.count("#") > 1):
            yield symbol.strip(), alternatives


def _pieces(text: str) -> Iterator[str]:
    """The runs of words between a grammar's symbols and signs."""
    for _, alternatives in _productions(text):
        for run in _HOLE.split(alternatives):
            for piece in _BREAK.split(run):
                if piece.strip():
                    yield _as_read(piece)


@functools.cache
def _names() -> frozenset[str]:
    """What rooms and things are called: the nouns of the grammars, and what the challenges name themselves."""
    found = set()
    for text in _grammars():
        productions = dict(_productions(text))
        for symbol, alternatives in productions.items():
            if "_noun" in symbol or symbol.endswith("_adj"):
                found |= {_as_read(_HOLE.sub(" ", name)) for name in alternatives.split(";")}
            for beginning, end in _GLUED.findall(alternatives):  # #berry#berry: elderberry, gooseberry
                found |= {start.strip() + end for start in productions.get(beginning, "").split(";")}
    for name in _sources():
        found |= set(re.findall(r"['\"]([A-Za-z][a-zA-Z -]*)['\"]", name))
    return frozenset(name for name in found if name and len(name.split()) <= _LONGEST // 2)


def _sources() -> list[str]:
    """The challenges that name their things in Python."""
    files = ("tw_cooking/cooking.py", "tw_simple/simple.py")
    return [(_folder() / "challenges" / file).read_text(encoding="utf-8") for file in files]


def _said() -> set[str]:
    """Whatever rules of the engine and challenges hold in quotation marks: verbs, sentences, what is understood."""
    files = sorted(_folder().glob("challenges/*/textworld_data/logic*/*.twl"))
    texts = [_HOLE.sub(" ", file.read_text(encoding="utf-8")) for file in files]
    return {said for text in (*texts, *_sources()) for said in _SAID.findall(text)}
