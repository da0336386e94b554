"""Sockets to listen on, taken before anything else starts, with words for why one cannot be had."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from soulwatch.errors import SoulwatchError

BACKLOG = 2048
DEFAULT_PORT = 3001
HIGHEST_PORT = 65535


@contextmanager
def listen(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets on every address of `host`, all on one port. Raises SoulwatchError with the remedy."""
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        for family, address in _addresses(host, port):
            wanted = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(stack.enter_context(_bound(family, address, wanted)))
            except OSError as refused:
                raise SoulwatchError(_why_not(refused, host, wanted)) from None
        yield sockets


def port_of(sockets: list[socket.socket]) -> int:
    """The port they are on."""
    port: int = sockets[0].getsockname()[1]
    return port


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as unknown:
        raise SoulwatchError(
            f"{host!r} is no address of this machine ({unknown.strerror}). Set SOULWATCH_HOST (or --host) to one, such "
            "as 127.0.0.1, or 0.0.0.0 for all."
        ) from None
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    # Its protocol is named, since asyncio sends small answers at once (TCP_NODELAY) only where it is.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            is_alone = address != "::" or not socket.has_dualstack_ipv6()
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, is_alone)
        made.bind((address, port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _why_not(refused: OSError, host: str, port: int) -> str:
    if refused.errno == errno.EADDRINUSE:
        other = port + 1 if port < HIGHEST_PORT else DEFAULT_PORT
        return (
            f"Port {port} on {host} is in use, perhaps by a soulwatch that is running already. Stop that program, or "
            f"take another port: --port {other} (or SOULWATCH_PORT={other})."
        )
    if refused.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} may not be opened by this user. Take one from 1024 on, such as --port {DEFAULT_PORT}."
    return (
        f"{host} cannot be listened on ({refused.strerror}). Set SOULWATCH_HOST (or --host) to an address of this "
        "machine, such as 127.0.0.1, or 0.0.0.0 for all."
    )
