"""Keras is imported without optional packages, which stay available to everything else."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from models.lean_start import start_lean
start_lean()
import tensorflow as tf
assert not {"sklearn", "matplotlib", "pandas", "PIL"} & set(sys.modules)
import keras, matplotlib.pyplot, pandas, PIL.Image, sklearn.ensemble
model = keras.Sequential([keras.Input([3]), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(tf.ones([4, 3]), tf.ones([4, 1]), verbose=0)
print(matplotlib.pyplot.figure, sklearn.ensemble.RandomForestRegressor, PIL.Image.new, pandas.DataFrame)
"""


@pytest.mark.extended
def test_keras_is_imported_without_them_and_they_are_there_after() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "RandomForestRegressor" in done.stdout
