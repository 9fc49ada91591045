"""`python -m serving.client`: sends measurement files to a model server and writes the sources that it finds."""

import argparse
import contextlib
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from serving.client.calibration import read_calibration
from serving.client.connection import RetryConfig, ServerError, TlsConfig
from serving.client.localizer_client import DEFAULT_BATCH_SIZE, DEFAULT_SIGNATURE, REAL_SIGNATURE, LocalizerClient
from serving.client.measurement import MeasurementWarning
from serving.client.measurement_file import MeasurementFile
from serving.client.scene import CAUSES_OF_NO_SOURCES
from serving.client.sources import json_list

_MOST_NAMED = 10


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.client", description=__doc__)
    parser.add_argument("--target", required=True, help="HOST:PORT of the model server")
    parser.add_argument("--model_name", default="ris_localizer", help="name of the model on the server")
    parser.add_argument("--model_version", type=int, help="version of the model; left out, the latest")
    parser.add_argument(
        "--signature_name",
        choices=(DEFAULT_SIGNATURE, REAL_SIGNATURE),
        default=DEFAULT_SIGNATURE,
        help="send complex numbers as they are, or as real and imaginary part",
    )
    parser.add_argument("--input", type=Path, nargs="+", required=True, help="measurement files, .npz")
    outputs = parser.add_mutually_exclusive_group(required=True)
    outputs.add_argument("--output", type=Path, help="JSON file for one list of the scenes of all inputs, in order")
    outputs.add_argument("--output-dir", "--output_dir", type=Path, help="folder for one NAME.json per input NAME.npz")
    parser.add_argument(
        "--noise-power",
        "--noise_power",
        type=float,
        nargs="+",
        metavar="SIGMA2",
        help="noise power in the units of |snapshots|^2; replaces the files' snr_db or noise_power: "
        "one number, or one for each scene of a file",
    )
    parser.add_argument(
        "--calibration", type=Path, help="calibration file of python -m pipeline.calibrate to apply before sending"
    )
    parser.add_argument("--batch_size", type=int, default=DEFAULT_BATCH_SIZE, help="scenes per request")
    parser.add_argument(
        "--timeout_s", type=float, default=60.0, help="deadline of a request in seconds, retries and waits included"
    )
    parser.add_argument(
        "--retries",
        type=int,
        default=RetryConfig.retries,
        help="retries while the server is UNAVAILABLE, with growing waits; left out, until the deadline",
    )
    parser.add_argument("--tls", action="store_true", help="connect by TLS; implied by each option below")
    parser.add_argument(
        "--tls_root_certs", type=Path, help="PEM file of the trusted authorities, in place of gRPC's own list"
    )
    parser.add_argument("--tls_client_key", type=Path, help="PEM file of the client's private key, for mutual TLS")
    parser.add_argument("--tls_client_cert", type=Path, help="PEM file of the client's certificate, for mutual TLS")
    return parser


def _check(options: argparse.Namespace) -> None:
    """Raises ValueError for an option out of bounds."""
    if options.batch_size < 1:
        raise ValueError(f"--batch_size: expected 1 or more, got {options.batch_size}")
    if not options.timeout_s > 0:
        raise ValueError(f"--timeout_s: expected more than 0, got {options.timeout_s}")
    if options.model_version is not None and options.model_version < 0:
        raise ValueError(f"--model_version: expected 0 or more, got {options.model_version}")


def _outputs(options: argparse.Namespace) -> dict[Path, list[Path]]:
    """Output file -> the inputs whose scenes it gets. Raises ValueError if two inputs would write to one file."""
    if options.output is not None:
        return {options.output: options.input}
    inputs_of: dict[Path, list[Path]] = {}
    for path in options.input:
        output = options.output_dir / f"{path.stem}.json"
        if output in inputs_of:
            raise ValueError(f"--input: expected files of different names, got {path} and {inputs_of[output][0]}")
        inputs_of[output] = [path]
    return inputs_of


def _check_place(output: Path, inputs: list[Path]) -> None:
    """Raises ValueError or OSError if the output cannot be written."""
    if output.is_dir():
        raise ValueError(f"--output: expected a file, got the folder {output}; --output-dir writes files into one")
    if output.resolve() in (path.resolve() for path in inputs):
        raise ValueError(f"--output: expected another file than the inputs, got {output}")
    output.parent.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=output.parent).close()


def _client(options: argparse.Namespace) -> LocalizerClient:
    files = (options.tls_root_certs, options.tls_client_key, options.tls_client_cert)
    names = ("target", "model_name", "timeout_s", "model_version", "signature_name")
    tls = TlsConfig(*files) if options.tls or any(files) else None
    return LocalizerClient(
        **{name: getattr(options, name) for name in names}, tls=tls, retry=RetryConfig(options.retries)
    )


def _locate(options: argparse.Namespace) -> None:
    """Checks everything before it sends anything."""
    _check(options)
    outputs = _outputs(options)
    given = options.noise_power
    noise_power = None if given is None else np.array(given[0] if len(given) == 1 else given)
    files = {path: MeasurementFile(path, noise_power) for path in options.input}
    calibration = read_calibration(options.calibration) if options.calibration else None
    calibrated = calibration.of if calibration is not None else lambda scenes: scenes
    for file in files.values():
        file.verify(options.batch_size, calibrated)
    for output in outputs:
        _check_place(output, options.input)
    with _client(options) as client:
        if calibration is not None:
            client.check_calibration(calibration)
        for file in files.values():
            client.check(file)
        reports, none_found = [], False
        num_scenes = sum(len(files[path]) for inputs in outputs.values() for path in inputs)
        with tqdm(total=num_scenes, unit="scene", desc="locate") as progress:
            for output, inputs in outputs.items():
                counts: list[int] = []
                with json_list(output) as append:
                    batches = (batch for path in inputs for batch in files[path].batches(options.batch_size))
                    for scenes in map(calibrated, batches):
                        found = client.locate(scenes, batch_size=options.batch_size)
                        append([scene.to_dict() for scene in found])
                        counts += [scene.num_sources for scene in found]
                        progress.update(len(scenes))
                reports.append(f"{output}: {_summary(counts)}")
                none_found = none_found or 0 in counts
    print(*reports, sep="\n")
    if none_found:
        print("Likely causes where no source was found:", *CAUSES_OF_NO_SOURCES, sep="\n- ")


def _summary(counts: Sequence[int]) -> str:
    """How many sources were found, and in which scenes none was."""
    empty = [str(scene) for scene, count in enumerate(counts) if count == 0]
    total = sum(counts)
    said = f"{len(counts)} {_noun('scene', len(counts))}, {total} {_noun('source', total)} found"
    if not empty:
        return said
    more = f" and {len(empty) - _MOST_NAMED} more" if len(empty) > _MOST_NAMED else ""
    return f"{said}; none in {_noun('scene', len(empty))} {', '.join(empty[:_MOST_NAMED])}{more} (counted from 0)"


def _noun(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Prints each `MeasurementWarning` as one line."""
    show_other = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **how: Any) -> None:
        if issubclass(category, MeasurementWarning):
            print(f"serving.client: warning: {message}", file=sys.stderr)
        else:
            show_other(message, category, *where, **how)

    with warnings.catch_warnings():
        warnings.simplefilter("always", MeasurementWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def main(argv: list[str] | None = None) -> None:
    """Command line entry point."""
    options = _parser().parse_args(argv)
    try:
        with _warnings_as_lines():
            _locate(options)
    except (ValueError, OSError, ServerError) as error:
        sys.exit(f"serving.client: {error}")
    except KeyboardInterrupt:
        sys.exit("serving.client: interrupted")
