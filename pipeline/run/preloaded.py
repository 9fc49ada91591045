"""What the stages import, for the process that they are forked from. Importing it must not start TensorFlow's runtime:
a fork would share its devices and lack its threads."""

from models.lean_start import start_lean

start_lean()

from pipeline.data import building  # noqa: E402, F401
from pipeline.evaluate import runner  # noqa: E402, F401
from pipeline.export import exporting  # noqa: E402, F401
from pipeline.figures import plots  # noqa: E402, F401
from pipeline.infra_validate import infra_validation  # noqa: E402, F401
from pipeline.learnability import check  # noqa: E402, F401
from pipeline.locate import fresh_scenes  # noqa: E402, F401
from pipeline.run import steps  # noqa: E402, F401
from pipeline.train import training  # noqa: E402, F401
