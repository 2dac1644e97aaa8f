"""Refuses every connection and name look-up that would leave this machine, so that no test depends on a network."""

import ipaddress
import socket
from typing import Any


class NetworkUse(RuntimeError):
    """A test tried to leave this machine."""


def _is_here(host: Any) -> bool:
    if host in (None, "", "localhost", b"localhost", socket.gethostname()):
        return True
    name = host.decode() if isinstance(host, bytes) else str(host)
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _check(address: Any) -> None:
    if isinstance(address, tuple) and not _is_here(address[0]):
        raise NetworkUse(f"a test tried to reach {address[0]}:{address[1]}; tests use loopback alone")


def refuse() -> None:
    """Guard this process from now on. Calling it again changes nothing."""
    if getattr(socket, "_agentrl_guard", False):
        return
    connect, connect_ex, sendto, look_up = (
        socket.socket.connect,
        socket.socket.connect_ex,
        socket.socket.sendto,
        socket.getaddrinfo,
    )

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _check(address)
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _check(address)
        return connect_ex(self, address)

    def guarded_sendto(self: socket.socket, data: Any, *rest: Any) -> int:
        _check(rest[-1])
        return sendto(self, data, *rest)

    def guarded_look_up(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
        _check((host, port))
        return look_up(host, port, *rest, **named)

    socket.socket.connect = guarded_connect  # type: ignore[method-assign]
    socket.socket.connect_ex = guarded_connect_ex  # type: ignore[method-assign]
    socket.socket.sendto = guarded_sendto  # type: ignore[method-assign,assignment]
    socket.getaddrinfo = guarded_look_up
    socket._agentrl_guard = True  # type: ignore[attr-defined]
