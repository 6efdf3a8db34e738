"""What runs, written down for supervisord (supervisord.org), which starts it, restarts it and ends it in order."""

import configparser
import getpass
import importlib.util
import io
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.settings import ROOT, Settings
from standalone.memory import worker_memory_mb


@dataclass(frozen=True, slots=True)
class Program:
    """One line of processes.

    Args:
        name: of the program and of its log.
        command: the command line.
        priority: lower starts earlier and ends later.
        stop_seconds: how long it may take to end.
        copies: how many run.
        environment: what it is told beside what all are.
    """

    name: str
    command: Sequence[str]
    priority: int
    stop_seconds: int
    copies: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)


def programs(settings: Settings, redis_command: Sequence[str] | None) -> list[Program]:
    """All that makes the service; Redis only if it is ours to start."""
    python = sys.executable
    web = [python, "-m", "gunicorn", "-c", str(ROOT / "web" / "gunicorn.conf.py"), "web.wsgi:app"]
    found = [
        Program("web", web, priority=20, stop_seconds=15),
        Program(
            "worker",
            [python, "-m", "worker"],
            priority=30,
            stop_seconds=settings.drain_timeout + 10,
            copies=settings.workers,
            environment={"WORKER_MEMORY_MB": str(worker_memory_mb(settings))},
        ),
    ]
    if settings.allow_training and can_train():
        stop_seconds = settings.drain_timeout + 10
        found.append(Program("trainer", [python, "-m", "worker.trainer"], priority=30, stop_seconds=stop_seconds))
    if settings.allow_streams:
        found.append(
            Program(
                "streamer",
                [python, "-m", "worker.streamer"],
                priority=30,
                stop_seconds=settings.drain_timeout + 10,
                copies=settings.streamers,
            )
        )
    if settings.webhooks_on:
        found.append(Program("webhooks", [python, "-m", "web.webhooks"], priority=20, stop_seconds=15))
    if redis_command is not None:
        found.insert(0, Program("redis", redis_command, priority=10, stop_seconds=30))
    return [program for program in found if program.copies]


def can_train() -> bool:
    """Whether this environment has what a trainer needs."""
    return all(importlib.util.find_spec(name) for name in ("tensorflow", "sklearn", "defusedxml"))


def supervisor_config(found: Sequence[Program], run_dir: Path, log_dir: Path) -> str:
    """The configuration file of supervisord."""
    config = configparser.RawConfigParser()
    config["supervisord"] = {
        "nodaemon": "true",
        "silent": "true",
        "user": getpass.getuser(),
        "logfile": _plain(log_dir / "supervisord.log"),
        "pidfile": _plain(run_dir / "supervisord.pid"),
        "directory": _plain(ROOT),
        "umask": "077",
    }
    for program in found:
        config[f"program:{program.name}"] = {
            "environment": ",".join(f'{name}="{value}"' for name, value in program.environment.items()),
            "command": shlex.join(program.command).replace("%", "%%"),
            "priority": str(program.priority),
            "numprocs": str(program.copies),
            "process_name": "%(program_name)s-%(process_num)d",
            "autorestart": "true",
            "startsecs": "1",
            "startretries": "1000000",
            "stopwaitsecs": str(program.stop_seconds),
            "redirect_stderr": "true",
            "stdout_logfile": _plain(log_dir / f"{program.name}-%(process_num)d.log"),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "3",
        }
    file = io.StringIO()
    config.write(file)
    return file.getvalue()


def _plain(path: Path) -> str:
    """Supervisord expands `%(name)s`; a percent sign of a folder's name must stay one."""
    return str(path.parent).replace("%", "%%") + f"/{path.name}"
