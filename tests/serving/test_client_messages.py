"""The client's messages and tensors against TensorFlow's and TF Serving's own, in one process with them."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import any_pb2, descriptor, wrappers_pb2
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from serving.client import messages
from serving.client.tensors import array_of, tensor_of

THEIRS = {
    "Any": any_pb2,
    "Int64Value": wrappers_pb2,
    "TensorShapeProto": tensor_shape_pb2,
    "TensorProto": tensor_pb2,
    "ModelSpec": model_pb2,
    **dict.fromkeys(("PredictRequest", "PredictResponse"), predict_pb2),
    **dict.fromkeys(("TensorInfo", "SignatureDef"), meta_graph_pb2),
    **dict.fromkeys(("SignatureDefMap", "GetModelMetadataRequest", "GetModelMetadataResponse"), get_model_metadata_pb2),
    **dict.fromkeys(("ModelVersionStatus", "GetModelStatusRequest", "GetModelStatusResponse"), get_model_status_pb2),
}
NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
           "bool", "complex64", "complex128")  # fmt: skip


def theirs(name: str) -> descriptor.Descriptor:
    if name == "Dim":
        return tensor_shape_pb2.TensorShapeProto.Dim.DESCRIPTOR
    return getattr(THEIRS[name], name).DESCRIPTOR


def kind_of(field: descriptor.FieldDescriptor) -> str:
    """As `messages.FIELDS` writes it."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        assert field.message_type.fields_by_name["key"].type == descriptor.FieldDescriptor.TYPE_STRING
        return f"map {kind_of(field.message_type.fields_by_name['value'])}"
    if field.message_type is not None:
        kind = field.message_type.name
    else:
        types = {getattr(field, name): name for name in dir(field) if name.startswith("TYPE_")}
        kind = types[field.type].removeprefix("TYPE_").lower().replace("enum", "int32")
    return f"repeated {kind}" if field.is_repeated else kind


@pytest.mark.parametrize("name", messages.FIELDS)
def test_numbers_and_types_of_fields_are_theirs(name: str) -> None:
    fields = theirs(name).fields_by_name
    for field, (number, kind) in messages.FIELDS[name].items():
        assert (fields[field].number, kind_of(fields[field])) == (number, kind), field


def test_a_version_that_serves_is_available() -> None:
    assert get_model_status_pb2.ModelVersionStatus.AVAILABLE == messages.AVAILABLE


def values_of(name: str) -> np.ndarray:
    values = np.random.default_rng(3).uniform(0, 100, (2, 3, 2))
    values = values + 1j * values[::-1] if name.startswith("complex") else values
    return (values > 50) if name == "bool" else values.astype(name)


@pytest.mark.parametrize("name", NUMBERS)
def test_tensors_are_read_by_tensorflow_and_back(name: str) -> None:
    values = values_of(name)
    for sent in (values, values[:0], values[0, 0, 0], values.astype(values.dtype.newbyteorder(">")), values.T):
        message = tensor_pb2.TensorProto.FromString(tensor_of(np.asarray(sent), "x").SerializeToString())
        np.testing.assert_array_equal(tf.make_ndarray(message), sent)
        assert tf.as_dtype(message.dtype).name == name
        back = array_of(
            messages.TensorProto.FromString(tf.make_tensor_proto(sent.astype(name)).SerializeToString()), "x"
        )
        np.testing.assert_array_equal(back, sent)
        assert (back.dtype, back.shape) == (values.dtype, np.shape(sent))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("given", [0, 1, 3, 6])
def test_values_listed_in_fields_are_read_as_tensorflow_reads_them(name: str, given: int) -> None:
    """TF Serving answers so; the last value stands for those left out."""
    listed = tf.make_tensor_proto(values_of(name).ravel()[:given], dtype=tf.as_dtype(name))
    values = tf.make_ndarray(listed)
    message = tensor_pb2.TensorProto(dtype=listed.dtype)
    for size in (3, 2):
        message.tensor_shape.dim.add(size=size)
    if name.startswith("complex"):
        field = message.scomplex_val if name == "complex64" else message.dcomplex_val
        field.extend(values.view(values.real.dtype).tolist())
    elif name == "float16":
        message.half_val.extend(values.view(np.uint16).tolist())
    else:
        names = {"float32": "float", "float64": "double", "int64": "int64", "bool": "bool", "uint32": "uint32"}
        names["uint64"] = "uint64"
        getattr(message, f"{names.get(name, 'int')}_val").extend(values.tolist())
    found = array_of(messages.TensorProto.FromString(message.SerializeToString()), "x")
    np.testing.assert_array_equal(found, tf.make_ndarray(message))
    assert found.dtype == np.dtype(name)


def test_what_is_no_tensor_of_numbers_is_named() -> None:
    with pytest.raises(ValueError, match=r"^x: expected an array of numbers, got dtype <U1$"):
        tensor_of(np.array(["a"]), "x")
    text = messages.TensorProto.FromString(tf.make_tensor_proto(["a"]).SerializeToString())
    with pytest.raises(ValueError, match=r"^y: expected a tensor of numbers, got DataType 7$"):
        array_of(text, "y")
    short = tensor_of(np.ones((2, 2), np.float32), "x")
    short.tensor_content = short.tensor_content[:-1]
    with pytest.raises(ValueError, match=r"^y: expected 16 bytes for float32 \[2, 2\], got 15$"):
        array_of(short, "y")
    many = messages.TensorProto(dtype=1, float_val=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"^y: expected at most 1 values for float32 \[\], got 2$"):
        array_of(many, "y")
