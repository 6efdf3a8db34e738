"""Settings of gunicorn. Greenlets, because a page holds a connection open for news and a slow client holds one too."""

from pathlib import Path

from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from shared import logs
from shared.settings import get_settings

_settings = get_settings()


class OwnLines(Logger):  # type: ignore[misc]
    """No lines of gunicorn's about requests, which it would make and throw away: web/access_log.py writes ours."""

    def access(self, *_: object) -> None:
        """Write nothing."""


bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
workers = _settings.web_processes
worker_class = "gevent"
worker_connections = 1000
if Path("/dev/shm").is_dir():  # noqa: S108
    worker_tmp_dir = "/dev/shm"  # noqa: S108  the heartbeat file: a disk that stalls must not kill processes
timeout = 60
graceful_timeout = 10
keepalive = 30
logger_class = OwnLines
errorlog = "-"
loglevel = "info"
logconfig_dict = logs.config(_settings.log_format)
control_socket_disable = True


def post_worker_init(worker: Worker) -> None:
    """Make the folder or the bucket if it is not there. If storage is away now, `/readyz` says so."""
    # imported here: gevent patches the standard library before anything may have taken parts of it
    from shared.errors import PublicError
    from shared.storage import Storage
    from web.services import EXTENSION

    storage: Storage = worker.wsgi.extensions[EXTENSION].storage
    try:
        storage.prepare()
    except PublicError as error:
        worker.log.warning("storage is not ready: %s", error)
