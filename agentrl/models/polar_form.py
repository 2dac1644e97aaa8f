"""POLAR's input: a prompt with a reference answer, and the same prompt with a candidate; scored at the token after.

    {prompt}{between}{reference}{separator}{prompt}{between}{candidate}{end}

Roles and the chat template are dropped; contents are joined by newlines. An episode of several turns is the prompt that
came first, and as its answer all replies, with what was observed between them. Read in InternLM/POLAR (80626f3,
`src/polar/reward_func.py`). Released, an emptiness test is never true; here too an empty answer is written as any.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from agentrl.errors import ConfigError, DataError
from agentrl.settings import require
from agentrl.types import Completion, Message, Trajectory

EXTRA_TOKENS = 4
"""Of `max_length`, kept for the separators."""
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class PolarForm:
    """How a policy discriminator is written to."""

    separator: str = "<|reward|>"
    """Token between the two halves; the released models'. One of the tokenizer's own."""
    end: str = "[UNUSED_TOKEN_130]"
    """Token at the end, whose state carries the score; the released models'. One of the tokenizer's own."""
    between: str = "\n"
    """Between a prompt and an answer; empty for a model that was pre-trained alone."""
    max_length: int = 16384
    """Tokens of the whole."""
    max_answer: int = 4096
    """Tokens of the reference, and of the candidate."""
    cut: Literal["right", "left"] = "right"
    """On which side an answer is cut that is longer; a prompt is cut on its left."""
    observations: bool = True
    """Write what was observed between an episode's replies; false: the replies alone."""

    def __post_init__(self) -> None:
        require(bool(self.separator and self.end), "separator and end must not be empty")
        require(self.max_answer >= 1, f"max_answer is {self.max_answer}; it must be at least 1")
        least = 2 * self.max_answer + EXTRA_TOKENS
        require(
            self.max_length >= least, f"max_length is {self.max_length}; two answers and {EXTRA_TOKENS} take {least}"
        )


def joined(messages: str | Sequence[Message]) -> str:
    """The contents of messages, one under the other; a text is itself."""
    if isinstance(messages, str):
        return messages
    return "\n".join(_text(message["content"]) for message in messages)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(item["text"] for item in content if item["type"] == "text")


def polar_text(
    prompt: str,
    reference: str,
    candidate: str,
    form: PolarForm,
    encode: Callable[[str], Sequence[Any]],
    decode: Callable[[Sequence[Any]], str],
) -> str:
    """What the model is given, cut to its limits; the answers first, then the prompt to half of what they leave.

    encode, decode: a text to tokens and back, without special ones; asked for what is too long alone.
    """
    reference = _cut(reference, form.max_answer, form.cut, encode, decode)
    candidate = _cut(candidate, form.max_answer, form.cut, encode, decode)
    left = form.max_length - EXTRA_TOKENS - len(encode(reference)) - len(encode(candidate))
    prompt = _cut(prompt, left // 2, "left", encode, decode)
    halves = [f"{prompt}{form.between}{answer}" for answer in (reference, candidate)]
    return f"{halves[0]}{form.separator}{halves[1]}{form.end}"


def _cut(text: str, most: int, side: str, encode: Callable[[str], Any], decode: Callable[[Any], str]) -> str:
    tokens = encode(text)
    if len(tokens) <= most:
        return text
    return decode(tokens[:most] if side == "right" else tokens[len(tokens) - most :])


def without_thoughts(text: str) -> str:
    """A reply without its <think>…</think>, as the released reward function takes it."""
    return _THOUGHT.sub("", text).strip()


def prompt_of(trajectory: Trajectory) -> str:
    """What was seen before the first reply."""
    first = trajectory.turns[0].observation
    return "\n".join([*(text for _, text in first.earlier), first.text])


def answer_of(trajectory: Trajectory, form: PolarForm) -> str:
    """All replies of an episode, and what was observed between them."""
    lines: list[str] = []
    for turn in trajectory.turns:
        if lines and form.observations:
            lines.append(turn.observation.text)
        lines.append(without_thoughts(turn.completion.text))
    return "\n".join(lines)


@dataclass(frozen=True)
class PolarWriter:
    """Writes for one model."""

    tokenizer: Any
    form: PolarForm

    def __post_init__(self) -> None:
        for name in ("separator", "end"):
            token = getattr(self.form, name)
            ids = self._encode(token)
            if len(ids) != 1 or self.tokenizer.convert_ids_to_tokens(ids) != [token]:
                raise ConfigError(
                    f"polar.{name} is {token!r}, which is no token of this model; name one that ordinary text does "
                    f"not hold, as one of {', '.join(map(repr, self.tokenizer.all_special_tokens[:6]))}"
                )

    def answer(self, trajectory: Trajectory) -> str:
        """An episode as a reference."""
        return answer_of(trajectory, self.form)

    def written(self, trajectory: Trajectory, reference: str) -> Trajectory:
        """A candidate beside its reference, as an episode of one turn in the ids of this model.

        Its reply is the answer once more and the token at the end; what is read is the whole.
        Raises DataError for an episode without a reply.
        """
        if not trajectory.turns:
            raise DataError(f"an episode of task {trajectory.task.id!r} holds no reply")
        prompt, reference, answer = map(self._plain, (prompt_of(trajectory), reference, self.answer(trajectory)))
        text = polar_text(prompt, reference, answer, self.form, self._encode, self._decode)
        ids = self._encode(text)
        said = min(len(self._encode(answer)), self.form.max_answer) + 1  # where the answer begins; 1: the end
        said = min(said, len(ids) - 1)
        turn = replace(
            trajectory.turns[-1],
            position=0,
            observation=trajectory.turns[0].observation,
            prompt_ids=ids[:-said],
            continues=False,
            completion=Completion(answer, token_ids=ids[-said:]),
            kind="act",
            images=(),
        )
        return replace(trajectory, turns=[turn])

    def _plain(self, text: str) -> str:
        """A text that spells none of the separators: a policy might try to write its own end."""
        return text.replace(self.form.separator, "").replace(self.form.end, "")

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def best_reference(group: Sequence[Trajectory]) -> int | None:
    """Number of the episode that the others of a group are compared with: a demonstration, else the first of the best.

    None where there is none with a reply.
    """
    able = [number for number, trajectory in enumerate(group) if trajectory.turns]
    shown = [number for number in able if group[number].source == "demonstration"]
    if shown:
        return shown[0]
    return max(able, key=lambda n: group[n].outcome.score, default=None)
