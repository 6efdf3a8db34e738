"""The command: `dropsight photo.jpg folder/ --server URL`, or `python -m client`."""

import argparse
import io
import os
import signal
import sys
import webbrowser
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from client.api import DEFAULT_SERVER, Client, Option
from client.batch import Batch
from client.errors import DropsightError
from client.outcomes import Outcome, remark, tell
from client.progress import Progress
from client.selection import Selection, select

#: exit statuses; a shell's own for an interrupted program is 130
ALL_FINISHED, SOME_FAILED, CANNOT, INTERRUPTED = 0, 1, 2, 130
#: seconds to find the server, and then to wait while it restarts or is busy
PATIENCE_TO_FIND: Final = 5.0
PATIENCE: Final = 300.0
#: more files than this let those of others go first
BULK_FILES: Final = 10
#: pages that are opened in the browser at most
MOST_OPENED: Final = 10
#: names of files that are left out and named
MOST_NAMED: Final = 5
#: what is as wrong for the other files as for the first
WRONG_FOR_ALL: Final = frozenset(
    {"unauthorized", "forbidden", "cross_origin", "unknown_model", "model_not_installed", "invalid_option"}
)
LOST: Final = frozenset({"connection_failed", "protocol_error"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0 all finished, 1 some failed, 2 nothing could be done.

    Args:
        arguments: of the command line; None: the program's.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without the letters of a name
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if missing := [path for path in chosen.paths if not path.exists()]:
        parser.error(f"there is no such file or folder: {', '.join(map(str, missing))}")
    try:
        return _local(chosen) if chosen.local else _remote(chosen)
    except DropsightError as error:
        remark(f"{error.message} ({error.code})")
        return CANNOT
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        remark("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # who reads our output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor may Python's own flush at the end fail
        return SOME_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dropsight" if Path(sys.argv[0]).stem == "dropsight" else "python -m client",
        description="Send photos and videos, and folders of them, to Dropsight, and see what is in them.",
        epilog="Exit status: 0 all finished, 1 some failed, 2 wrong usage or no connection, 130 interrupted.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file, or a folder with all below it")
    parser.add_argument(
        "--server",
        default=os.environ.get("DROPSIGHT_SERVER") or DEFAULT_SERVER,
        metavar="URL",
        help="the service (DROPSIGHT_SERVER; now %(default)s)",
    )
    parser.add_argument("--api-key", metavar="KEY", help="better in DROPSIGHT_API_KEY: others see command lines")
    parser.add_argument("--model", default="", metavar="NAME", help="name of a model; none: the default one")
    parser.add_argument("--score", type=float, metavar="X", help="only what is surer than this, from 0 to 1")
    parser.add_argument("--iou", type=float, metavar="X", help="boxes that overlap more than this are one, from 0 to 1")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="NAME=VALUE",
        help="any other field of an upload, for instance top=5",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print a JSON object a line")
    how.add_argument("--save", type=Path, metavar="DIR", help="save the drawn pictures and the results there")
    how.add_argument("--open", action="store_true", help="open what was found in the browser")
    parser.add_argument("--local", action="store_true", help="run the model in this process, without any server")
    return parser


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or name == "file":
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _fields(chosen: argparse.Namespace) -> dict[str, Option]:
    fields: dict[str, Option] = dict(chosen.option)
    fields |= {name: value for name in ("score", "iou") if (value := getattr(chosen, name)) is not None}
    return fields


def _remote(chosen: argparse.Namespace) -> int:
    key = chosen.api_key or os.environ.get("DROPSIGHT_API_KEY")
    fields = _fields(chosen)
    model = str(fields.pop("model", chosen.model))
    with Client(chosen.server, key, patience=PATIENCE) as client:
        types = client.models(patience=PATIENCE_TO_FIND).limits.types
        selection = _selected(chosen.paths, types)
        if len(selection.files) > BULK_FILES:
            fields.setdefault("priority", "bulk")
        with Progress(selection.files) as progress:
            batch = Batch(client, progress, model, fields, chosen.save)
            try:
                return _told(batch.run(selection.files), selection, chosen)
            except KeyboardInterrupt:
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # who presses it again does not want to wait
                remark("Canceling ...")
                canceled, unknown = batch.cancel()
                unsure = f"; {unknown} may still run, the server could not be asked" if unknown else ""
                remark(f"Canceled {canceled} {'job' if canceled == 1 else 'jobs'}{unsure}.")
                return INTERRUPTED
            finally:
                batch.stop()


def _local(chosen: argparse.Namespace) -> int:
    from client.local import LocalModel
    from shared.media import ENDINGS

    selection = _selected(chosen.paths, ENDINGS)
    fields = _fields(chosen)
    model = LocalModel(str(fields.pop("model", chosen.model)), fields, chosen.save)
    with Progress(selection.files, sending=False) as progress:

        def outcomes() -> Iterable[Outcome]:
            for path in selection.files:
                yield model.look(path, keep=chosen.open)
                progress.done(path)

        return _told(outcomes(), selection, chosen)


def _selected(paths: Sequence[Path], types: Iterable[str]) -> Selection:
    selection = select(paths, frozenset(types))
    for problem in selection.problems:
        remark(problem)
    if left := selection.left_out:
        names = ", ".join(path.name for path in islice(left, MOST_NAMED))
        more = f" and {len(left) - MOST_NAMED} more" if len(left) > MOST_NAMED else ""
        remark(f"Left out, of no type that is taken: {names}{more}.")
    if not selection.files:
        raise ValueError("there is no file to send")
    return selection


def _told(outcomes: Iterable[Outcome], selection: Selection, chosen: argparse.Namespace) -> int:
    finished = 0
    for done, outcome in enumerate(outcomes, start=1):
        tell(outcome, as_json=chosen.json)
        finished += outcome.ok
        if chosen.open and outcome.ok and finished <= MOST_OPENED:
            webbrowser.open(outcome.link)
        code = outcome.error.code if outcome.error is not None else ""
        if code in LOST or (code in WRONG_FOR_ALL and not finished):
            if left := len(selection.files) - done:
                remark(f"{left} more {'file was' if left == 1 else 'files were'} not looked at.")
            return CANNOT
    if chosen.open and finished > MOST_OPENED:
        remark(f"Only the first {MOST_OPENED} were opened.")
    return ALL_FINISHED if finished == len(selection.files) and not selection.problems else SOME_FAILED
