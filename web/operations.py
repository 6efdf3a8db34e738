"""For those who run the service: `/healthz`, `/readyz`, `/metrics`."""

from collections.abc import Callable, Iterator
from typing import Any

from apiflask import APIBlueprint
from flask import Response, jsonify
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from shared.errors import CODES, PublicError
from web.describing import answers
from web.services import Services, services

bp = APIBlueprint("operations", __name__, tag="Operations")


@bp.get("/healthz")
@bp.doc(summary="Is this process alive?")
def healthz() -> Response:
    """Says nothing of Redis or storage: restarting this process would not bring them back."""
    return jsonify({"ok": True})


@bp.get("/readyz")
@bp.doc(summary="Can a photo be answered?", responses={200: "Yes.", 503: "Something is missing; `checks` says what."})
def readyz() -> Response:
    """Redis, storage, and a live worker that has the default model."""
    parts = services()
    checks = {
        "redis": _check(parts.queue.waiting),
        "storage": _check(parts.storage.check),
        "worker": _check(lambda: _need_worker(parts)),
    }
    ready = all(check["ok"] for check in checks.values())
    response = jsonify({"ready": ready, "checks": checks})
    response.status_code = 200 if ready else int(CODES["not_ready"])
    return response


def _check(probe: Callable[[], object]) -> dict[str, Any]:
    try:
        probe()
    except PublicError as error:
        return {"ok": False, "message": error.message}
    return {"ok": True, "message": ""}


def _need_worker(parts: Services) -> None:
    workers = parts.fleet.workers()
    default = parts.catalog.default
    if not workers:
        raise PublicError("not_ready", "No worker is alive.")
    if not any(worker.ready for worker in workers):
        raise PublicError("not_ready", "The workers are still loading their models.")
    if not any(worker.ready and {default, parts.catalog.fallback} & set(worker.installed) for worker in workers):
        raise PublicError(
            "not_ready", f"No worker has the default model {default!r}; `make weights MODEL={default}` fetches it."
        )


@bp.get("/metrics")
@bp.doc(
    summary="Figures for Prometheus",
    responses=answers(("text/plain",), {200: "The figures."}),
)
def metrics() -> Response:
    """All figures come from Redis, so that every web process gives the same."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(services()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Figures:
    """A Prometheus collector over what Redis knows."""

    def __init__(self, parts: Services) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """The metric families."""
        parts = self._parts
        jobs = GaugeMetricFamily("dropsight_jobs", "Jobs that Redis knows, by state.", labels=["state"])
        for state, count in parts.listing.count_by_state().items():
            jobs.add_metric([state.value], count)
        yield jobs
        yield GaugeMetricFamily("dropsight_queue_length", "Jobs that wait.", value=parts.queue.waiting())
        lanes = parts.overview.lanes()
        yield GaugeMetricFamily(
            "dropsight_oldest_waiting_seconds",
            "Age of the job that has waited longest.",
            value=max(lane.oldest_seconds for lane in lanes),
        )
        waiting = GaugeMetricFamily("dropsight_lane_waiting_jobs", "Jobs that wait, by queue.", labels=["lane"])
        oldest = GaugeMetricFamily(
            "dropsight_lane_oldest_waiting_seconds", "Age of the job that is next, by queue.", labels=["lane"]
        )
        for lane in lanes:
            waiting.add_metric([lane.priority.value], lane.waiting)
            oldest.add_metric([lane.priority.value], lane.oldest_seconds)
        yield from (waiting, oldest)
        deliveries = GaugeMetricFamily(
            "dropsight_webhook_deliveries",
            "Webhooks to be delivered: their job has not ended (pending), or it has (due).",
            labels=["state"],
        )
        for state_name, count in zip(("pending", "due"), parts.queue.hooks.counts(), strict=True):
            deliveries.add_metric([state_name], count)
        yield deliveries
        workers = parts.fleet.workers()
        yield GaugeMetricFamily("dropsight_workers", "Live workers.", value=len(workers))
        yield GaugeMetricFamily(
            "dropsight_workers_ready", "Live workers with models loaded.", value=sum(worker.ready for worker in workers)
        )
        memory = GaugeMetricFamily(
            "dropsight_worker_memory_bytes", "Memory of each worker's process with the models.", labels=["worker"]
        )
        done = CounterMetricFamily("dropsight_worker_jobs", "Jobs that each worker has run.", labels=["worker"])
        restarts = CounterMetricFamily(
            "dropsight_worker_restarts", "Times that each worker's process with the models died.", labels=["worker"]
        )
        started = GaugeMetricFamily(
            "dropsight_worker_start_time_seconds", "When each worker was started.", labels=["worker"]
        )
        for worker in workers:
            memory.add_metric([worker.name], worker.memory_bytes)
            done.add_metric([worker.name], worker.jobs_done)
            restarts.add_metric([worker.name], worker.restarts)
            started.add_metric([worker.name], worker.started_at)
        yield from (memory, done, restarts, started)
        phases = SummaryMetricFamily(
            "dropsight_phase_seconds", "Time that finished jobs spent in each phase.", labels=["phase"]
        )
        for phase, time in parts.tally.phases().items():
            phases.add_metric([phase], count_value=time.jobs, sum_value=time.seconds)
        yield phases
        objects = GaugeMetricFamily("dropsight_objects", "Objects seen so far, by label.", labels=["label"])
        for label, count in parts.tally.counts().items():
            objects.add_metric([label], count)
        yield objects
