"""Warm-up: requests stored beside a model are replayed before it serves."""

from pathlib import Path

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.server.errors import ServingError, invalid_argument
from serving.server.inference import run_classify, run_multi_inference, run_predict, run_regress
from serving.server.servable import Servable

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000

_RUNNERS = {
    "predict_log": run_predict,
    "classify_log": run_classify,
    "regress_log": run_regress,
    "multi_inference_log": run_multi_inference,
}


def _replay(servable: Servable, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind is None:
        return
    if kind not in _RUNNERS:
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
    _RUNNERS[kind](servable.signatures, servable.version, servable.run, getattr(log, kind).request)  # type: ignore[operator]


def replay_warmup(servable: Servable, directory: Path) -> int:
    """Runs the requests in the version's TFRecord of PredictionLog, if there is one.

    Returns:
      How many there were.

    Raises:
      ServingError: a record is no PredictionLog or its request fails, or there are more than 1,000.
    """
    path = directory / WARMUP_FILE
    count = 0
    if not path.exists():
        return count
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            _replay(servable, log)
            count += 1
            if count > MAX_RECORDS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
    except DecodeError as error:
        raise invalid_argument(f"Failed to parse warmup record: {error} from {path}") from None
    except tf.errors.DataLossError as error:
        message = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise ServingError(grpc.StatusCode.DATA_LOSS, message) from None
    return count
