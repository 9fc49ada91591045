"""Warm-up: replays the Predict requests stored with a version before the version serves."""

from pathlib import Path

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.server.calls import ServingError, invalid_argument, unimplemented
from serving.server.servable import Servable, run_predict

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000


def replay_warmup(servable: Servable, directory: Path) -> int:
    """Runs the requests in `assets.extra/tf_serving_warmup_requests`, a TFRecord file of PredictionLog.

    Returns how many it ran; 0 without such a file. Raises ServingError for a record that is not a PredictionLog, for a
    request that fails and for more than 1,000 records.
    """
    path, count = directory / WARMUP_FILE, 0
    if not path.exists():
        return count
    try:
        for count, record in enumerate(tf.compat.v1.io.tf_record_iterator(str(path)), 1):
            if count > MAX_RECORDS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
            log = prediction_log_pb2.PredictionLog.FromString(record)
            kind = log.WhichOneof("log_type")
            if kind == "predict_log":
                run_predict(servable, log.predict_log.request)
            elif kind is not None:
                raise unimplemented(f"Unsupported log_type for warmup: {kind}")
    except DecodeError as error:
        raise invalid_argument(f"Failed to parse warmup record: {error} from {path}") from None
    except tf.errors.DataLossError as error:
        message = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise ServingError(grpc.StatusCode.DATA_LOSS, message) from None
    return count
