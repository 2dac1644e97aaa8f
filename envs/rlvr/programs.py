"""The program in a reply: which of its text is code, and what of the prompt belongs to it."""

import ast
import re
import textwrap

_FENCE = re.compile(
    r"^[ \t]*(?:```|~~~)[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)[ \t]*$|\Z)", re.MULTILINE | re.DOTALL
)
_LANGUAGES = ("", "python", "py", "python3")
_GOES_ON = ("def ", "async def ", "class ", "@", "import ", "from ", ")", "]", "}")
"""Lines without indentation that may still belong to a function that is being completed."""


def fenced(reply: str) -> list[str]:
    """The blocks of Python in a reply, in order; one that is never closed goes to the end."""
    return [code for language, code in _FENCE.findall(reply) if language.lower() in _LANGUAGES and code.strip()]


def program_of(reply: str, prompt: str = "", entry: str = "") -> tuple[str, bool]:
    """The program that a reply stands for, and whether it stood in a block of code.

    The last block of Python counts, or the last that defines what is called; without one the whole reply. What does
    not define it goes on where the prompt stops; what does gets the imports and the other functions of the prompt.
    prompt: Python that the program begins with, or empty.   entry: what is called, or empty. A model's text is looked
    at by patterns alone, never parsed here.
    """
    blocks = fenced(reply)
    defining = [code for code in blocks if defines(code, entry)]
    code = (defining or blocks or [reply])[-1]
    if not prompt or not entry:
        return textwrap.dedent(code).strip("\n") + "\n", bool(blocks)
    if defines(textwrap.dedent(code), entry):
        return f"{preamble(prompt, entry)}{textwrap.dedent(code).strip()}\n", bool(blocks)
    return f"{prompt.rstrip()}\n{_continuation(code)}\n", bool(blocks)


def defines(code: str, name: str) -> bool:
    """Does a program define a name at its top, by the look of it."""
    name = name.split("(")[0].split(".")[0]
    return bool(
        re.search(rf"^(?:async[ \t]+def|def|class)[ \t]+{re.escape(name)}\b|^{re.escape(name)}[ \t]*=", code, re.M)
    )


def preamble(prompt: str, entry: str) -> str:
    """What a prompt has beside the function that is to be written: imports, and functions that it may use."""
    try:
        tree = ast.parse(prompt)
    except SyntaxError:
        return ""
    kept = [node for node in tree.body if getattr(node, "name", "") != entry]
    return "".join(f"{ast.unparse(node)}\n" for node in kept)


def _continuation(code: str) -> str:
    """The rest of a function's body: indented, also where the reply's first spaces are lost; up to where it ends."""
    lines = code.rstrip().split("\n")
    while lines and not lines[0].strip():
        del lines[0]
    following = next((line for line in lines[1:] if line.strip()), "")
    if lines and not lines[0][:1].isspace():
        if _indent(following) > (4 if lines[0].rstrip().endswith(":") else 0) or lines[0].startswith("return "):
            lines[0] = f"    {lines[0]}"  # it alone has lost its spaces, or nothing can follow it
        else:
            lines = textwrap.indent("\n".join(lines), "    ").split("\n")
    body: list[str] = []
    for line in lines:
        if line.strip() and not line[0].isspace() and not line.startswith(_GOES_ON):
            break
        body.append(line)
    return "\n".join(body)


def _indent(line: str) -> int:
    return len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
