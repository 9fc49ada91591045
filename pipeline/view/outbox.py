"""Message queues of the browsers. Their size is bounded: a slow browser misses frames instead of using memory."""

import asyncio
from collections import deque

MOST_FRAMES = 2
"""Largest number of frames that wait for one browser; a further frame replaces the oldest."""


class Outbox:
    """Messages waiting for one browser: first the latest message of each kind, then frames, oldest first."""

    def __init__(self) -> None:
        self._latest: dict[str, str] = {}
        self._frames: deque[str] = deque(maxlen=MOST_FRAMES)
        self._filled = asyncio.Event()

    def put(self, kind: str, message: str) -> None:
        """Adds a message. It replaces a waiting one of the same kind, except for the kind "frame"."""
        if kind == "frame":
            self._frames.append(message)
        else:
            self._latest[kind] = message
        self._filled.set()

    async def take(self) -> str:
        """Waits for the next message and removes it."""
        while not self._latest and not self._frames:
            self._filled.clear()
            await self._filled.wait()
        if self._latest:
            return self._latest.pop(next(iter(self._latest)))
        return self._frames.popleft()


class Outboxes:
    """The outboxes of all browsers. A new browser first gets the last message of each kind."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._open: set[Outbox] = set()

    def join(self) -> Outbox:
        """Creates the outbox of a new browser."""
        outbox = Outbox()
        for kind, message in self._last.items():
            outbox.put(kind, message)
        self._open.add(outbox)
        return outbox

    def leave(self, outbox: Outbox) -> None:
        """Removes the outbox of a browser that has disconnected."""
        self._open.discard(outbox)

    def put(self, kind: str, message: str) -> None:
        """Adds a message for all browsers."""
        self._last[kind] = message
        for outbox in self._open:
            outbox.put(kind, message)
