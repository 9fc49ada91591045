"""The sample covariance in the surface's domain, from one field a snapshot.

    x_l = Phi_l^H (Phi_l Phi_l^H + sigma^2 / p I)^-1 y_l,    R_samp = (1/L) sum_l x_l x_l^H

x_l is the least-squares field of least power, regularised as in the linear minimum-mean-square estimate of a white
field of power p an element (Kay, Fundamentals of Statistical Signal Processing: Estimation Theory, 1993, ch. 12). Of
the N elements' field a snapshot shows M dimensions only: R_samp is biased towards the identity, of rank at most L.
"""

import numpy as np

from models.baselines.measurement import Measurement


def surface_fields(measurement: Measurement) -> np.ndarray:
    """x_l, [L, N] complex128; p = (1 - sigma^2) / N, what a `measure`d scene's signal power asks for."""
    operator, num_elements = measurement.operator, measurement.operator.shape[-1]
    field_power = max(1.0 - measurement.noise_power, 1e-6) / num_elements
    gram = operator @ operator.conj().mT
    loaded = gram + measurement.noise_power / field_power * np.eye(gram.shape[-1])
    return measurement.back_project(np.linalg.solve(loaded, measurement.snapshots[..., None]))[..., 0]


def surface_covariance(measurement: Measurement) -> np.ndarray:
    """R_samp, [N, N] complex128, Hermitian."""
    fields = surface_fields(measurement)
    return fields.T @ fields.conj() / len(fields)
