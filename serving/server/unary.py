"""Unary gRPC methods: a request parsed, a call answered, whatever goes wrong turned into a status."""

import logging
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from serving.server.errors import ServingError, as_serving_error

_log = logging.getLogger(__name__)


def unary_handler(message: Any, call: Callable[[Any, grpc.ServicerContext], Any]) -> grpc.RpcMethodHandler:
    """A method for gRPC. It parses its request itself: gRPC loses a call's memory where its deserializer fails.

    Args:
      message: class of the request.
      call: from request and context to the response; may raise ServingError.
    """

    def behave(body: bytes, context: grpc.ServicerContext) -> Any:
        if not context.is_active():
            return context.abort(grpc.StatusCode.CANCELLED, "the client has gone")
        try:
            return call(message.FromString(body), context)
        except DecodeError:
            return context.abort(grpc.StatusCode.INTERNAL, "Failed to parse the request")
        except ServingError as error:
            return context.abort(error.code, error.details)
        except Exception as error:  # a request must not take the server down, whatever it triggers
            _log.exception("request failed")
            return context.abort(grpc.StatusCode.UNKNOWN, as_serving_error(error).details)

    return grpc.unary_unary_rpc_method_handler(behave, None, lambda response: response.SerializeToString())
