"""Errors that carry a gRPC status, as TF Serving answers them."""

import grpc
import tensorflow as tf

_MAX_DETAILS = 1024
_PYTHON_PREFIX = "Graph execution error:\n\n"  # put before the runtime's words by Session.run


class ServingError(Exception):
    """An answer other than OK.

    Args:
      code: gRPC status code.
      message: TF Serving's text.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def details(self) -> str:
        """The message as gRPC carries it: longer than 1,024 bytes it ends in ...TRUNCATED."""
        encoded = self.message.encode()
        if len(encoded) <= _MAX_DETAILS:
            return self.message
        return encoded[:_MAX_DETAILS].decode(errors="ignore") + "...TRUNCATED"

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


def invalid_argument(message: str) -> ServingError:
    """INVALID_ARGUMENT."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def failed_precondition(message: str) -> ServingError:
    """FAILED_PRECONDITION."""
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)


def not_found(message: str) -> ServingError:
    """NOT_FOUND."""
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def as_serving_error(error: Exception) -> ServingError:
    """What loading or running a model raised, with the status TensorFlow gave it."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, tf.errors.OpError):
        code = next(status for status in grpc.StatusCode if status.value[0] == error.error_code)
        return ServingError(code, error.message.removeprefix(_PYTHON_PREFIX))
    code = grpc.StatusCode.NOT_FOUND if isinstance(error, OSError) else grpc.StatusCode.UNKNOWN
    return ServingError(code, str(error) or type(error).__name__)
