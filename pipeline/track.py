"""The name that `ris-mvdr mlflow` had in version 0.1."""

from pipeline.common.main import exit_renamed

if __name__ == "__main__":
    exit_renamed("track")
