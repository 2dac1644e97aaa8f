"""Messages to ids: a prompt is the previous one, what was sampled, and glue, wherever the chat template allows it.

The rule (token in, token out). Let `text` be the template's text of the messages of this turn. The prompt continues the
previous one where

    text = previous.text + decode(sampled ids) + glue

holds letter for letter (blanks at the reply's edges being as the tokenizer's decoder has them); it is then
`previous.ids + sampled ids + ids of the glue`, and only the glue is tokenised.
Otherwise (the template drops earlier reasoning or strips blanks, the memory replaces what was said, another end-of-turn
token was sampled than the template writes) the whole text is tokenised and opens a new sequence. Nothing about any
template is declared.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.errors import ConfigError, PolicyFailure
from agentrl.models.chat_template import ANSWER, FOLLOWING, QUESTION, ChatTemplate, message
from agentrl.types import Completion, Message

_CONTEXT = 8
_REMEMBERED = 16384
"""Texts and replies whose ids are remembered: most of what a world says, and of what is answered, is said again."""
_SHORT = 2000
"""Letters up to which a text is worth remembering, and its ids up to which a reply is."""
_LAST_TAG = re.compile(r"(<[^<>\s]+>)\s*\Z")
_FIRST_TAG = re.compile(r"\s*(<[^<>\s]+>)")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt."""

    ids: tuple[int, ...]
    """The whole prompt."""
    new_ids: tuple[int, ...]
    """What follows the previous prompt's ids and the completion's; the whole prompt where it does not continue."""
    continues: bool
    """Is this prompt the previous prompt, the completion and `new_ids`."""
    text: str
    """The template's text of the whole prompt; an image is its placeholder."""
    images: tuple[str, ...] = ()
    """SHA-256 of the images in `ids`, in order."""


