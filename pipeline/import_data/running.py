"""Runs `python -m pipeline.import_data`: reads the data by the map and writes the measurement file."""

import logging

import numpy as np

from models.physics.geometry import Scenario
from models.physics.installation import load_installation
from pipeline.import_data.adapter_config import DeepMIMOImport, SionnaImport
from pipeline.import_data.assembling import import_measurement
from pipeline.import_data.map_file import read_map
from pipeline.import_data.options import ImportDataOptions
from serving.client.measurement import Measurement, write_measurement


def run_import(options: ImportDataOptions, logger: logging.Logger) -> Measurement:
    """Reads and checks the data, writes the measurement file atomically, and logs a summary."""
    measurement = _imported(options)
    write_measurement(options.output, measurement)
    for line in summary_lines(measurement):
        logger.info(line)
    logger.info(f"wrote {options.output}")
    return measurement


def _imported(options: ImportDataOptions) -> Measurement:
    import_map, where = read_map(options.map), str(options.map)
    scenario = Scenario() if options.installation is None else load_installation(options.installation)
    if isinstance(import_map, SionnaImport):
        from pipeline.import_data.sionna import import_sionna

        return import_sionna(import_map, scenario, where)
    if isinstance(import_map, DeepMIMOImport):
        from pipeline.import_data.deepmimo import import_deepmimo

        return import_deepmimo(import_map, scenario, where)
    if options.installation is None:
        return import_measurement(import_map, where)
    array = scenario.array
    lattice = (array.num_vertical, array.num_horizontal) if array.positions_m is None else None
    measurement = import_measurement(import_map, where, lattice)
    check_sizes(measurement, scenario, where)
    return measurement


def check_sizes(measurement: Measurement, scenario: Scenario, where: str) -> None:
    """Checks the numbers of antennas and elements of a measurement against an installation."""
    for letter, expected, got in (
        ("M", scenario.num_antennas, measurement.num_antennas),
        ("N", scenario.array.num_elements, measurement.num_elements),
    ):
        if got != expected:
            raise ValueError(f"{where}: channel: expected {letter} = {expected} as the installation, got {got}")


def summary_lines(measurement: Measurement) -> list[str]:
    """Log lines with sizes and SNR, and a warning for codes whose modulus is not 1, as the model assumes."""
    modulus = np.abs(measurement.ris_codes)
    lines = [
        f"{len(measurement)} scenes of {measurement.snapshots.shape[1]} snapshots, "
        f"{measurement.num_antennas} antennas, {measurement.num_elements} elements",
        f"SNR {measurement.snr_db.min():.1f} to {measurement.snr_db.max():.1f} dB",
    ]
    if not np.allclose(modulus, 1.0, atol=1e-3):
        lines.append(f"warning: expected codes of modulus 1, got {modulus.min():.3g} to {modulus.max():.3g}")
    return lines
