"""Rows of logged data as examples: which format a file has, by its columns, and what each row says; both checked.

The formats are TRL's, with or without messages, and two of our own: `ranked`, and the column `reference`.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentrl.errors import DataError, nearest

Said = tuple[str, str]
"""(role, text) of a message."""
Talk = str | tuple[Said, ...]
"""A raw text, which no template writes; or messages."""

PROMPTS = "prompts"
"""Name of the format without answers."""
_OPENING = 8
"""Words of a text that are its prompt where one is asked for."""
ROLES = ("system", "user", "assistant")


class BadRow(DataError):
    """What is wrong with a row, in words that follow its place."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One of a row's answers: a raw text; or messages that begin and end with an assistant's."""

    said: Talk
    score: float
    success: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A row: a prompt, and the answers to it, of which there are none in a file of prompts alone."""

    prompt: Talk
    """Messages end with a user's; a text is empty where the row is one text as a whole."""
    answers: tuple[Answer, ...]
    reference: Talk | None = None
    """An answer that the others are compared with, where the row has one."""
    place: str = ""
    """As `pairs.jsonl, line 3`."""
    group: str = ""
    """A name that no other row of the same data has."""

    @property
    def asked(self) -> Talk:
        """The prompt; of one text as a whole its first words."""
        if self.prompt or not self.answers or not isinstance(self.answers[0].said, str):
            return self.prompt
        words = list(re.finditer(r"\S+", self.answers[0].said))[:_OPENING]
        return self.answers[0].said[: words[-1].end()]


@dataclass(frozen=True, slots=True)
class Format:
    """One way of writing rows down."""

    name: str
    columns: tuple[str, ...]
    """That every row has."""
    read: Callable[[Mapping[str, Any]], Example]
    shown: str
    """A row of it."""


def format_of(columns: Mapping[str, Any]) -> Format:
    """The format of a row, by its columns: the first whose columns it has.   Raises BadRow."""
    have = {name for name, value in columns.items() if value is not None}
    found = next((form for form in FORMATS if have.issuperset(form.columns)), None)
    if found is not None and found.name != PROMPTS:
        return found
    for one, other in _TOGETHER:
        if one in have and other not in have:
            raise BadRow(f"has the column {one!r} without {other!r}{_nearest(other, columns)}")
    if found is not None:
        return found
    known = "; ".join(", ".join(form.columns) for form in FORMATS)
    near = next((hint for name in columns if (hint := nearest(str(name), _COLUMNS))), "")
    raise BadRow(f"has the columns {', '.join(map(str, columns)) or 'none'}, of no known format{near} ({known})")


def _nearest(wanted: str, columns: Mapping[str, Any]) -> str:
    if wanted in columns:
        return ", which is null"
    hint = nearest(wanted, map(str, columns))
    return hint.replace("did you mean", "is it") if hint else ""


def example_of(form: Format, columns: Mapping[str, Any]) -> Example:
    """What a row of a format says.   Raises BadRow."""
    example = form.read(columns)
    reference = columns.get("reference")
    if reference is not None:
        _, said = _completion(example.prompt, reference, "reference")
        example = replace(example, reference=said)
    for place, answer in enumerate(example.answers):
        if answer.said in [other.said for other in example.answers[:place]]:
            raise BadRow(_same(form))
    return example


def _same(form: Format) -> str:
    if form.name == "ranked":
        return "has the same response twice; responses must differ"
    return "has a 'chosen' that is the same as 'rejected'; nothing can be learned from it"


# ---- texts and messages


def _talk(columns: Mapping[str, Any], name: str) -> Talk:
    """A column that is a text or a list of messages; which has at least one."""
    value = columns.get(name)
    if isinstance(value, str):
        return value
    if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray)):
        raise BadRow(
            f"has a {name!r} that is {_kind(value)}; it must be a text or a list of messages "
            '[{"role": "user", "content": "..."}]'
        )
    if not value:
        raise BadRow(f"has an empty {name!r}: no message")
    return tuple(_message(one, name, number) for number, one in enumerate(value, 1))


