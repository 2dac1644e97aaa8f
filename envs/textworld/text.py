"""What an agent reads of an engine's answer: without banner, prompt, status line, and the blank lines between."""

import re

_BANNER = re.compile(r"\A(?:[^\n]*\n)*[^\n]*\$\$\$[^\n]*\n", re.ASCII)
"""To the last line of the picture of letters."""
_PROMPT = re.compile(r"\n?>[ \t]*(?:-= [^\n]* =-[^\n]*)?\Z")
_QUESTION = "Would you like to RESTART, RESTORE a saved game, QUIT or UNDO the last command?"
_ROOM = re.compile(r"-= (.+?) =-")
NOT_A_VERB = "That's not a verb I recognise."
"""The engine's own answer to a verb that it does not know."""


def shown(text: str) -> str:
    """An engine's answer as the agent reads it: one line after the other, none empty."""
    if "$$$" in text:
        text = _BANNER.sub("", text, count=1)
    text = _PROMPT.sub("", text.rstrip()).replace(_QUESTION, "")
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def room_of(text: str) -> str | None:
    """The room that an answer names last, in lower case: its status line, or its heading; None where it names none."""
    named = _ROOM.findall(text)
    return named[-1].lower() if named else None
