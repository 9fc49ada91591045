"""Ports that this process holds, so that nobody else takes them, and on which nobody answers yet."""

import contextlib
import dataclasses
import socket
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True)
class HeldPort:
    """A bound socket that does not listen: connections to its port are refused."""

    socket: socket.socket
    port: int

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextlib.contextmanager
def held_port(shared: bool = False) -> Iterator[HeldPort]:
    """A port of this machine.

    Args:
      shared: another process may listen on it, by SO_REUSEPORT.
    """
    with socket.socket() as held:
        if shared:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("0.0.0.0" if shared else "127.0.0.1", 0))
        yield HeldPort(held, held.getsockname()[1])
