"""How a request reaches a chat completions server: by the openai package, or plainly; both over aiohttp's connections.

The pool of the openai package's own transport is walked at every call, so that calls get slower with the connections
that are open, and its walk over a request's types costs more than the call; a body passed as it is skips that.
"""

import importlib
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from agentrl.config import APIConfig

OPENAI_URL = "https://api.openai.com/v1"


class Answer(NamedTuple):
    """What a server sent back, whatever it is."""

    status: int
    headers: Mapping[str, str]
    """Asked for by names in lower case."""
    data: bytes


class Unreached(Exception):
    """No whole answer came."""

    def __init__(self, what: str, sent: bool) -> None:
        """sent: the server may have had the request, and may charge for it."""
        super().__init__(what)
        self.sent = sent


class Transport(Protocol):
    """Posts a body to a server's chat completions, for one event loop."""

    async def post(self, body: Mapping[str, Any], data: bytes) -> Answer:
        """data: the body as JSON.   Raises Unreached where no whole answer comes."""
        ...

    async def close(self) -> None: ...


def transport(settings: APIConfig, base_url: str | None, key: str) -> Transport:
    """The transport that the settings ask for, for the running event loop."""
    url = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
    kind = OpenAITransport if settings.client == "openai" else PlainTransport
    return kind(url.rstrip("/"), key, settings.timeout)


class PlainTransport:
    """Nothing but a POST."""

    def __init__(self, base_url: str, key: str, timeout: float) -> None:
        self._session = _session(timeout, base_url)
        self._url = _address(f"{base_url}/chat/completions")
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    async def post(self, body: Mapping[str, Any], data: bytes) -> Answer:
        """data: what is sent.   Raises Unreached where no whole answer comes."""
        return await _sent(self._session, "POST", self._url, self._headers, data)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


class OpenAITransport:
    """The openai package, with the body passed as it is."""

    def __init__(self, base_url: str, key: str, timeout: float) -> None:
        import openai

        # httpx, or the package that took its place: whatever the openai package is built on.
        base = next(kind for kind in openai.DefaultAsyncHttpxClient.__mro__ if kind.__name__ == "AsyncClient")
        self._library = importlib.import_module(base.__module__.partition(".")[0])
        self._session = _session(timeout, base_url)
        carrier = _carrier(self._library, self._session)
        self._client = openai.AsyncOpenAI(
            api_key=key,
            base_url=base_url,
            timeout=timeout,
            max_retries=0,
            http_client=self._library.AsyncClient(transport=carrier, timeout=timeout),
        )

    async def post(self, body: Mapping[str, Any], data: bytes) -> Answer:
        """body: what is sent.   Raises Unreached where no whole answer comes."""
        import openai

        try:
            response = await self._client.post("/chat/completions", cast_to=self._library.Response, body=body)
        except openai.APIStatusError as error:
            response = error.response
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, Unreached):
                raise error.__cause__ from None
            raise Unreached(f"{type(error).__name__}: {error.__cause__ or error}", sent=True) from None
        return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, response.content)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
        await self._session.close()


def _session(timeout: float, url: str) -> Any:
    """Connections without a limit of their own: how many calls there are at once is decided elsewhere.

    The environment's proxy is looked up once: aiohttp's own way (trust_env) asks a thread at every request.
    """
    import aiohttp

    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=proxy,
    )


def _address(url: str) -> Any:
    """The address, read once; one that is none stays text, for the call to say so."""
    import yarl

    try:
        return yarl.URL(url)
    except ValueError:
        return url


async def _sent(session: Any, method: str, url: Any, headers: Mapping[str, str], data: bytes) -> Answer:
    import aiohttp

    try:
        async with session.request(method, url, headers=headers, data=data, allow_redirects=False) as response:
            found = await response.read()
            return Answer(response.status, response.headers, found)  # a mapping in which case does not matter
    except aiohttp.ClientConnectorError as error:
        raise Unreached(f"the server cannot be reached: {error.os_error.strerror or error.os_error}", False) from None
    except aiohttp.InvalidURL as error:
        raise Unreached(f"{error} is no address", False) from None
    except TimeoutError:
        raise Unreached(f"no whole answer within {session.timeout.total:g} s", True) from None
    except (aiohttp.ClientError, OSError) as error:
        raise Unreached(f"the connection broke: {type(error).__name__}: {error}", True) from None


def _carrier(library: Any, session: Any) -> Any:
    """A transport for the openai package's client that uses the session's connections."""

    class Carrier(library.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:
            data = await request.aread()
            dropped = ("host", "content-length", "accept-encoding")
            headers = {name: value for name, value in request.headers.items() if name.lower() not in dropped}
            answer = await _sent(session, request.method, str(request.url), headers, data)
            left = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_THE_WIRE}
            return library.Response(answer.status, headers=left, content=answer.data)

    return Carrier()


_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that told how the body travelled; it has been decoded since."""
