"""A chat template as text: what it accepts is found out once, what changes with the clock is pinned."""

import datetime
import re
from collections.abc import Sequence
from typing import Any

from agentrl.errors import ConfigError, PolicyFailure
from agentrl.types import Message

PINNED_DAY = datetime.date(2026, 1, 1)
"""Templates that write today's date write this one: the same prompt at midnight, and when a run is repeated."""

RAW = "raw"
"""Role of the one message of a prompt that no template writes."""
QUESTION, ANSWER, FOLLOWING, RULES = "Probe question.", "Probe answer.", "Probe following.", "Probe rules."


def pinned_now(form: str) -> str:
    """What a template's `strftime_now` returns: always the same day."""
    return PINNED_DAY.strftime(form)


def message(role: str, content: Any) -> Message:
    """A chat message."""
    return {"role": role, "content": content}


def plain_text(content: Any) -> str:
    """The text of a message's content, images left out."""
    if isinstance(content, str):
        return content
    return "".join(item.get("text", "") for item in content)


class ChatTemplate:
    """Renders messages with a tokenizer's template, bent to what the template accepts.

    Found out by trying, once: whether it takes a system message (else its text goes in front of the first user
    message), whether two messages of one role may follow each other (else they are joined), and whether content must
    be a list of items. A template that accepts a system message and does not show it is taken at its word.
    """

    def __init__(self, tokenizer: Any, processor: Any = None) -> None:
        """Raises ConfigError where there is no template, or none of a conversation's forms can be rendered."""
        self._tokenizer = tokenizer
        self._template = getattr(processor, "chat_template", None)
        if not (self._template or getattr(tokenizer, "chat_template", None)):
            name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
            raise ConfigError(
                f"the tokenizer {name!r} has no chat template; use an instruct model or set chat_template"
            )
        self._control: re.Pattern[str] | None = None
        self.as_items = self.folds_system = self.joins_roles = False
        self._find_form()
        same_role = [message("user", QUESTION), message("user", FOLLOWING)]
        self.joins_roles = self._try(same_role) is None

    def _find_form(self) -> None:
        talk = [message("user", QUESTION), message("assistant", ANSWER), message("user", FOLLOWING)]
        for self.as_items in (False, True):
            for self.folds_system in (False, True):
                text = self._try([message("system", RULES), *talk])
                if text is not None and all(part in text for part in (QUESTION, ANSWER, FOLLOWING)):
                    return
        raise ConfigError(f"the chat template cannot render a conversation: {self._failure(talk)}")

    def _try(self, messages: Sequence[Message]) -> str | None:
        try:
            return self._apply(messages, None, True)
        except Exception:  # templates raise whatever they like
            return None

    def _failure(self, messages: Sequence[Message]) -> str:
        self.as_items = self.folds_system = False
        try:
            self._apply(messages, None, True)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "it leaves out what was said"

    def render(
        self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] | None = None, generate: bool = True
    ) -> str:
        """The template's text for the messages, with the head of the assistant's next message where `generate`.

        A template that refuses a reply for the control tokens in it is given the reply without them. A raw message
        (`RAW`) stands for itself, behind what the tokenizer puts in front of a text.
        Raises PolicyFailure where the template refuses the conversation all the same.
        """
        if messages[0]["role"] == RAW:
            return self._beginning() + plain_text(messages[0]["content"])
        try:
            return self._apply(messages, tools, generate)
        except Exception as first:
            cleaned = [
                {**m, "content": self._without_control(plain_text(m["content"]))} if m["role"] == "assistant" else m
                for m in messages
            ]
            try:
                return self._apply(cleaned, tools, generate)
            except Exception:
                raise PolicyFailure(f"chat template: {type(first).__name__}: {first}") from first

    def _beginning(self) -> str:
        """The tokenizer's BOS, where it writes one."""
        ids = self._tokenizer("a", verbose=False)["input_ids"]
        bos = getattr(self._tokenizer, "bos_token", None)
        return str(bos) if bos and ids[0] == self._tokenizer.bos_token_id else ""

    def _apply(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] | None, generate: bool) -> str:
        text = self._tokenizer.apply_chat_template(
            self._bent(messages),
            tools=list(tools) if tools else None,
            chat_template=self._template,
            add_generation_prompt=generate,
            tokenize=False,
            strftime_now=pinned_now,
        )
        return str(text)

    def _bent(self, messages: Sequence[Message]) -> list[Message]:
        bent: list[Message] = []
        system = ""
        for m in messages:
            role, content = m["role"], m["content"]
            if role == "system" and self.folds_system:
                system += plain_text(content) + "\n\n"
                continue
            if role == "user" and system:
                content, system = _joined(system, content), ""
            if self.joins_roles and bent and bent[-1]["role"] == role:
                bent[-1] = {**bent[-1], "content": _joined(_joined(bent[-1]["content"], "\n\n"), content)}
            else:
                bent.append({**m, "content": content})
        if system:
            bent.append(message("user", system.strip()))
        return [{**m, "content": self._content(m["content"])} for m in bent]

    def _content(self, content: Any) -> Any:
        if isinstance(content, str):
            return [{"type": "text", "text": content}] if self.as_items else content
        if not self.as_items and all(item["type"] == "text" for item in content):
            return plain_text(content)
        return [{"type": "image"} if item["type"] == "image" else item for item in content]

    def _without_control(self, text: str) -> str:
        if self._control is None:
            tokens = sorted(map(str, self._tokenizer.all_special_tokens), key=len, reverse=True)
            added = [str(t) for t in self._tokenizer.added_tokens_decoder.values()]
            known = sorted({*tokens, *added} - {""}, key=len, reverse=True)
            self._control = re.compile("|".join(map(re.escape, known)) or r"(?!)")
        return self._control.sub("", text)


def _joined(first: Any, second: Any) -> Any:
    """Two contents as one: a text where both are texts, a list of items otherwise."""
    if isinstance(first, str) and isinstance(second, str):
        return first + second
    lists = ([{"type": "text", "text": c}] if isinstance(c, str) else list(c) for c in (first, second))
    return [item for items in lists for item in items]