class Renderer:
    """Renders for one model.

    end_ids: ids that end an assistant's turn: the template's own, the tokenizer's eos, and those given.
    end_id: the one that the template writes.

    What the template writes between the head of an assistant's message and the reply (`lead`, as the empty reasoning
    block or the channel that some models want) and after the reply up to the end-of-turn token (`closing`) belongs to
    the sampled ids but not to the reply's text: `reply_ids` writes both, `decode` removes both.
    """

    def __init__(
        self,
        tokenizer: Any,
        processor: Any = None,
        *,
        end_ids: Iterable[int] = (),
        image_tokens: Callable[[bytes], int] | None = None,
    ) -> None:
        """Find out what the template does by rendering a probe.

        end_ids: further ids that end a turn, as the model's generation config names them.
        image_tokens: how many ids an image (PNG bytes) takes in place of its placeholder; by default the processor is
        asked, once an image. The placeholder is `processor.image_token`.
        Raises ConfigError where the tokenizer has no template, the template cannot be used, or nothing ends a turn.
        """
        self._tokenizer = self.tokenizer = tokenizer
        self._template = ChatTemplate(tokenizer, processor)
        self._image_id = _image_id(tokenizer, processor)
        self._image_tokens = image_tokens or functools.lru_cache(4096)(functools.partial(_count_image_ids, processor))
        self._added = frozenset(tokenizer.added_tokens_decoder)
        self._short_ids = functools.lru_cache(_REMEMBERED)(self._tokenise)
        self._short_text = functools.lru_cache(_REMEMBERED)(self._spell)
        self._learn_template(frozenset(end_ids) | _eos_ids(tokenizer))
        self._closers = self.end_ids | {i for i in self._encode(self.closing) if i in self._added}
        self._reply_ids = functools.lru_cache(65536)(self._tokenise_reply)
        self._remembered_replies = functools.lru_cache(4096)(self._tokenise_replies)
        self._place = "" if self._image_id is None else self._decode([self._image_id])

    def _learn_template(self, eos: frozenset[int]) -> None:
        asked = [message("user", QUESTION)]
        answered = [*asked, message("assistant", ANSWER)]
        prompt = self._template.render(asked)
        after = self._template.render([*answered, message("user", FOLLOWING)])
        head, _, tail = after.partition(ANSWER)
        last = self._template.render(answered, generate=False).partition(ANSWER)[2]
        self.lead = head[len(prompt) :] if head.startswith(prompt) else ""
        """What the template writes between the prompt and a reply."""
        self.opening = prompt[len(head) :] if prompt.startswith(head) else ""
        """What the prompt already says for the agent, as an opening reasoning tag; part of the reply in later turns."""
        tag = _LAST_TAG.search(prompt)
        self._repeated = tag[1] if tag else ""
        self._prompt_tail = self._from_last_added(prompt)
        self.end_id, self.closing = self._find_end(tail.partition(FOLLOWING)[0], last, eos)
        self.end_ids: frozenset[int] = eos | {self.end_id}

    def _from_last_added(self, text: str) -> str:
        """The end of a text, from its last added token on: enough to tokenise what follows as in the whole."""
        contents = [str(token) for token in self._tokenizer.added_tokens_decoder.values() if str(token).strip()]
        return text[max((text.rfind(content) for content in contents), default=0) :] if contents else text

    def _find_end(self, following: str, last: str, eos: frozenset[int]) -> tuple[int, str]:
        """The id that ends a turn, and the text after a reply up to and including it.

        following: the text between a reply and the next user text.   last: the text after the last reply.
        """
        added_following = [i for i in self._encode(following) if i in self._added]
        added_last = [i for i in self._encode(last) if i in self._added]
        choices = [
            *((i, last) for i in added_last[:1] if i in eos),  # the last reply may end otherwise than earlier ones
            *((i, following) for i in added_following if i in eos),
            *((i, following) for i in added_following),
            *((i, last) for i in added_last),
        ]
        for end, text in choices:
            written = self._decode([end])
            if written in text:
                return end, text[: text.index(written) + len(written)]
        end = self._tokenizer.eos_token_id
        if end is None:
            raise ConfigError("the chat template ends a turn with no special token, and the tokenizer has no eos_token")
        return end, self._decode([end])

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] | None = None,
        previous: Rendered | None = None,
        completion: Completion | None = None,
    ) -> Rendered:
        """The prompt for messages that end with a user's.

        messages: image items are {"type": "image", "image": PNG bytes}.   tools: JSON schemas for the template itself;
        formats list tools as text, so usually none.   previous, completion: the episode's last prompt and what was
        sampled after it.
        Raises PolicyFailure where the template refuses the messages, ConfigError for images without a processor.
        """
        if self.opening or self._image_id is not None:
            text = self._template.render([self._as_said(self._without_places(m)) for m in messages], tools)
        else:
            text = self._template.render(messages, tools)
        images = _images(messages)
        hashes = tuple(hashlib.sha256(image).hexdigest() for image in images)
        if previous is not None and completion is not None and hashes[: len(previous.images)] == previous.images:
            start = self._end_of_reply(text, previous, completion.token_ids)
            if start is not None:
                before = previous.ids + tuple(completion.token_ids)
                glue = self._encode(text[start:], after=before[-1] if before else None)
                new_ids = self._with_images(glue, images[len(previous.images) :])
                return Rendered(before + new_ids, new_ids, True, text, hashes)
        ids = self._with_images(self._encode(text), images)
        return Rendered(ids, ids, False, text, hashes)

    def _end_of_reply(self, text: str, previous: Rendered, sampled: Sequence[int]) -> int | None:
        """Where the glue begins in `text`, or None where it does not continue."""
        if not text.startswith(previous.text):
            return None
        start = len(previous.text)
        for said in self._readings(previous.ids, sampled):
            if text.startswith(said, start):
                return start + len(said)
        return None

    def _readings(self, before: Sequence[int], sampled: Sequence[int]) -> Iterator[str]:
        """What the sampled ids may be as text: decoders differ in the blanks they drop or add at the edges."""
        yield self._decode(sampled)
        yield self._decode_in_context(before[-_CONTEXT:], sampled)
        end = self._end_of_body(sampled)
        yield self._decode(sampled[:end]) + "".join(self._decode([i]) for i in sampled[end:])

    def _end_of_body(self, ids: Sequence[int]) -> int:
        """How many ids stand before those that close the reply."""
        end = len(ids)
        while end and ids[end - 1] in self._closers:
            end -= 1
        return end

    def _decode_in_context(self, context: Sequence[int], ids: Sequence[int]) -> str:
        """Some decoders drop a blank at the beginning of what they decode: decode after the ids before it."""
        before, whole = self._decode(context), self._decode([*context, *ids])
        return whole[len(before) :] if whole.startswith(before) else whole

    def _as_said(self, said: Message) -> Message:
        """A reply with what the prompt had already said for it in front: the assistant's whole message."""
        if said["role"] != "assistant" or not self.opening or not isinstance(said["content"], str):
            return said
        return {**said, "content": self.opening + self._without_repeated(said["content"])}

    def _without_places(self, said: Message) -> Message:
        """A message whose texts spell no image placeholder: places are for images alone."""
        if self._image_id is None:
            return said
        place = self._place
        if isinstance(said["content"], str):
            return {**said, "content": said["content"].replace(place, "")}
        items = [{**i, "text": i["text"].replace(place, "")} if i["type"] == "text" else i for i in said["content"]]
        return {**said, "content": items}

    def _without_repeated(self, text: str) -> str:
        """A reply from elsewhere without the opening tag that the prompt ends with."""
        if self._repeated and text.startswith(self._repeated):
            return text[len(self._repeated) :].lstrip("\n")
        return text

    def reply_ids(self, text: str) -> tuple[int, ...]:
        """A reply that was not sampled here, tokenised once, as the template writes it: end-of-turn id included."""
        return self._reply_ids(text)

    def text_ids(self, prompt: str, replies: Sequence[str]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
        """Ids of a raw prompt, which no template writes, and of each raw reply to it, the eos token included.

        What the tokenizer puts in front of a text (BOS) is in the prompt. Prompt and reply are tokenised together; a
        reply begins where the ids of the prompt alone end or, where letters of both became one token, where all of them
        begin to differ. A prompt has at least one token, if need be the first of the reply.
        Source: TRL 1.16, `DPOTrainer._prepare_dataset`.
        """
        eos = self._tokenizer.eos_token or self._decode([self.end_id])
        wholes = [self._with_bos(prompt + reply + ("" if reply.endswith(eos) else eos)) for reply in replies]
        alone = self._with_bos(prompt) if prompt else ()
        shared = len(alone)
        for whole in wholes:
            shared = next((i for i, (a, b) in enumerate(zip(alone[:shared], whole, strict=False)) if a != b), shared)
        shared = max(shared, 1)
        return wholes[0][:shared], [whole[shared:] for whole in wholes]

    def _with_bos(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, verbose=False)["input_ids"])

    def distinct_replies(self, texts: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        """`reply_ids` of each text, in order, without repeats; remembered as a whole."""
        return self._remembered_replies(texts)

    def _tokenise_replies(self, texts: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(dict.fromkeys(map(self.reply_ids, texts)))

    def _tokenise_reply(self, text: str) -> tuple[int, ...]:
        body = self._without_repeated(text)
        tag = _FIRST_TAG.match(text)
        if body == text and not (tag and tag[1] in self.lead):  # reasoning of its own takes the place of the lead's
            body = self.lead + text
        before = self._encode(self._prompt_tail)
        whole = self._encode(self._prompt_tail + body + self.closing)
        return whole[len(before) :] if whole[: len(before)] == before else self._encode(body + self.closing)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a reply: without the ids that end it and without the template's `lead`.

        Other special ids stay in the text (a reasoning tag may be one): text and ids say the same.
        """
        text = self._decode(ids[: self._end_of_body(ids)])
        return text[len(self.lead) :] if self.lead and text.startswith(self.lead) else text

    def _decode(self, ids: Sequence[int]) -> str:
        return self._short_text(tuple(ids)) if len(ids) <= _SHORT else self._spell(ids)

    def _spell(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text)

    def _encode(self, text: str, after: int | None = None) -> tuple[int, ...]:
        """Ids of a text, no BOS added: the template writes its own.

        after: the id in front. Where it is an added token the text is tokenised behind it, since some of these take
        the blanks that follow.
        """
        if not text:
            return ()
        behind = after if after in self._added else None
        return self._short_ids(text, behind) if len(text) <= _SHORT else self._tokenise(text, behind)

    def _tokenise(self, text: str, behind: int | None) -> tuple[int, ...]:
        if behind is not None:
            ids = self._encode(self._decode([behind]) + text)
            if ids[0] == behind:
                return ids[1:]
        return tuple(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _with_images(self, ids: tuple[int, ...], images: Sequence[bytes]) -> tuple[int, ...]:
        """Every image placeholder repeated as often as its image takes ids."""
        if self._image_id is None:
            if images:
                raise ConfigError("the messages hold images, but the model takes none")
            return ids
        if ids.count(self._image_id) != len(images):
            raise PolicyFailure(f"chat template: {ids.count(self._image_id)} image places for {len(images)} images")
        following = iter(images)
        expanded: list[int] = []
        for i in ids:
            expanded += [i] * self._image_tokens(next(following)) if i == self._image_id else [i]
        return tuple(expanded)


def _eos_ids(tokenizer: Any) -> frozenset[int]:
    eos = tokenizer.eos_token_id
    return frozenset() if eos is None else frozenset([eos] if isinstance(eos, int) else eos)


def _images(messages: Sequence[Message]) -> list[bytes]:
    lists = [m["content"] for m in messages if not isinstance(m["content"], str)]
    return [item["image"] for items in lists for item in items if item["type"] == "image"]


def _image_id(tokenizer: Any, processor: Any) -> int | None:
    if processor is None:
        return None
    token = getattr(processor, "image_token", None)
    return None if token is None else int(tokenizer.convert_tokens_to_ids(token))


def _count_image_ids(processor: Any, image: bytes) -> int:
    """How many placeholder ids the processor writes for one image."""
    import io

    from PIL import Image

    with Image.open(io.BytesIO(image)) as opened:
        ids = processor(text=[processor.image_token], images=[opened.convert("RGB")])["input_ids"][0]
    return sum(int(i) == processor.tokenizer.convert_tokens_to_ids(processor.image_token) for i in ids)
