"""What every call shares, over gRPC and REST: how it fails, how long it has, who does its work."""

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent import futures
from typing import Any, TypeVar

import grpc
import tensorflow as tf

_MAX_DETAILS = 1024
_LOOK_S, _QUIET_S, _QUIET_WITHIN_S = 0.02, 0.3, 5.0

Result = TypeVar("Result")


class ServingError(Exception):
    """An answer other than OK. Args: code: of gRPC. message: TF Serving's text."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def details(self) -> str:
        """The message as gRPC carries it: longer than 1,024 bytes it ends in ...TRUNCATED."""
        encoded = self.message.encode(errors="replace")
        if len(encoded) <= _MAX_DETAILS:
            return encoded.decode()
        return encoded[:_MAX_DETAILS].decode(errors="ignore") + "...TRUNCATED"

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


invalid_argument = functools.partial(ServingError, grpc.StatusCode.INVALID_ARGUMENT)
failed_precondition = functools.partial(ServingError, grpc.StatusCode.FAILED_PRECONDITION)
not_found = functools.partial(ServingError, grpc.StatusCode.NOT_FOUND)
exhausted = functools.partial(ServingError, grpc.StatusCode.RESOURCE_EXHAUSTED)
unavailable = functools.partial(ServingError, grpc.StatusCode.UNAVAILABLE)
unimplemented = functools.partial(ServingError, grpc.StatusCode.UNIMPLEMENTED)
deadline_exceeded = functools.partial(ServingError, grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


def as_serving_error(error: Exception) -> ServingError:
    """Whatever was raised, with the status TensorFlow gave it; INTERNAL if nobody gave one."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, tf.errors.OpError):
        code = next(status for status in grpc.StatusCode if status.value[0] == error.error_code)
        return ServingError(code, error.message.removeprefix("Graph execution error:\n\n"))  # Session.run's words
    return ServingError(grpc.StatusCode.INTERNAL, str(error) or type(error).__name__)


class Call:
    """How long a call has (None: for ever), and whether anybody still waits for its answer. `model`: as it is counted,
    once that is known; `work`: what a worker does for it, if anything."""

    def __init__(self, timeout_s: float | None = None) -> None:
        self.model: str | None = None
        self.work: futures.Future[Any] = futures.Future()
        self.work.set_result(None)
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._gone: futures.Future[None] = futures.Future()

    def end(self) -> None:
        """Nobody waits any more; called by one thread."""
        if not self._gone.done():
            self._gone.set_result(None)

    def remaining_s(self) -> float | None:
        """Time left, 0 or more; None is for ever."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def check(self) -> None:
        """Raises: ServingError: DEADLINE_EXCEEDED or CANCELLED; there is no use in going on."""
        if self.remaining_s() == 0.0:
            raise deadline_exceeded()
        if self._gone.done():
            raise ServingError(grpc.StatusCode.CANCELLED, "the client has gone")

    def wait(self, future: "futures.Future[Result]") -> Result:
        """The future's result; if the call ends before, the future is cancelled. Raises: as `check`, or the future."""
        ends: tuple[futures.Future[Any], ...] = (future, self._gone)
        try:
            while not future.done():
                self.check()
                futures.wait(ends, self.remaining_s(), futures.FIRST_COMPLETED)
        except ServingError:
            future.cancel()
            raise
        return future.result()


ENDLESS = Call()
"""For what no client asked for."""


class Workers:
    """Threads that do the work of calls. Args: threads: calls worked on at a time. waiting: calls that may wait."""

    def __init__(self, threads: int, waiting: int, name: str) -> None:
        self._pool = futures.ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._places = threads + waiting
        self.inside: set[futures.Future[Any]] = set()  # entered in the event loop alone

    @staticmethod
    def _work(call: Call, work: Callable[[], Result]) -> Result:
        call.check()
        return work()

    async def run(self, call: Call, work: Callable[[], Result]) -> Result:
        """What `work` returns, in a thread; it is not begun once the call has ended, and not waited for after that.
        Raises: ServingError: RESOURCE_EXHAUSTED, too many wait; DEADLINE_EXCEEDED; CANCELLED; or what `work` raises."""
        if len(self.inside) >= self._places:
            raise exhausted("too many requests at a time")
        call.work = future = self._pool.submit(self._work, call, work)
        self.inside.add(future)
        future.add_done_callback(self.inside.discard)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), call.remaining_s())
        except TimeoutError:
            raise deadline_exceeded() from None
        finally:
            call.end()


class Door:
    """Counts the calls that are being answered; closed, it lets nobody in. Used in the event loop only."""

    def __init__(self) -> None:
        self.closed, self.inside, self._knocked = False, 0, 0.0

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """A call is inside until the block ends. Raises: ServingError: UNAVAILABLE; the door is closed."""
        self._knocked = time.monotonic()
        if self.closed:
            raise unavailable("the server is shutting down")
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def drained(self, finish_s: float) -> bool:
        """Closes, waits until nobody is inside and then until nobody has knocked for a moment: what comes while a
        server stops would be cut off, so clients must have heard that it is closed. False: not in `finish_s`."""
        self.closed, self._knocked = True, time.monotonic()
        end = time.monotonic() + finish_s
        while self.inside:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(_LOOK_S)
        end = time.monotonic() + _QUIET_WITHIN_S
        while time.monotonic() < min(end, self._knocked + _QUIET_S):
            await asyncio.sleep(_LOOK_S)
        return True


class Loop:
    """An event loop in a thread of its own, where all that is sent and received passes."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="network")
        self._thread.start()

    def begin(self, coroutine: Coroutine[Any, Any, Result]) -> "futures.Future[Result]":
        """Runs a coroutine there."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """The result of a coroutine that runs there."""
        return self.begin(coroutine).result()

    def stop(self) -> None:
        """Ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
