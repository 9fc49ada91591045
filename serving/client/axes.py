"""Names the arrays of a measurement whose axes are in another order than expected."""

import itertools

Shape = tuple[int, ...]
_AXES = {"snapshots": "BLM", "ris_codes": "BLN", "channel": "BMN"}


def misordered(snapshots: Shape, ris_codes: Shape, channel: Shape, scenes: Shape = ()) -> str | None:
    """A message that names the arrays whose axes look swapped; None where the shapes fit as they are or in no order.

    Tries all orders of axes and picks one that fits and reorders the fewest arrays. `scenes`: [B] where it is known.
    """
    given = {"snapshots": snapshots, "ris_codes": ris_codes, "channel": channel}
    if _fit(given, scenes) or not {len(ris_codes), len(channel)} <= {2, 3}:
        return None
    orders = (itertools.permutations(range(len(shape))) for shape in given.values())
    fewest: dict[str, Shape] | None = None
    for order in itertools.product(*orders):
        moved = {name: axes for name, axes in zip(given, order, strict=True) if axes != tuple(range(len(axes)))}
        candidate = {**given, **{name: _reordered(given[name], axes) for name, axes in moved.items()}}
        if _fit(candidate, scenes) and (fewest is None or len(moved) < len(fewest)):
            fewest = moved
    return None if fewest is None else "; ".join(_message(name, given[name], axes) for name, axes in fewest.items())


def _fit(shapes: dict[str, Shape], scenes: Shape) -> bool:
    batch, num_snapshots, num_antennas = shapes["snapshots"]
    elements = shapes["channel"][-1]
    return (
        shapes["ris_codes"] in ((num_snapshots, elements), (batch, num_snapshots, elements))
        and shapes["channel"] in ((num_antennas, elements), (batch, num_antennas, elements))
        and scenes in ((), (batch,))
    )


def _reordered(shape: Shape, axes: Shape) -> Shape:
    return tuple(shape[axis] for axis in axes)


def _message(name: str, shape: Shape, axes: Shape) -> str:
    expected = _AXES[name][-len(shape) :]
    got = "".join(letter for _, letter in sorted(zip(axes, expected, strict=True)))
    return (
        f"{name}: expected shape [{', '.join(expected)}] = {list(_reordered(shape, axes))}, got {list(shape)}: "
        f"its axes look swapped, [{', '.join(got)}]"
    )
