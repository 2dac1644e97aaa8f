"""A server on this machine that speaks the chat completions protocol, with answers given beforehand."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self


def reply(text: str | None, finish: str = "stop", **usage: Any) -> tuple[int, dict[str, Any]]:
    """Status and body of a usual answer."""
    message = {"role": "assistant", "content": text}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "fake",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14, **usage},
    }
    return 200, body


def error(status: int, text: str = "no") -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": text, "type": "error", "code": status}}


def halving(body: dict[str, Any], headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Plays `guess` by halving, from the messages alone: the same reply to the same request."""
    low, high, asked = 1, 100, 0
    for message in body["messages"]:
        text = str(message["content"])
        if message["role"] == "assistant":
            asked = int(re.findall(r"ask (\d+)", text)[-1])
        elif text.startswith("Higher."):
            low = asked + 1
        elif text.startswith("Lower."):
            high = asked - 1
    return reply(f"<action>ask {(low + high) // 2}</action>")


@dataclass
class Answer:
    """An answer to the byte, for a server that misbehaves."""

    status: int = 200
    data: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    cut: int | None = None
    """Only so many bytes of the data are sent, then the connection is closed."""
    hangs: bool = False
    """Nothing is sent, and the connection stays open."""
    pieces: int = 1
    """The data come in so many pieces, a moment apart."""


class ChatServer:
    """`async with ChatServer(answer) as server`: `answer(body, headers)` gives status and body of each call.

    Status 0 closes the connection without an answer; an `Answer` says every byte. `calls` has the bodies that came,
    `url` is what a client needs.
    """

    def __init__(self, answer: Callable[[dict[str, Any], dict[str, str]], tuple[int, dict[str, Any]] | Answer]) -> None:
        self.answer = answer
        self.calls: list[dict[str, Any]] = []
        self.writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for writer in list(self.writers):
            writer.close()
        await self.server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            while line := await reader.readline():
                headers = {}
                while (header := (await reader.readline()).decode().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
                self.calls.append({"path": line.split()[1].decode(), **body})
                answer = self.answer(body, headers)
                if not isinstance(answer, Answer):
                    status, found = answer
                    if status == 0:
                        return
                    answer = Answer(status, json.dumps(found).encode())
                if not await _send(writer, answer):
                    return
                if answer.hangs:
                    await reader.read()  # until the client gives up
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client gave up
        finally:
            self.writers.discard(writer)
            writer.close()


async def _send(writer: asyncio.StreamWriter, answer: Answer) -> bool:
    """Send it; whether the connection goes on."""
    if answer.hangs:
        return True
    head = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in answer.headers.items())]
    writer.write("\r\n".join([*head, f"Content-Length: {len(answer.data)}", "", ""]).encode())
    sent = answer.data if answer.cut is None else answer.data[: answer.cut]
    size = -(-len(sent) // answer.pieces) or 1
    for start in range(0, len(sent), size):
        writer.write(sent[start : start + size])
        await writer.drain()
        if answer.pieces > 1:
            await asyncio.sleep(0)
    return answer.cut is None
