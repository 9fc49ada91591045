"""The sample covariance in the domain of the surface, from one estimated field per snapshot.

    x_l = Phi_l^H (Phi_l Phi_l^H + sigma^2 / p I)^-1 y_l,    R_samp = (1/L) sum_l x_l x_l^H

x_l is the minimum-power least-squares field, regularised as in the linear minimum-mean-square-error estimate of a white
field with power p per element (Kay, Fundamentals of Statistical Signal Processing: Estimation Theory, 1993, ch. 12). A
snapshot observes only M of the N dimensions of the field. R_samp is therefore biased towards the identity and has at
most rank L.
"""

import numpy as np

from models.baselines.measurement import Measurement


def surface_fields(measurement: Measurement) -> np.ndarray:
    """x_l, [L, N] complex128. p = (1 - sigma^2) / N is the signal power per element of a scene scaled by `measure`."""
    operator, num_elements = measurement.operator, measurement.operator.shape[-1]
    field_power = max(1.0 - measurement.noise_power, 1e-6) / num_elements
    gram = operator @ operator.conj().mT
    loaded = gram + measurement.noise_power / field_power * np.eye(gram.shape[-1])
    return measurement.back_project(np.linalg.solve(loaded, measurement.snapshots[..., None]))[..., 0]


def surface_covariance(measurement: Measurement) -> np.ndarray:
    """R_samp, [N, N] complex128, Hermitian."""
    fields = surface_fields(measurement)
    return fields.T @ fields.conj() / len(fields)
