"""What goes to browsers: each has an outbox of bounded size, so that a slow one misses frames and costs no memory."""

import asyncio
from collections import deque

MOST_FRAMES = 2
"""Frames that wait for one browser; the oldest goes when another comes."""


class Outbox:
    """What one browser is yet to get: the latest message of each kind, then frames, the oldest first."""

    def __init__(self) -> None:
        self._latest: dict[str, str] = {}
        self._frames: deque[str] = deque(maxlen=MOST_FRAMES)
        self._filled = asyncio.Event()

    def put(self, kind: str, message: str) -> None:
        """Adds a message; of kinds other than "frame" only the last counts."""
        if kind == "frame":
            self._frames.append(message)
        else:
            self._latest[kind] = message
        self._filled.set()

    async def take(self) -> str:
        """The next message, as soon as there is one."""
        while not self._latest and not self._frames:
            self._filled.clear()
            await self._filled.wait()
        if self._latest:
            return self._latest.pop(next(iter(self._latest)))
        return self._frames.popleft()


class Outboxes:
    """Those of all browsers; who comes later gets the last message of each kind first."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._open: set[Outbox] = set()

    def join(self) -> Outbox:
        """Another browser's."""
        outbox = Outbox()
        for kind, message in self._last.items():
            outbox.put(kind, message)
        self._open.add(outbox)
        return outbox

    def leave(self, outbox: Outbox) -> None:
        """The browser has gone."""
        self._open.discard(outbox)

    def put(self, kind: str, message: str) -> None:
        """For all browsers."""
        self._last[kind] = message
        for outbox in self._open:
            outbox.put(kind, message)
