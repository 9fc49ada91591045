"""Reads training curves from TensorBoard event files."""

from pathlib import Path

Curve = tuple[list[int], list[float]]


def read_scalars(folder: Path) -> dict[str, Curve]:
    """Reads all scalar curves of TensorBoard event files, which may be truncated: epochs and values by name.

    If an epoch was repeated after an interruption, the later value counts.
    """
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 1})
    events.Reload()
    found = {}
    for name in events.Tags()["tensors"]:
        values = {event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors(name)}
        steps = sorted(step for step, value in values.items() if value.ndim == 0 and value.dtype.kind == "f")
        if steps:
            found[name] = (steps, [float(values[step]) for step in steps])
    return found
