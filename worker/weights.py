"""Fetches the files of models: `python -m worker.weights [MODEL ...]`, or `make weights MODEL=name`.

Files come from the folder that `WEIGHTS_SOURCE` names if it is set, else from the addresses in the catalogue. What
was interrupted is resumed; nothing takes its place in the weights folder before its hash has been checked.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import requests
from tqdm import tqdm

from shared.catalog import Catalog, load_catalog
from shared.entries import ModelEntry, WeightFile
from shared.errors import BadInputError
from shared.settings import Settings, get_settings

#: bytes at a time; the last incomplete piece before a connection breaks is lost
CHUNK: Final = 1 << 14
#: seconds to connect, and between two pieces
TIMEOUT: Final = (10.0, 30.0)
#: how often a connection may break before we give up, and the seconds before each new one
RETRIES: Final = 4
RETRY_WAIT: Final = 2.0


class WeightsError(Exception):
    """A file cannot be had. The message is for a person and says what to do."""


class _RefusedError(Exception):
    """What came is not what the catalogue says, or nothing came; the message is a part of a sentence."""


def fetch_model(
    entry: ModelEntry,
    weights_dir: Path,
    source: Path | None = None,
    shipped: Path | None = None,
    session: requests.Session | None = None,
    progress: bool = True,
) -> list[Path]:
    """Get the files of a model that are missing or not what the catalogue says.

    Args:
        entry: the model.
        weights_dir: where its files belong; made if it is not there.
        source: a folder to copy from; None: download.
        shipped: the folder of what comes with the project; files without an address are taken from there.
        session: for downloads; None: a new one.
        progress: show a bar, if the error stream is a terminal.

    Returns:
        The files that were fetched; empty if all were there.

    Raises:
        WeightsError: a file cannot be had, saying what to do.
    """
    missing = [file for file in entry.files if not _is_good(weights_dir / file.name, file)]
    fetched = []
    try:
        weights_dir.mkdir(parents=True, exist_ok=True)
        with session or requests.Session() as connection:
            for file in missing:
                if file.url is None and shipped is not None and _is_good(shipped / file.name, file):
                    _copy(file, shipped, weights_dir)
                elif source is not None:
                    _copy(file, source, weights_dir)
                else:
                    _download(file, weights_dir, connection, progress)
                fetched.append(weights_dir / file.name)
    except (_RefusedError, OSError) as error:
        file = missing[len(fetched)] if missing else entry.weights
        still = ", ".join(each.name for each in missing[len(fetched) :])
        raise WeightsError(
            f"{entry.name}: cannot get {file.name}: {error}.\n"
            f"Set WEIGHTS_SOURCE to a folder that holds it, or put {still} into {weights_dir}."
        ) from error
    return fetched


def fetch_shipped(catalog: Catalog, weights_dir: Path, shipped: Path) -> list[str]:
    """Put the models that come with the project into the weights folder.

    Args:
        catalog: all models.
        weights_dir: where their files belong; may be `shipped` itself.
        shipped: the folder of what comes with the project.

    Returns:
        Names of the models without addresses that are in the weights folder now: those, and the user's own.
    """
    there = []
    for name, entry in catalog.models.items():
        if not any(file.url for file in entry.files):
            with suppress(WeightsError):  # neither here nor there
                fetch_model(entry, weights_dir, shipped=shipped)
                there.append(name)
    return there


def _is_good(path: Path, file: WeightFile) -> bool:
    try:
        _check(path, file)
    except (_RefusedError, OSError):
        return False
    return True


def _check(path: Path, file: WeightFile) -> None:
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise _RefusedError(f"it has {size} bytes instead of {file.size}")
    for algorithm, stated in (("sha256", file.sha256), ("md5", file.md5)):
        if stated is None:
            continue
        with path.open("rb") as stream:
            # not for security: MD5 is where the makers of a file state nothing else
            found = hashlib.file_digest(stream, partial(hashlib.new, algorithm, usedforsecurity=False)).hexdigest()
        if found != stated:
            raise _RefusedError(f"its {algorithm} is {found} instead of {stated}")


def _install(part: Path, target: Path) -> None:
    """Give a checked file its name, so that it is there completely or not at all, even if the power fails."""
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    part.replace(target)


def _copy(file: WeightFile, source: Path, weights_dir: Path) -> None:
    if not (source / file.name).is_file():
        raise _RefusedError(f"it is not in {source}")
    handle, name = tempfile.mkstemp(prefix=f"{file.name}.", suffix=".tmp", dir=weights_dir)
    os.close(handle)
    scratch = Path(name)
    try:
        shutil.copyfile(source / file.name, scratch)
        _check(scratch, file)
        scratch.chmod(0o644)
        _install(scratch, weights_dir / file.name)
    finally:
        scratch.unlink(missing_ok=True)


def _download(file: WeightFile, weights_dir: Path, session: requests.Session, progress: bool) -> None:
    if file.url is None:
        raise _RefusedError("the catalogue has no address for it, so it is your own file")
    part = weights_dir / f"{file.name}.part"
    resumed = part.exists()
    _receive_patiently(file, file.url, part, session, progress)
    try:
        _check(part, file)
    except _RefusedError:
        part.unlink()
        if not resumed:
            raise
        # the beginning may be of another download: once more, from nothing
        _receive_patiently(file, file.url, part, session, progress)
        try:
            _check(part, file)
        except _RefusedError:
            part.unlink()
            raise
    _install(part, weights_dir / file.name)


def _receive_patiently(file: WeightFile, url: str, part: Path, session: requests.Session, progress: bool) -> None:
    """Receive all of a file into `part`, going on where a broken connection left off."""
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(file, url, part, session, progress)
        except requests.RequestException as error:
            # a connection that brought something may break as often as it likes
            failures = failures + 1 if _size(part) <= before else 1
            if failures > RETRIES or not _size(part):
                raise _RefusedError(f"{url} cannot be reached ({_reason(error)})") from error
            time.sleep(RETRY_WAIT)
        else:
            return


def _receive(file: WeightFile, url: str, part: Path, session: requests.Session, progress: bool) -> None:
    have = _size(part)
    if file.size is not None and have >= file.size:
        if have == file.size:
            return
        part.unlink()
        have = 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if not response.url.startswith("https://"):
            raise _RefusedError(f"{url} leads to {response.url}, which is not encrypted")
        if response.status_code == requests.codes.requested_range_not_satisfiable and have:
            # nothing is left to send, or the file is another one now: the check will tell
            if response.headers.get("Content-Range") != f"bytes */{have}":
                part.unlink()
                _receive(file, url, part, session, progress)
            return
        if response.status_code not in {requests.codes.ok, requests.codes.partial_content}:
            raise _RefusedError(f"{url} answers {response.status_code} {response.reason}")
        if response.status_code == requests.codes.ok:
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise _RefusedError(f"{url} sends another part than the one asked for")
        with (
            part.open("ab" if have else "wb") as stream,
            tqdm(
                desc=file.name,
                total=file.size,
                initial=have,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                disable=None if progress else True,
            ) as bar,
        ):
            for chunk in response.iter_content(CHUNK):
                have += len(chunk)
                if file.size is not None and have > file.size:
                    raise _RefusedError(f"{url} sends more than the {file.size} bytes it should have")
                stream.write(chunk)
                bar.update(len(chunk))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _reason(error: requests.RequestException) -> str:
    match error:
        case requests.Timeout():
            return "no answer in time"
        case requests.exceptions.SSLError():
            return "its certificate is not trusted here"
        case requests.exceptions.ProxyError():
            return "the proxy refuses"
        case requests.ConnectionError():
            return "no connection"
        case _:
            return "the connection broke"


def main(arguments: Sequence[str] | None = None, settings: Settings | None = None) -> int:
    """The command. Returns the exit status: 0, or 1 if a model could not be had."""
    parser = argparse.ArgumentParser(prog="python -m worker.weights", description="Fetch the files of models.")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names; none: the default model")
    parser.add_argument("--all", action="store_true", help="every model of the catalogue")
    parser.add_argument("--list", action="store_true", help="say which models there are, and fetch nothing")
    options = parser.parse_args(arguments)
    settings = settings or get_settings()
    try:
        catalog = load_catalog(settings.catalog, settings.default_model)
        if options.list:
            print(_listing(catalog, settings.weights_dir))
            return 0
        names = sorted(catalog.models) if options.all else options.models or [catalog.default]
        entries = [catalog[name] for name in names]
        fallback = None if options.all or options.models else catalog.models.get(catalog.fallback)
    except (OSError, ValueError) as error:
        print(f"The catalogue {settings.catalog} cannot be read: {error}", file=sys.stderr)
        return 1
    except BadInputError as error:
        print(error.message, file=sys.stderr)
        return 1
    status = 0
    shipped = settings.catalog.parent
    if catalog.fallback not in fetch_shipped(catalog, settings.weights_dir, shipped):
        fallback = None
    for entry in entries:
        try:
            fetched = fetch_model(entry, settings.weights_dir, settings.weights_source, shipped)
        except WeightsError as error:
            print(error, file=sys.stderr)
            if fallback is not None:
                print(f"Until then the model {fallback.name} is used, which comes with the project.", file=sys.stderr)
            else:
                status = 1
        except KeyboardInterrupt:
            print(f"\n{entry.name}: stopped. The same command goes on from here.", file=sys.stderr)
            return 130
        else:
            print(f"{entry.name}: {_fetched(fetched)}")
    return status


def _fetched(paths: list[Path]) -> str:
    return f"fetched {', '.join(path.name for path in paths)}" if paths else "all there"


def _listing(catalog: Catalog, weights_dir: Path) -> str:
    width = max(map(len, catalog.models))
    lines = []
    for name, entry in sorted(catalog.models.items()):
        megabytes = sum(file.size or 0 for file in entry.files) / 1e6
        state = "missing" if entry.missing_files(weights_dir) else "installed"
        default = " (default)" if name == catalog.default else ""
        lines.append(f"{name:{width}}  {state:9}  {megabytes:7.1f} MB  {entry.title}{default}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
