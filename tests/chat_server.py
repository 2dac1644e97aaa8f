"""A server on this machine that speaks the chat completions protocol, with answers given beforehand."""

import asyncio
import json
from collections.abc import Callable
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


class ChatServer:
    """`async with ChatServer(answer) as server`: `answer(body, headers)` gives status and body of each call.

    Status 0 closes the connection without an answer. `calls` has the bodies that came, `url` is what a client needs.
    """

    def __init__(self, answer: Callable[[dict[str, Any], dict[str, str]], tuple[int, dict[str, Any]]]) -> None:
        self.answer = answer
        self.calls: list[dict[str, Any]] = []
        self.writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
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
                status, answer = self.answer(body, headers)
                if status == 0:
                    return
                data = json.dumps(answer).encode()
                head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
                writer.write(head.encode() + data)
                await writer.drain()
        finally:
            self.writers.discard(writer)
            writer.close()
