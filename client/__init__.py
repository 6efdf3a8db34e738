"""A client of Dropsight: `python -m client photo.jpg`, or as a library.

with Client("http://localhost:5000") as client:
    job = client.submit("photo.jpg", score=0.4)
    print(job.result(timeout=60).text)

It needs pydantic, requests and tqdm, and of this project only `shared`.
"""

from client.api import Client
from client.documents import Limits, Model, Models
from client.errors import (
    ConnectionFailedError,
    DropsightError,
    JobCanceledError,
    JobFailedError,
    ProtocolError,
    RefusedError,
    StoppedError,
    UnreadableFileError,
    WaitTimeoutError,
)
from client.jobs import Job
from shared.jobs import JobState
from shared.results import ImageResult
from shared.videos import VideoResult

__all__ = [
    "Client",
    "ConnectionFailedError",
    "DropsightError",
    "ImageResult",
    "Job",
    "JobCanceledError",
    "JobFailedError",
    "JobState",
    "Limits",
    "Model",
    "Models",
    "ProtocolError",
    "RefusedError",
    "StoppedError",
    "UnreadableFileError",
    "VideoResult",
    "WaitTimeoutError",
]
