"""What gRPC and REST share: errors, deadlines, worker threads, the event loop and the shutdown of calls."""

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

_MAX_DETAILS_BYTES = 1024
_POLL_S, _QUIET_S, _MAX_QUIET_WAIT_S = 0.02, 0.3, 5.0

Result = TypeVar("Result")


class ServingError(Exception):
    """A call's error: its gRPC status code and its message, in TF Serving's words where it has the same error."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def details(self) -> str:
        """The message for gRPC; beyond 1,024 bytes it is cut and ends in ...TRUNCATED."""
        encoded = self.message.encode(errors="replace")
        if len(encoded) <= _MAX_DETAILS_BYTES:
            return encoded.decode()
        return encoded[:_MAX_DETAILS_BYTES].decode(errors="ignore") + "...TRUNCATED"

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


invalid_argument = functools.partial(ServingError, grpc.StatusCode.INVALID_ARGUMENT)
failed_precondition = functools.partial(ServingError, grpc.StatusCode.FAILED_PRECONDITION)
not_found = functools.partial(ServingError, grpc.StatusCode.NOT_FOUND)
resource_exhausted = functools.partial(ServingError, grpc.StatusCode.RESOURCE_EXHAUSTED)
unavailable = functools.partial(ServingError, grpc.StatusCode.UNAVAILABLE)
unimplemented = functools.partial(ServingError, grpc.StatusCode.UNIMPLEMENTED)
deadline_exceeded = functools.partial(ServingError, grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


def as_serving_error(error: Exception) -> ServingError:
    """Converts any exception: a TensorFlow error keeps its status code, other exceptions become INTERNAL."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, tf.errors.OpError):
        code = next(status for status in grpc.StatusCode if status.value[0] == error.error_code)
        return ServingError(code, error.message.removeprefix("Graph execution error:\n\n"))  # as Session.run words it
    return ServingError(grpc.StatusCode.INTERNAL, str(error) or type(error).__name__)


class Call:
    """Deadline and cancellation of one call, `timeout_s` seconds from now; None sets no deadline."""

    def __init__(self, timeout_s: float | None = None) -> None:
        self.model: str | None = None  # under which metrics count the call; None until it is known
        self.work: futures.Future[Any] = futures.Future()  # of the worker thread that handles the call
        self.work.set_result(None)
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._ended: futures.Future[None] = futures.Future()

    def end(self) -> None:
        """Marks the call as answered or abandoned: nobody waits for it any more. Only one thread may call this."""
        if not self._ended.done():
            self._ended.set_result(None)

    def remaining_s(self) -> float | None:
        """Seconds until the deadline, at least 0; None without a deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def check(self) -> None:
        """Raises: ServingError: DEADLINE_EXCEEDED or CANCELLED if the call has ended."""
        if self.remaining_s() == 0.0:
            raise deadline_exceeded()
        if self._ended.done():
            raise ServingError(grpc.StatusCode.CANCELLED, "the client has gone")

    def wait(self, future: "futures.Future[Result]") -> Result:
        """Waits for a future and returns its result, or raises as it does. If the call ends first, cancels it.

        Raises: ServingError: as `check`.
        """
        either: tuple[futures.Future[Any], ...] = (future, self._ended)
        try:
            while not future.done():
                self.check()
                futures.wait(either, self.remaining_s(), futures.FIRST_COMPLETED)
        except ServingError:
            future.cancel()
            raise
        return future.result()


NO_DEADLINE = Call()
"""For work that no client asked for, such as warm-up."""


class Workers:
    """A thread pool: `threads` calls run at a time and `waiting` may wait; `name` begins the threads' names."""

    def __init__(self, threads: int, waiting: int, name: str) -> None:
        self._pool = futures.ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._capacity = threads + waiting
        self.pending: set[futures.Future[Any]] = set()  # that run or wait; only the event loop adds to it

    @staticmethod
    def _work(call: Call, work: Callable[[], Result]) -> Result:
        call.check()
        return work()

    async def run(self, call: Call, work: Callable[[], Result]) -> Result:
        """Runs `work` in a thread and returns its result. Work of a call that has ended does not start.

        Raises: ServingError: RESOURCE_EXHAUSTED if the queue is full; as `Call.check`; or whatever `work` raises.
        """
        if len(self.pending) >= self._capacity:
            raise resource_exhausted("too many requests at a time")
        call.work = future = self._pool.submit(self._work, call, work)
        self.pending.add(future)
        future.add_done_callback(self.pending.discard)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), call.remaining_s())
        except TimeoutError:
            raise deadline_exceeded() from None
        finally:
            call.end()


class CallGate:
    """Counts active calls and, once closed, refuses new ones. Only the event loop may use it."""

    def __init__(self) -> None:
        self.closed, self.active, self._last_arrival = False, 0, 0.0

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Counts a call as active within the block. Raises ServingError, UNAVAILABLE, if the gate is closed."""
        self._last_arrival = time.monotonic()
        if self.closed:
            raise unavailable("the server is shutting down")
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    async def drain(self, timeout_s: float) -> bool:
        """Closes the gate, waits until no call is active, then until no call has arrived for 0.3 s (at most 5 s).

        A call that arrives while the server closes its ports would be cut off without an answer. The second wait gives
        clients time to learn from UNAVAILABLE that the server is going. Returns False if calls were still active after
        `timeout_s` seconds.
        """
        self.closed, self._last_arrival = True, time.monotonic()
        end = time.monotonic() + timeout_s
        while self.active:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(_POLL_S)
        end = time.monotonic() + _MAX_QUIET_WAIT_S
        while time.monotonic() < min(end, self._last_arrival + _QUIET_S):
            await asyncio.sleep(_POLL_S)
        return True


class EventLoopThread:
    """An asyncio event loop in its own thread. All network traffic of a server runs in it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="network")
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, Result]) -> "futures.Future[Result]":
        """Starts a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Runs a coroutine in the loop, waits for it and returns its result."""
        return self.submit(coroutine).result()

    def stop(self) -> None:
        """Stops the loop and joins its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
