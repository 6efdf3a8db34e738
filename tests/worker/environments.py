"""Environments for processes that tests start in folders of their own."""

import os

from shared.settings import ROOT


def with_the_project(**variables: str) -> dict[str, str]:
    """This process's environment and `variables`, with the project in PYTHONPATH before what is there already."""
    path = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)} | variables


def on_tensorflow() -> dict[str, str]:
    """For a process whose Keras runs on TensorFlow, which does not share one with other backends."""
    return with_the_project(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", TF_NUM_INTRAOP_THREADS="2")
