"""SigMF recordings, by the library of that name (the extra `import`)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.common.extras import require
from pipeline.import_data.readers import expect_names, unreadable


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The one array `samples`, [sample, channel], the axis of channels also where there is one.

    Fixed point is scaled to +-1, as the library does; the hash of the metadata is checked where there is one.
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
