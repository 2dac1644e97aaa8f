"""Fakes that speak the runner's protocols: a renderer of words, a policy that takes ids."""

import asyncio
import hashlib
import random
import zlib

from agentrl.models.renderer import Rendered
from agentrl.types import Completion


class WordRenderer:
    """A token a word; `end_id` ends every message. Continues wherever the text does."""

    end_id = 0
    end_ids = frozenset({0})

    def __init__(self) -> None:
        self.words: dict[int, str] = {}
        self.replies: list[str] = []

    def encode(self, text: str) -> tuple[int, ...]:
        found = tuple(zlib.crc32(word.encode()) % 10**6 + 1 for word in text.split())
        self.words.update(zip(found, text.split(), strict=True))
        return found

    def decode(self, ids) -> str:
        return " ".join(self.words[i] for i in ids if i)

    def render(self, messages, tools=None, previous=None, completion=None) -> Rendered:
        ids: list[int] = []
        hashes = []
        for message in messages:
            items = message["content"]
            items = [{"type": "text", "text": items}] if isinstance(items, str) else items
            for item in items:
                if item["type"] == "image":
                    hashes.append(hashlib.sha256(item["image"]).hexdigest())
                else:
                    ids += self.encode(item["text"])
            ids.append(self.end_id)
        whole = tuple(ids)
        before = previous.ids + tuple(completion.token_ids) if previous and completion else None
        continues = before is not None and whole[: len(before)] == before
        new = whole[len(before) :] if continues else whole
        return Rendered(whole, new, continues, "", tuple(hashes))

    def reply_ids(self, text: str) -> tuple[int, ...]:
        self.replies.append(text)
        return (*self.encode(text), self.end_id)

    def distinct_replies(self, texts: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(dict.fromkeys(map(self.reply_ids, texts)))


class IdPolicy:
    """Says what `says(view)` says, as ids; or, constrained, a seeded choice among the candidates."""

    takes_ids = True

    def __init__(self, renderer: WordRenderer, says=lambda view: "left", finish="stop") -> None:
        self.renderer, self.says, self.finish = renderer, says, finish
        self.requests = []
        self.released = []

    async def generate(self, request) -> Completion:
        self.requests.append(request)
        await asyncio.sleep(0)
        candidates = request.sampling.candidates
        if candidates is None:
            ids = self.renderer.reply_ids(self.says(request.view))
        else:
            ids = random.Random(request.sampling.seed).choice(candidates)
        allowed = [[i] for i in ids] if candidates else None
        text = self.renderer.decode(ids)
        logprobs = [-0.5] * len(ids)
        return Completion(text, list(ids), logprobs, finish=self.finish, versions=[3] * len(ids), allowed=allowed)

    async def release(self, episode) -> None:
        self.released.append(episode)

    async def close(self) -> None:
        pass
