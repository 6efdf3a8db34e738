"""Engines: how a network is run. They know nothing of what it is for.

`open_session` turns a `Recipe` into a `Session`. OpenVINO is the default on a CPU; with a converted model in its
cache it needs neither Keras nor TensorFlow.
"""

from worker.engines.base import KerasModel, Recipe, Session
from worker.engines.choice import choose_engine, open_session, select_backend, select_backend_for_training

__all__ = [
    "KerasModel",
    "Recipe",
    "Session",
    "choose_engine",
    "open_session",
    "select_backend",
    "select_backend_for_training",
]
