"""Errors that carry a gRPC status, as TF Serving answers them."""

import grpc

_MAX_MESSAGE = 1024


class ServingError(Exception):
    """An answer other than OK.

    Args:
      code: gRPC status code.
      message: TF Serving's text; longer than 1,024 characters it ends in ...TRUNCATED.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message if len(message) <= _MAX_MESSAGE else message[:_MAX_MESSAGE] + "...TRUNCATED"


def invalid_argument(message: str) -> ServingError:
    """INVALID_ARGUMENT."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
