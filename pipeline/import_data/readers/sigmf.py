"""Reads SigMF recordings with the package sigmf (the extra `import`)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.common.extras import require
from pipeline.import_data.readers import expect_names, unreadable


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads the array `samples`, [sample, channel]; a recording with one channel also has the axis of channels.

    Fixed-point samples are scaled to +-1. The samples are checked against the hash in the metadata, if it has one.
    """
    require("sigmf", "import", str(path))
    from sigmf import sigmffile

    expect_names(path, names, ["samples"])
    try:
        recording = sigmffile.fromfile(path)
        samples = recording.read_samples()
    except (sigmffile.SigMFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise unreadable(path, "a SigMF recording", error) from None
    return {"samples": np.reshape(samples, (len(samples), -1))}
