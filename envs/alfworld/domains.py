"""Which PDDL domains and grammars the native engine plays: those it was compared with, by their digests.

Any other domain goes to the real engine: one more effect of an action, or another word in a sentence, would make
other texts. The grammar is compared without the game's sentence.
"""

import functools
import hashlib
import re

DOMAINS = {
    "6265e128a5c7bb9a3ad63923fa98f1d9": ("sinkbasin", "sink"),
    "312f9152fc5bfdd0143c9a99a771192c": ("sinkbasin",),
}
"""Digest -> types of receptacle in which `clean` works: the official games' domain, and that of the package (0.4)."""
GRAMMARS = frozenset({"3701c3eb2ed4687e46084f311fd52308", "a3f0018f7eeb99d9445114c7830a361c"})
"""The official games' grammar, and that of the package; they differ in how they write the same help text."""


def domain_digest(domain: str) -> str:
    """Of a PDDL domain, whatever its comments and the white space of its lines are."""
    lines = (line.split(";", 1)[0].strip() for line in domain.splitlines())
    return _digest("\n".join(line for line in lines if line))


def grammar_digest(grammar: str) -> str:
    """Of a grammar: every character counts, as it may be in a sentence."""
    return _digest(grammar.strip())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.lru_cache(maxsize=16)
def why_unknown(domain: str, grammar: str, has_sink: bool = False) -> str:
    """Why the native engine would not give the texts of a domain and a grammar (without sentence); empty: it does.

    has_sink: whether a receptacle is a plain sink, in which not every domain cleans.
    """
    cleaners = DOMAINS.get(domain_digest(domain))
    if cleaners is None:
        named = re.search(r"\(define\s*\(domain\s+([\w-]+)", domain)
        return f"the PDDL domain {named[1] if named else ''!r} is not one of those that it was compared with"
    if grammar_digest(grammar) not in GRAMMARS:
        return "the grammar is not one of those that it was compared with"
    if has_sink and "sink" not in cleaners:
        return "the game has a plain sink, in which this domain does not clean"
    return ""
