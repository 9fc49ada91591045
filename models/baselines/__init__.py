"""Classical estimators and the Cramer-Rao bound, in NumPy complex128, one scene at a time.

The code follows the formulas. It shares the steering vectors and the grid with `models.localizer`, the batched
estimator.
"""