def _message(message: Any, name: str, number: int) -> Said:
    where = f"message {number} of {name!r}"
    if not isinstance(message, Mapping) or "role" not in message or "content" not in message:
        raise BadRow(f'has a {where} that is not {{"role": "...", "content": "..."}}')
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise BadRow(f"has the role {role!r} in {where}{nearest(str(role), ROLES)}; known: {', '.join(ROLES)}")
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = _joined(content, where)
    if not isinstance(content, str):
        raise BadRow(f"has a content in {where} that is {_kind(content)}; it must be a text")
    if not content.strip():
        raise BadRow(f"has an empty text in {where}")
    return role, content


def _joined(items: Sequence[Any], where: str) -> str:
    for item in items:
        kind = item.get("type") if isinstance(item, Mapping) else None
        if kind != "text" or not isinstance(item.get("text"), str):
            raise BadRow(f"has an item {kind or _kind(item)!r} in {where}; only texts are read")
    return "".join(item["text"] for item in items)


def _kind(value: Any) -> str:
    """What a value is, in JSON's words."""
    names = {"NoneType": "null", "bool": "true or false", "int": "a number", "float": "a number", "str": "a text"}
    return {**names, "list": "a list", "dict": "an object"}.get(type(value).__name__, f"a {type(value).__name__}")


def _ordered(said: Sequence[Said], start: int, name: str) -> None:
    """Raises BadRow where, from message `start` on, one role speaks twice in a row, or the system speaks."""
    for number in range(start, len(said)):
        role, before = said[number][0], said[number - 1][0] if number else ""
        if role == "system" and number:
            raise BadRow(f"has a system message in {name!r} (message {number + 1}); it must be the first of all")
        if role == before:
            raise BadRow(
                f"has two messages of {role!r} one behind the other in {name!r} ({number} and {number + 1}); user and "
                "assistant must take turns"
            )


def _prompt(columns: Mapping[str, Any]) -> Talk:
    prompt = _talk(columns, "prompt")
    if isinstance(prompt, str):
        if not prompt.strip():
            raise BadRow("has an empty 'prompt'")
        return prompt
    if any(role == "system" for role, _ in prompt[1:]):
        raise BadRow("has a system message in 'prompt' that is not the first")
    if prompt[-1][0] != "user":
        raise BadRow(f"has a 'prompt' whose last message is of {prompt[-1][0]!r}; it must be the user's")
    return prompt


def _completion(prompt: Talk, value: Any, name: str) -> tuple[Talk, Talk]:
    """The prompt, and what a column says after it.

    Messages may repeat the prompt at their beginning, also one that is given as a text beside them.
    """
    said = _talk({name: value}, name)
    if isinstance(said, str):
        if not isinstance(prompt, str):
            raise BadRow(f"has a {name!r} that is a text and a 'prompt' of messages; both must be the same")
        if not said.strip():
            raise BadRow(f"has an empty {name!r}")
        return prompt, said
    if isinstance(prompt, str):
        opening = _up_to_the_answer(said)
        if opening and opening[-1] == ("user", prompt):
            prompt = opening
        else:
            raise BadRow(
                f"has a {name!r} of messages that does not begin with its 'prompt', which is a text; make the prompt "
                'a list of messages too: [{"role": "user", "content": "..."}]'
            )
    if said[: len(prompt)] == prompt:
        said = said[len(prompt) :]
    _answers_well((*prompt, *said), len(prompt), name)
    return prompt, said


def _up_to_the_answer(said: tuple[Said, ...]) -> tuple[Said, ...]:
    first = next((place for place, (role, _) in enumerate(said) if role == "assistant"), len(said))
    return said[:first]


def _answers_well(said: Sequence[Said], start: int, name: str) -> None:
    """Raises BadRow where the messages from `start` on are no answer; those before may come in any order."""
    if len(said) == start:
        raise BadRow(f"has a {name!r} that ends with the prompt; it must have an assistant's message")
    if said[start][0] != "assistant":
        raise BadRow(
            f"has a {name!r} that begins with a message of {said[start][0]!r}; behind the prompt it must be the "
            "assistant's"
        )
    _ordered(said, start, name)
    if said[-1][0] != "assistant":
        raise BadRow(f"has a {name!r} whose last message is of {said[-1][0]!r}; it must be the assistant's")


