"""Conversion of parts, axes, units and several files; errors in a map or its files are one line each."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.import_data import __main__ as import_data
from pipeline.import_data.map_file import read_map
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
    write_map,
)

Y, CODES, H = ORIGINAL["snapshots"], ORIGINAL["ris_codes"], ORIGINAL["channel"]


def save(folder: Path, **instead: np.ndarray) -> None:
    np.savez(folder / "a.npz", **{**named(), **instead})


def with_table(field: str, **table: Any) -> dict[str, Any]:
    """The plain map, with another table for a field."""
    return {"files": ["a.npz"], **PLAIN, field: table}


PARTS = {
    "two datasets": ({"re": Y.real, "im": Y.imag}, {"real": "re", "imag": "im"}),
    "a last axis": ({"p": np.stack([Y.real, Y.imag], -1)}, {"name": "p", "parts": "real_imag"}),
    "a first axis": (
        {"p": np.stack([Y.real, Y.imag])},
        {"name": "p", "parts": "real_imag", "axes": ["part", "scene", "snapshot", "antenna"]},
    ),
    "amplitude and phase": ({"am": np.abs(Y), "ph": np.angle(Y)}, {"amplitude": "am", "phase": "ph"}),
    "dB and degrees": (
        {"am": 20 * np.log10(np.abs(Y)), "ph": np.angle(Y, deg=True)},
        {"amplitude": "am", "phase": "ph", "amplitude_unit": "db", "phase_unit": "deg"},
    ),
    "amplitude and phase on one axis": (
        {"p": np.stack([np.abs(Y), np.angle(Y)], -1)},
        {"name": "p", "parts": "amplitude_phase"},
    ),
    "integers": (
        {"re": np.rint(Y.real * 2**20).astype(np.int32), "im": np.rint(Y.imag * 2**20).astype(np.int32)},
        {"real": "re", "imag": "im", "scale": 2.0**-20},
    ),
    "the other sign": ({"p": Y.conj()}, {"name": "p", "conj": True}),
    "a scale": ({"p": 1e3 * Y}, {"name": "p", "scale": 1e-3}),
    "flat": ({"p": Y.ravel()}, {"name": "p", "shape": [B, L, -1]}),
    "turned": ({"p": Y.transpose(2, 1, 0)}, {"name": "p", "axes": ["antenna", "snapshot", "scene"]}),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_of_snapshots(tmp_path: Path, case: str) -> None:
    arrays, table = PARTS[case]
    save(tmp_path, **arrays)
    assert_original(imported(tmp_path, with_table("snapshots", **table)))


@pytest.mark.parametrize(
    ("values", "table"),
    [
        (ORIGINAL["index"].astype(np.uint8), {"index": "c", "bits": BITS}),
        (ORIGINAL["index"].astype(float), {"index": "c", "bits": BITS}),
        (ORIGINAL["index"] * 360 / 2**BITS, {"phase": "c", "phase_unit": "deg"}),
        ((ORIGINAL["index"] * 45 - 180).astype(np.int16), {"phase": "c", "phase_unit": "deg", "scale": -1}),
        (
            ORIGINAL["index"].reshape(B, L, 2, 3).transpose(3, 0, 2, 1),
            {"index": "c", "bits": BITS, "axes": ["column", "scene", "row", "snapshot"]},
        ),
    ],
)
def test_codes(tmp_path: Path, values: np.ndarray, table: dict[str, Any]) -> None:
    save(tmp_path, c=values)
    assert_original(imported(tmp_path, with_table("ris_codes", **table)))


def test_codes_and_a_channel_that_all_scenes_share(tmp_path: Path) -> None:
    """Each comes from a file of its own; the snapshots from one file per scene."""
    for scene in range(B):
        np.savez(tmp_path / f"{scene}.npz", y=Y[scene])
    np.savez(tmp_path / "codes.npz", codes=CODES[1])
    np.savez(tmp_path / "site.npz", H=H[2].T)
    tables = {
        "files": [f"{scene}.npz" for scene in range(B)],
        "snapshots": {"name": "y"},
        "ris_codes": {"name": "codes", "files": ["codes.npz"]},
        "channel": {"name": "H", "files": ["site.npz"], "axes": ["element", "antenna"]},
        "snr": {"value": 10, "unit": "db"},
    }
    shared = {"ris_codes": np.stack([CODES[1]] * B), "channel": np.stack([H[2]] * B), "snr_db": np.full(B, 10.0)}
    assert_original(imported(tmp_path, tables), **shared)


def test_files_with_scenes_and_one_channel_each(tmp_path: Path) -> None:
    parts = (slice(0, 2), slice(2, 3))
    for number, part in enumerate(parts):
        np.savez(tmp_path / f"{number}.npz", y=Y[part], codes=CODES[part], H=H[number], snr=ORIGINAL["snr_db"][number])
    found = imported(tmp_path, {"files": ["0.npz", "1.npz"], **PLAIN})
    own = [0, 0, 1]
    assert_original(found, channel=H[own], snr_db=ORIGINAL["snr_db"][own])


RECEIVED = np.mean(np.abs(Y) ** 2, axis=(1, 2))
NOISE = RECEIVED / (1 + 10 ** (ORIGINAL["snr_db"].astype(float) / 10))


@pytest.mark.parametrize(
    ("field", "unit", "values"),
    [
        ("snr", "linear", 10 ** (ORIGINAL["snr_db"].astype(float) / 10)),
        ("noise_power", "linear", NOISE),
        ("noise_power", "w", NOISE),
        ("noise_power", "dbw", 10 * np.log10(NOISE)),
        ("noise_power", "dbm", 10 * np.log10(NOISE) + 30),
    ],
)
def test_levels(tmp_path: Path, field: str, unit: str, values: np.ndarray) -> None:
    save(tmp_path, level=values)
    tables = with_table(field, name="level", unit=unit)
    if field != "snr":
        del tables["snr"]
    assert_original(imported(tmp_path, tables))


WITHOUT_SNR = {name: table for name, table in PLAIN.items() if name != "snr"}


@pytest.mark.parametrize(
    ("tables", "line"),
    [
        ({"snapshot": {}}, "snapshot: unknown, expected one of snapshots, ris_codes, "),
        ({"snapshots": {"nam": "y"}}, "snapshots.nam: unknown, expected one of name, real, "),
        ({"snapshots": "y"}, r"snapshots: expected a table \[snapshots\], got 'y'"),
        ({"channel": None}, r"channel: expected a table \[channel\], got none"),
        ({"snr": None}, r"snr: expected one of the tables \[snr\] and \[noise_power\], got none"),
        ({"noise_power": {"value": 1, "unit": "w"}}, r"snr: expected one of the tables .*, got both"),
        ({"snr": {"name": "snr"}}, "snr.unit: expected one of db, linear, got none"),
        ({"snr": {"name": "snr", "unit": "dbm"}}, "snr.unit: expected one of db, linear, got dbm"),
        ({"snr": {"name": "snr", "value": 3, "unit": "db"}}, "snr.name: expected one of name and value, got both"),
        ({"snr": {"value": True, "unit": "db"}}, "snr.value: expected a number, got True"),
        ({"snr": {"name": "snr", "unit": "linear"}}, "snr: expected positive ratios, got -3"),
        ({"snr": {"value": 3, "unit": "db", "axes": []}}, "snr.value: expected no axes, shape, files or format"),
        ({"snapshots": {"name": "y", "phase_unit": "deg"}}, "snapshots.phase_unit: expected with phase and only there"),
        (
            {"channel": {"phase": "H", "amplitude_unit": "db"}},
            "channel.amplitude_unit: expected with amplitude",
        ),
        ({"snapshots": {"real": "y"}}, "snapshots.name: expected one of name, real and imag, .*, got real"),
        ({"snapshots": {"index": "y"}}, "snapshots.bits: expected with index and only there, got None"),
        (
            {"snapshots": {"name": "y", "axes": ["scene", "time"]}},
            r"snapshots.axes\[\d\]: expected one of scene, .*got 'time'",
        ),
        ({"snapshots": {"name": "y", "axes": ["scene", "scene"]}}, "snapshots.axes: expected each axis once, got "),
        ({"snapshots": {"name": "y", "axes": ["part", "scene"]}}, 'snapshots.axes: expected "part" with parts'),
        ({"snapshots": {"name": "y", "axes": ["scene", "antenna"]}}, "snapshots: axes: expected snapshot, antenna and"),
        (
            {"snapshots": {"name": "y", "shape": [-1, -1]}},
            r"snapshots.shape: .* at most one of them -1, got \[-1, -1\]",
        ),
        ({"snapshots": {"name": "y", "shape": [5, -1]}}, r"snapshots: .*a.npz: y: expected numbers that fill shape"),
        ({"snapshots": {"name": "y", "scale": 0}}, "snapshots.scale: expected a number other than 0, got 0"),
        ({"files": ["a.dat"]}, "snapshots: .*a.dat: expected a format, or a name that ends with one of .h5, "),
        ({"files": []}, r"snapshots: expected files, of the map or of \[snapshots\], got none"),
        ({"format": "csv"}, "format: expected one of hdf5, mat, npz, sigmf, tfrecord, got 'csv'"),
        ({"snapshots": {"name": "z"}}, "snapshots: .*a.npz: z: expected an array of that name, got H, codes, "),
        (
            {"snapshots": {"name": "y", "axes": ["snapshot", "antenna"]}},
            r"snapshots: .*a.npz: y: expected axes snapshot, antenna, got shape \[3, 4, 2\]",
        ),
        (
            {"snapshots": {"name": "y", "parts": "real_imag"}},
            "snapshots: .*y: expected real numbers, got",
        ),
        (
            {"snapshots": {"name": "re", "parts": "real_imag", "axes": ["scene", "part", "antenna"]}},
            "snapshots: axes: expected snapshot, antenna and",
        ),
        (
            {"snapshots": {"name": "re", "parts": "real_imag", "axes": ["snapshot", "part", "antenna"]}},
            "snapshots: .*re: expected an axis part of size 2, got 4",
        ),
        ({"snapshots": {"name": "words"}}, "snapshots: .*words: expected numbers, got dtype <U5"),
        ({"snapshots": {"name": "empty"}}, r"snapshots: .*empty: expected numbers, got shape \[0\]"),
        ({"snapshots": {"real": "y", "imag": "y"}}, "snapshots: .*y: expected real numbers, got"),
        (
            {"snapshots": {"real": "re", "imag": "short"}},
            r"snapshots: .*a.npz: expected parts of one shape, got real \[3, 4, 2\], imag \[2, 4, 2\]",
        ),
        ({"snapshots": {"name": "nan"}}, "snapshots: expected finite numbers, got NaN or infinity"),
        ({"ris_codes": {"index": "re", "bits": 3}}, "ris_codes: .*re: expected indices 0 to 7, got "),
        ({"ris_codes": {"index": "index", "bits": 9}}, "ris_codes.bits: expected 1 to 8, got 9"),
        ({"ris_codes": {"index": "index", "bits": 2}}, "ris_codes: .*index: expected indices 0 to 3, got 0 to 7"),
        (
            {"ris_codes": {"index": "index", "bits": 3, "axes": ["element", "row", "column", "snapshot"]}},
            "ris_codes: axes: expected snapshot, element and, if there is one, scene, got ",
        ),
        ({"ris_codes": {"name": "H"}}, r"ris_codes: expected shape \[B, L, N\] = \[3, 4, 6\], got \[3, 2, 6\]"),
        ({"channel": {"name": "y"}}, r"channel: expected shape \[B, M, N\] = \[3, 2, 2\], got \[3, 4, 2\]"),
        ({"snr": {"name": "y", "unit": "db"}}, r"snr: .*y: expected axes scene, got shape"),
        ({"snr": {"name": "short", "unit": "db", "shape": [-1]}}, r"snr_db: expected shape \[B\] = \[3\], got \[16\]"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, tables: dict[str, Any], line: str) -> None:
    nan = Y.copy()
    nan[1, 2, 1] = np.nan
    more = {"words": np.array(["hello"]), "empty": np.zeros(0), "re": Y.real, "short": Y.real[:2], "nan": nan}
    save(tmp_path, **more, index=ORIGINAL["index"])
    whole = {"files": ["a.npz"], **PLAIN, **tables}
    with pytest.raises(ValueError, match=rf"^.*map.toml: {line}") as error:
        imported(tmp_path, {name: table for name, table in whole.items() if table is not None})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_files_that_disagree(tmp_path: Path) -> None:
    save(tmp_path)
    np.savez(tmp_path / "b.npz", **{**named(), "y": Y[:, :3]})
    with pytest.raises(
        ValueError, match=r"snapshots: expected files of one size \(snapshot, antenna\), got \[\[3, 2\]"
    ):
        imported(tmp_path, {"files": ["a.npz", "b.npz"], **PLAIN})
    np.savez(tmp_path / "site.npz", H=H[0])
    tables = {"files": ["a.npz"], **PLAIN, "channel": {"name": "H", "files": ["site.npz"] * 2}}
    with pytest.raises(
        ValueError, match=r"channel: expected one file, or one for each of the snapshots' 1, or an axis"
    ):
        imported(tmp_path, tables)


@pytest.mark.stage("import_data")
@pytest.mark.promise("import")
def test_the_command(tmp_path: Path, refused, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """It summarises the file; an error is one line and leaves no files."""
    save(tmp_path)
    told, output = write_map(tmp_path, {"files": ["a.npz"], **PLAIN}), tmp_path / "out" / "m.npz"
    site = tmp_path / "site.toml"
    site.write_text(f"[array]\nrows = 2\ncolumns = {N // 2}\n[base_station]\nantennas = {M}\n")
    monkeypatch.setattr("sys.argv", ["import_data", "--map", str(told), "--output", str(output)])
    monkeypatch.chdir(tmp_path)
    import_data.main()
    said = capsys.readouterr().out
    assert "3 scenes of 4 snapshots, 2 antennas, 6 elements\nSNR -3.0 to 20.0 dB\nwrote " in said
    assert [path.name for path in output.parent.iterdir()] == ["m.npz"]
    assert_original(imported(tmp_path, {"files": ["a.npz"], **PLAIN}, site))
    again = ("import_data", "--map", told, "--output", output)
    site.write_text(site.read_text().replace("rows = 2", "rows = 4"))
    assert refused(*again, "--installation", site).endswith("channel: expected N = 12 as the installation, got 6")
    none = tmp_path / "none.toml"
    said = refused("import_data", "--map", none, "--output", output)
    assert said == f"{none}: expected a TOML file, got: No such file or directory"
    assert refused("import_data", "--map", told, "--output", tmp_path / "m.mat").startswith(
        "--output: expected a name that ends with .npz, got "
    )
    assert sorted(path.name for path in output.parent.iterdir()) == ["m.npz", "measurement.npz"]


def test_rows_and_columns_are_those_of_the_installation(tmp_path: Path, refused) -> None:
    """An array of 2 x 3 elements given as 3 x 2 has the right number of elements, but in the wrong order."""
    axes = ["snapshot", "row", "column"]
    codes = ORIGINAL["index"].reshape(-1, L, 2, N // 2)[0]
    save(tmp_path, index=codes, swapped=codes.transpose(0, 2, 1))
    site = tmp_path / "site.toml"
    site.write_text(f"[array]\nrows = 2\ncolumns = {N // 2}\n[base_station]\nantennas = {M}\n")
    for name, fits in (("index", True), ("swapped", False)):
        tables = {"files": ["a.npz"], **PLAIN, "ris_codes": {"index": name, "bits": BITS, "axes": axes}}
        if fits:
            imported(tmp_path, tables, site)
            continue
        line = refused(
            "import_data",
            *("--map", write_map(tmp_path, tables), "--output", tmp_path / "m.npz", "--installation", site),
        )
        assert "ris_codes: axes: expected 2 rows and 3 columns as the installation, got 3 rows and 2 columns" in line
        assert line.endswith("look swapped")
    assert not (tmp_path / "m.npz").exists()


@pytest.mark.parametrize("page", ["import", "import_sionna", "import_deepmimo"])
def test_maps_of_the_docs_are_maps(tmp_path: Path, page: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / f"{page}.md").read_text()
    maps = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert maps
    for content in maps:
        (tmp_path / "map.toml").write_text(content)
        read_map(tmp_path / "map.toml")


def test_codes_off_the_unit_circle_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, codes=0.5 * CODES)
    with caplog.at_level("INFO"):
        imported(tmp_path, {"files": ["a.npz"], **PLAIN})
    assert "warning: expected codes of modulus 1, got 0.5 to 0.5" in caplog.messages
