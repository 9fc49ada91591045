"""Classical estimators and the bound they are held to, in NumPy complex128, one scene at a time.

Written to be read against the formulas; `models.localizer` is the batched estimator. What the two share is the
steering vector and the grid.
"""
