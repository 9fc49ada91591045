"""One measurement in every format: the import returns what was written."""

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from tests.pipeline.import_data.written import (
    BITS,
    ORIGINAL,
    PLAIN,
    B,
    L,
    M,
    N,
    assert_original,
    imported,
    named,
    write_matlab_73,
)


def test_npz(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", **named())
    assert_original(imported(tmp_path, {"files": ["a.npz"], **PLAIN}))


def test_hdf5_in_groups_and_another_order(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in (named() | {"y": ORIGINAL["snapshots"].transpose(2, 0, 1)}).items():
            file[f"site/{name}"] = values
    tables = {field: {**table, "name": f"site/{table['name']}"} for field, table in PLAIN.items()}
    tables["snapshots"]["axes"] = ["antenna", "scene", "snapshot"]
    assert_original(imported(tmp_path, {"files": ["a.h5"], **tables}))


def test_hdf5_compound_of_other_names(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in named().items():
            if np.iscomplexobj(values):
                compound = np.empty(values.shape, [("im", "<f4"), ("re", "<f4")])
                compound["re"], compound["im"] = values.real, values.imag
                values = compound
            file[name] = values
    assert_original(imported(tmp_path, {"files": ["a.h5"], **PLAIN}))


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_matlab(tmp_path: Path, version: str) -> None:
    """Both versions give the axes in MATLAB's order, however the file stores them."""
    arrays = {**named(), "y": ORIGINAL["snapshots"].transpose(1, 2, 0)}
    if version == "5":
        scipy.io.savemat(tmp_path / "a.mat", arrays, oned_as="row")
    else:
        write_matlab_73(tmp_path / "a.mat", arrays)
    tables = {**PLAIN, "snapshots": {"name": "y", "axes": ["snapshot", "antenna", "scene"]}}
    assert_original(imported(tmp_path, {"files": ["a.mat"], **tables}))


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_matlab_drops_a_last_axis_of_one(tmp_path: Path, version: str) -> None:
    """With one scene, MATLAB stores [L, M, 1] as [L, M], and the SNR as [1, 1]."""
    arrays = {name: values[:1] for name, values in named().items()}
    arrays |= {"y": ORIGINAL["snapshots"][0], "H": ORIGINAL["channel"][0]}
    if version == "5":
        scipy.io.savemat(tmp_path / "a.mat", arrays)
    else:
        write_matlab_73(tmp_path / "a.mat", arrays)
    tables = {**PLAIN, "snapshots": {"name": "y", "axes": ["snapshot", "antenna", "scene"]}}
    assert_original(imported(tmp_path, {"files": ["a.mat"], **tables}), slice(1))


def test_matlab_reshapes_as_matlab_does(tmp_path: Path) -> None:
    """MATLAB's y(:) is reshaped to [B L M]; the map declares one SNR per scene."""
    scipy.io.savemat(tmp_path / "a.mat", {**named(), "y": ORIGINAL["snapshots"].ravel(order="F")})
    tables = {
        **PLAIN,
        "snapshots": {"name": "y", "shape": [-1, L, M]},
        "snr": {"name": "snr", "unit": "db", "axes": ["scene"]},
    }
    assert_original(imported(tmp_path, {"files": ["a.mat"], **tables}))


def test_matlab_struct(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"data": {**named(), "inner": {"y": ORIGINAL["snapshots"]}}})
    tables = {field: {**table, "name": f"data/{table['name']}"} for field, table in PLAIN.items()}
    tables["snapshots"]["name"] = "data/inner/y"
    assert_original(imported(tmp_path, {"files": ["a.mat"], **tables}))


def write_sigmf(path: Path, samples: np.ndarray, datatype: str, channels: int, **more: Any) -> Path:
    """Writes a recording that follows the specification of the format."""
    meta = {
        "global": {"core:datatype": datatype, "core:version": "1.0.0", "core:num_channels": channels, **more},
        "captures": [{"core:sample_start": 0}],
        "annotations": [],
    }
    path.with_suffix(".sigmf-meta").write_text(json.dumps(meta))
    samples.tofile(path.with_suffix(".sigmf-data"))
    return path.with_suffix(".sigmf-meta")


@pytest.mark.parametrize("datatype", ["cf32_le", "cf32_be", "ci16_le", "ci8", "cu8"])
def test_sigmf(tmp_path: Path, datatype: str) -> None:
    """All scenes are in one recording with one channel per antenna; the other arrays come from another file."""
    samples = ORIGINAL["snapshots"].reshape(B * L, M) / 8
    if datatype.startswith("cf32"):
        stored = samples.astype("<c8" if datatype.endswith("le") else ">c8")
    else:
        full_scale = 2**15 if "16" in datatype else 2**7
        parts = np.rint(np.stack([samples.real, samples.imag], -1) * full_scale)
        samples = (parts[..., 0] + 1j * parts[..., 1]) / full_scale
        offset = full_scale if datatype == "cu8" else 0
        stored = (parts + offset).astype({"ci16_le": "<i2", "ci8": "i1", "cu8": "u1"}[datatype])
    write_sigmf(tmp_path / "y", stored, datatype, M)
    np.savez(tmp_path / "rest.npz", **named())
    tables = {
        "files": ["rest.npz"],
        **PLAIN,
        "snapshots": {"name": "samples", "files": ["y.sigmf-meta"], "shape": [-1, L, M], "scale": 8.0},
    }
    assert_original(imported(tmp_path, tables), snapshots=8 * samples.reshape(B, L, M))


def test_sigmf_with_a_recording_a_scene(tmp_path: Path) -> None:
    """With one antenna, the array still has the axis of channels."""
    names = [f"y{scene}.sigmf-meta" for scene in range(B)]
    for name, values in zip(names, ORIGINAL["snapshots"], strict=True):
        write_sigmf(tmp_path / name, values[:, :1], "cf32_le", 1)
    np.savez(tmp_path / "rest.npz", **{**named(), "H": ORIGINAL["channel"][:, :1]})
    tables = {"files": ["rest.npz"], **PLAIN, "snapshots": {"name": "samples", "files": names}}
    one = {"snapshots": ORIGINAL["snapshots"][:, :, :1], "channel": ORIGINAL["channel"][:, :1]}
    assert_original(imported(tmp_path, tables), **one)


def test_sigmf_damaged(tmp_path: Path) -> None:
    write_sigmf(tmp_path / "y", ORIGINAL["snapshots"], "cf32_le", M, **{"core:sha512": "0" * 128})
    np.savez(tmp_path / "rest.npz", **named())
    tables = {"files": ["rest.npz"], **PLAIN, "snapshots": {"name": "samples", "files": ["y.sigmf-meta"]}}
    with pytest.raises(ValueError, match=r"snapshots: .*y.sigmf-meta: expected a SigMF recording, got: .*hash"):
        imported(tmp_path, tables)


def test_sigmf_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sigmf(tmp_path / "y", ORIGINAL["snapshots"], "cf32_le", M)
    monkeypatch.setitem(sys.modules, "sigmf", None)
    tables = {**PLAIN, "snapshots": {"name": "samples", "files": ["y.sigmf-data"]}}
    with pytest.raises(ValueError, match=r"expected the package sigmf, found none; pip install 'ris-mvdr\[import\]'$"):
        imported(tmp_path, tables)


def test_tfrecord(tmp_path: Path) -> None:
    """Serialised tensors and lists of floats and integers, with one record per scene."""
    import tensorflow as tf

    def floats(values: np.ndarray) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(values)))

    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        for scene in range(B):
            channel = ORIGINAL["channel"][scene]
            serialised = tf.io.serialize_tensor(np.stack([channel.real, channel.imag], -1)).numpy()
            snapshots = ORIGINAL["snapshots"][scene]
            features = {
                "y": floats(np.stack([snapshots.real, snapshots.imag], -1)),
                "H": tf.train.Feature(bytes_list=tf.train.BytesList(value=[serialised])),
                "codes": tf.train.Feature(int64_list=tf.train.Int64List(value=ORIGINAL["index"][scene].ravel())),
                "snr": floats(ORIGINAL["snr_db"][scene]),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    tables = {
        "files": ["a.tfrecord"],
        "snapshots": {"name": "y", "parts": "real_imag", "shape": [-1, L, M, 2]},
        "ris_codes": {"index": "codes", "bits": BITS, "shape": [-1, L, N]},
        "channel": {"name": "H", "parts": "real_imag"},
        "snr": {"name": "snr", "unit": "db", "shape": [-1]},
    }
    assert_original(imported(tmp_path, tables))
    whole = (tmp_path / "a.tfrecord").read_bytes()
    (tmp_path / "a.tfrecord").write_bytes(whole[:-7])
    with pytest.raises(ValueError, match=r"a.tfrecord: expected a TFRecord file, got: "):
        imported(tmp_path, tables)
    (tmp_path / "a.tfrecord").write_bytes(whole)
    with pytest.raises(ValueError, match=r"a.tfrecord: z: expected an array of that name, got H, codes, snr, y$"):
        imported(tmp_path, {**tables, "snapshots": {"name": "z"}})


@pytest.mark.parametrize("suffix", ["npz", "h5", "mat", "sigmf-meta", "tfrecord"])
def test_what_is_no_such_file_is_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    tables = {"files": [path.name], **PLAIN, "snapshots": {"name": "samples"}}
    with pytest.raises(ValueError, match=rf"map.toml: snapshots: .*a.{suffix}: expected a file, found none$"):
        imported(tmp_path, tables)
    path.write_bytes(b"neither this nor that" * 40)
    with pytest.raises(ValueError, match=rf"map.toml: snapshots: .*a.{suffix}: expected a.*, got: [^\n]+$"):
        imported(tmp_path, tables)