# ---- numbers


def _number(columns: Mapping[str, Any], name: str) -> float:
    return _finite(columns.get(name), name)


def _finite(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadRow(f"has a {name!r} that is {_kind(value)}; it must be a number")
    if not math.isfinite(value):
        raise BadRow(f"has a {name!r} that is {value}; it must be finite")
    return float(value)


def _pair_scores(columns: Mapping[str, Any]) -> tuple[float, float]:
    """Of chosen and rejected: the row's own, (margin, 0), or (1, 0)."""
    told = [name for name in ("score_chosen", "score_rejected") if columns.get(name) is not None]
    if len(told) == 1:
        raise BadRow(f"has {told[0]!r} alone; give 'score_chosen' and 'score_rejected', or none")
    if told:
        chosen, rejected = _number(columns, "score_chosen"), _number(columns, "score_rejected")
        if chosen == rejected:
            raise BadRow(f"has equal scores ({chosen:g}) for 'chosen' and 'rejected', which prefer neither")
        if chosen < rejected:
            raise BadRow(
                f"has scores that contradict it: 'score_chosen' is {chosen:g}, 'score_rejected' {rejected:g}; "
                "the chosen one's must be higher"
            )
        return chosen, rejected
    if columns.get("margin") is None:
        return 1.0, 0.0
    margin = _number(columns, "margin")
    if margin <= 0:
        raise BadRow(f"has a 'margin' of {margin:g}; by so much the chosen one is better, so it must be above 0")
    return margin, 0.0


# ---- one function a format


def _pair(prompt: Talk, chosen: Talk, rejected: Talk, columns: Mapping[str, Any]) -> Example:
    better, worse = _pair_scores(columns)
    return Example(prompt, (Answer(chosen, better, True), Answer(rejected, worse, False)))


def _preference(columns: Mapping[str, Any]) -> Example:
    asked = _prompt(columns)
    prompt, chosen = _completion(asked, columns["chosen"], "chosen")
    same, rejected = _completion(asked, columns["rejected"], "rejected")
    if prompt != same:
        raise BadRow("has a 'chosen' and a 'rejected' that begin with different prompts")
    return _pair(prompt, chosen, rejected, columns)


def _implicit(columns: Mapping[str, Any]) -> Example:
    chosen, rejected = _talk(columns, "chosen"), _talk(columns, "rejected")
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise BadRow("has a 'chosen' and a 'rejected' of which one is a text and one a list of messages")
    if chosen == rejected:
        raise BadRow(_same(FORMATS[0]))
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    if isinstance(chosen, str) and isinstance(rejected, str):
        return _implicit_texts(chosen, rejected, shared, columns)
    prompt = chosen[:shared]
    if not prompt or prompt[-1][0] != "user":
        raise BadRow(
            "has a 'chosen' and a 'rejected' with prompts that differ: they must share their beginning, up to and with "
            "a user's message"
        )
    _, chosen = _completion(prompt, [_as_message(s) for s in chosen], "chosen")
    _, rejected = _completion(prompt, [_as_message(s) for s in rejected], "rejected")
    return _pair(prompt, chosen, rejected, columns)


def _as_message(said: Any) -> dict[str, str]:
    return {"role": said[0], "content": said[1]}


def _implicit_texts(chosen: str, rejected: str, shared: int, columns: Mapping[str, Any]) -> Example:
    """The prompt is what both share, back to the end of its last whole word: the blank belongs to the completion."""
    inside = any(not text[shared : shared + 1].isspace() for text in (chosen, rejected) if len(text) > shared)
    while inside and shared and not chosen[shared - 1].isspace():
        shared -= 1
    while shared and chosen[shared - 1].isspace():
        shared -= 1
    if not shared:
        raise BadRow("has a 'chosen' and a 'rejected' with prompts that differ: they share no word at their beginning")
    prompt = chosen[:shared]
    for name, text in (("chosen", chosen), ("rejected", rejected)):
        if not text[shared:].strip():
            raise BadRow(f"has an empty {name!r}: the other goes on where it ends")
    return _pair(prompt, chosen[shared:], rejected[shared:], columns)


def _labelled(columns: Mapping[str, Any]) -> Example:
    label = columns["label"]
    if not isinstance(label, bool):
        raise BadRow(f"has a 'label' that is {label!r:.40}; it must be true or false")
    prompt, said = _completion(_prompt(columns), columns["completion"], "completion")
    return Example(prompt, (Answer(said, float(label), label),))


def _completed(columns: Mapping[str, Any]) -> Example:
    prompt, said = _completion(_prompt(columns), columns["completion"], "completion")
    return Example(prompt, (Answer(said, 1.0, True),))


def _ranked(columns: Mapping[str, Any]) -> Example:
    responses, scores = columns["responses"], columns["scores"]
    for name, value in (("responses", responses), ("scores", scores)):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise BadRow(f"has a {name!r} that is {_kind(value)}; it must be a list, with an item a response")
    if len(responses) < 2:
        raise BadRow(f"has {len(responses)} 'responses'; it must have at least 2")
    if len(scores) != len(responses):
        raise BadRow(f"has {len(scores)} 'scores' for {len(responses)} 'responses'; it must have one a response")
    numbers = [_finite(score, "scores") for score in scores]
    if min(numbers) == max(numbers):
        raise BadRow(f"has equal 'scores' ({numbers[0]:g}) for all responses, which prefer none")
    asked = _prompt(columns)
    read = [_completion(asked, response, "responses") for response in responses]
    answers = [Answer(said, score, score == max(numbers)) for (_, said), score in zip(read, numbers, strict=True)]
    return Example(read[0][0], tuple(answers))


def _messages(columns: Mapping[str, Any]) -> Example:
    said = _talk(columns, "messages")
    if isinstance(said, str):
        raise BadRow("has 'messages' that are a text; they must be a list of messages")
    prompt = _up_to_the_answer(said)
    if len(prompt) == len(said):
        raise BadRow("has 'messages' without an assistant's, which is what is learned from")
    if not prompt or prompt[-1][0] != "user":
        raise BadRow("has 'messages' in which the assistant speaks before any user")
    _ordered(said, 0, "messages")
    _answers_well(said, len(prompt), "messages")
    return Example(prompt, (Answer(said[len(prompt) :], 1.0, True),))


def _text(columns: Mapping[str, Any]) -> Example:
    text = columns["text"]
    if not isinstance(text, str):
        raise BadRow(f"has a 'text' that is {_kind(text)}; it must be a text")
    if not text.strip():
        raise BadRow("has an empty 'text'")
    return Example("", (Answer(text, 1.0, True),))


def _asked(columns: Mapping[str, Any]) -> Example:
    return Example(_prompt(columns), ())


FORMATS = (
    Format("preference", ("prompt", "chosen", "rejected"), _preference,
           '{"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5"}'),
    Format("preference, implicit prompt", ("chosen", "rejected"), _implicit,
           '{"chosen": "2 + 2 = 4", "rejected": "2 + 2 = 5"}'),
    Format("ranked", ("prompt", "responses", "scores"), _ranked,
           '{"prompt": "2 + 2 =", "responses": [" 4", " 5"], "scores": [1, 0]}'),
    Format("unpaired", ("prompt", "completion", "label"), _labelled,
           '{"prompt": "2 + 2 =", "completion": " 4", "label": true}'),
    Format("prompt and completion", ("prompt", "completion"), _completed,
           '{"prompt": "2 + 2 =", "completion": " 4"}'),
    Format("messages", ("messages",), _messages,
           '{"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]}'),
    Format("text", ("text",), _text, '{"text": "2 + 2 = 4"}'),
    Format(PROMPTS, ("prompt",), _asked, '{"prompt": "2 + 2 ="}'),
)  # fmt: skip
"""In the order in which they are tried: a row is of the first whose columns it has."""

_TOGETHER = (
    ("chosen", "rejected"), ("rejected", "chosen"), ("responses", "scores"), ("scores", "responses"),
    ("responses", "prompt"), ("label", "completion"), ("completion", "prompt"),
)  # fmt: skip
_COLUMNS = tuple(dict.fromkeys(column for form in FORMATS for column in form.columns))
