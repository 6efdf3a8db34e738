"""Runs a job in this process as a worker's two processes do it, without RQ."""

import redis
from rq.job import Job
from rq.serializers import JSONSerializer

from shared.jobs import JobRequest
from shared.settings import Settings
from worker import pipeline
from worker.endings import PhotoEndings


def run(connection: redis.Redis, settings: Settings, request: JobRequest) -> None:
    """What the horse does with a job that was submitted, and what the parent does then."""
    ending = pipeline.run(request.model_dump(mode="json"))
    if ending is None:
        return
    job = Job.fetch(request.id, connection=connection, serializer=JSONSerializer)
    endings = PhotoEndings(connection, settings)
    record = endings.store(job, ending)
    with connection.pipeline() as pipe:
        record(pipe)
        pipe.execute()
