"""Ports that this process holds, so that nobody else takes them, and on which nobody answers yet."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def held_port(shared: bool = False) -> Iterator[socket.socket]:
    """A bound socket that does not listen: connections to its port are refused.

    Args:
      shared: another process may listen on the port, by SO_REUSEPORT.
    """
    with socket.socket() as held:
        if shared:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("0.0.0.0" if shared else "127.0.0.1", 0))
        yield held


def target_of(held: socket.socket) -> str:
    """HOST:PORT by which a client reaches it."""
    return f"127.0.0.1:{held.getsockname()[1]}"
