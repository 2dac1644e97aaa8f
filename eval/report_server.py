"""Serves a folder's report to a browser on this machine: the report's own files, rebuilt when the run has grown."""

import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from agentrl.errors import AgentRLError, ConfigError, DataError
from agentrl.eval.report import EPISODES, MARKDOWN, NUMBERS, PAGE, TABLE, is_fresh, sources, write_report
from agentrl.eval.report_matrix import folder_of, is_matrix, listed

TYPES = {
    PAGE: "text/html; charset=utf-8",
    MARKDOWN: "text/plain; charset=utf-8",
    NUMBERS: "application/json",
    TABLE: "text/csv; charset=utf-8",
    EPISODES: "text/csv; charset=utf-8",
}
"""The files that are served, and what they are; there are no others."""
HOST = "127.0.0.1"
REST = 2.0
"""Seconds between two looks at whether the run has grown."""

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'none'",
}


class Served:
    """A folder's report, kept up to date. Safe to ask from several threads at once."""

    def __init__(self, folder: Path) -> None:
        """Raises DataError where there is nothing to report."""
        if not folder.is_dir():
            raise DataError(f"there is no run directory {folder}")
        self.folder = folder
        self._lock = threading.Lock()
        self._stamp: tuple[tuple[str, int, int], ...] = ()
        self._looked = 0.0
        if is_fresh(folder):
            self._stamp = self._now()
        else:
            self._rebuild()

    def file(self, path: str) -> tuple[bytes, str] | None:
        """Content and type of a served file by the path of a request; None for what is not served.

        The path is looked up in a table of the report's own files: no part of it reaches the file system.
        """
        found = self._table().get(unquote(urlsplit(path).path))
        if found is None:
            return None
        if found.name == PAGE:
            self._refresh()
        try:
            return found.read_bytes(), TYPES[found.name]
        except OSError:
            return None

    def _table(self) -> Mapping[str, Path]:
        """Path of a request -> file."""
        table = {f"/{name}": self.folder / name for name in TYPES} | {"/": self.folder / PAGE}
        if is_matrix(self.folder):
            for cell in listed(self.folder)[0]:
                try:
                    folder = folder_of(self.folder, cell)
                except DataError:
                    continue
                inside = folder.relative_to(self.folder).as_posix()
                table |= {f"/{inside}/{name}": folder / name for name in TYPES}
        return table

    def _refresh(self) -> None:
        """Write the report anew where the run has grown since; one that cannot be written leaves the old one."""
        with self._lock:
            if time.monotonic() - self._looked < REST:
                return
            self._looked = time.monotonic()
            try:
                if self._now() != self._stamp:
                    self._rebuild()
            except AgentRLError:
                return

    def _rebuild(self) -> None:
        stamp = self._now()
        page = self.folder / PAGE
        try:
            write_report(self.folder)
        except DataError:
            if not page.exists():  # a folder that cannot be written to may hold a report all the same
                raise
        self._stamp, self._looked = stamp, time.monotonic()

    def _now(self) -> tuple[tuple[str, int, int], ...]:
        """What the report's sources look like now: a change of any of them changes this."""
        found = []
        for path in sources(self.folder):
            try:
                stat = path.stat()
            except OSError:
                continue
            found.append((str(path), stat.st_mtime_ns, stat.st_size))
        return tuple(sorted(found))


class Server(ThreadingHTTPServer):
    """Answers on this machine alone, one thread a request."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, served: Served, port: int) -> None:
        """Raises ConfigError for a port that cannot be had."""
        try:
            super().__init__((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"port {port} of {HOST} cannot be had: {error}; name another, or none") from error
        self.served = served

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: a browser that goes away in the middle of an answer is no error of ours."""


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the report's files."""

    server: Server
    server_version, sys_version = "agentrl", ""
    timeout = 30

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        port = self.server.server_address[1]
        if self.headers.get("Host", "") not in (f"{HOST}:{port}", f"localhost:{port}"):
            # A page elsewhere can have its own name point here; this one it cannot then read.
            return self.send_error(HTTPStatus.FORBIDDEN)
        found = self.server.served.file(self.path)
        if found is None:
            return self.send_error(HTTPStatus.NOT_FOUND)
        content, kind = found
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal shows where the report is, not who reads it."""


def open_server(folder: Path, port: int = 0) -> Server:
    """A server of a folder's report, listening; `serve_forever` answers.   port: 0 takes a free one.

    Raises DataError where there is nothing to report, ConfigError for a port that cannot be had.
    """
    return Server(Served(folder), port)
