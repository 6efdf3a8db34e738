"""A store in a bucket of S3, or of a server that speaks like it (MinIO, Garage, SeaweedFS, Ceph, Swift).

Credentials come from where boto3 looks for them: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a profile, the
machine's role. Clients are made at the first use, once a process, so that a fork (gunicorn preloads the
application) shares no connection.
"""

import base64
import hashlib
import io
import logging
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import boto3
import urllib3.exceptions
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own, and no OSError
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)

from shared.errors import PublicError, TransientError
from shared.storage.base import (
    STALE,
    Blob,
    MissingObjectError,
    RangeError,
    Stat,
    Storage,
    Writer,
    check_content_type,
    check_key,
    check_prefix,
    check_range,
    content_disposition,
    content_type_of,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectRequestTypeDef

log = logging.getLogger(__name__)

#: bytes of one part of a large object; all but the last are equal, some servers insist
PART: Final = 8 * 1024 * 1024

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

_BATCH: Final = 1000  # objects that one request may delete

_FULL: Final = {
    "InsufficientStorage",
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
    "XRGWQuotaExceeded",
}
_BUSY: Final = {
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}
_OURS_ALREADY: Final = {"BucketAlreadyExists", "BucketAlreadyOwnedByYou", "OperationAborted"}
_NO_OBJECT: Final = {"404", "NoSuchKey", "NotFound"}


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "?"))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def _public_errors() -> Iterator[None]:
    """Turns what boto3 raises into errors that anybody may see; the log has the S3 code, never a key."""
    try:
        yield
    except ClientError as error:
        code, status, what = _code(error), _status(error), error.operation_name
        if code in _FULL or status == HTTPStatus.INSUFFICIENT_STORAGE:
            log.error("S3 %s: %s (%s)", what, code, status)
            raise PublicError("storage_full", "The storage is full.") from error
        if code in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            log.warning("S3 %s: %s (%s)", what, code, status)
            raise TransientError("storage_down", "The storage is busy.", retry_after=5) from error
        log.error("S3 %s: %s (%s): check the bucket, the region and the credentials", what, code, status)
        raise PublicError("storage_down", "The storage is not set up correctly.") from error
    except (
        ConnectionError,
        HTTPClientError,
        IncompleteReadError,
        ResponseStreamingError,
        urllib3.exceptions.HTTPError,
        OSError,
    ) as error:
        log.warning("S3: %s", type(error).__name__)
        raise TransientError("storage_down", "The storage cannot be reached.", retry_after=5) from error
    except BotoCoreError as error:  # no credentials, a bad endpoint
        log.error("S3: %s: check the S3 settings and the credentials", type(error).__name__)
        raise PublicError("storage_down", "The storage is not set up correctly.") from error


class _Clients:
    """The clients of one process.

    boto3 promises that clients, unlike sessions, may be shared between threads.
    """

    def __init__(self, endpoint_url: str | None, public_endpoint_url: str | None, region: str) -> None:
        self._endpoint_url = endpoint_url
        self._public_endpoint_url = public_endpoint_url or endpoint_url
        self._region = region
        self._session = boto3.session.Session()
        self.main = self._make(endpoint_url, connect_timeout=2, read_timeout=10, attempts=3)

    @cached_property
    def probe(self) -> "S3Client":
        """Gives up at once: for health checks."""
        return self._make(self._endpoint_url, connect_timeout=1, read_timeout=1, attempts=1)

    @cached_property
    def public(self) -> "S3Client":
        """Signs for the host that a browser sees; is never asked for anything else."""
        return self._make(self._public_endpoint_url, connect_timeout=1, read_timeout=1, attempts=1)

    def _make(
        self, endpoint_url: str | None, *, connect_timeout: float, read_timeout: float, attempts: int
    ) -> "S3Client":
        config = Config(
            region_name=self._region,
            signature_version="s3v4",
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=64,
            tcp_keepalive=True,
            # a host of one's own has no subdomain for each bucket
            s3={"addressing_style": "path" if endpoint_url else "auto"},
            # the checksums that AWS added in 2025 are not known everywhere
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        client = self._session.client("s3", endpoint_url=endpoint_url, config=config)
        client.meta.events.register("before-sign.s3.DeleteObjects", _add_content_md5)
        return client


def _add_content_md5(request: Any, **_: object) -> None:  # noqa: ANN401 - a private class of botocore
    """Deleting many needs a digest of the list; the older one is the one that every server knows."""
    digest = hashlib.md5(request.data, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()


class S3Storage(Storage):
    """Objects in a bucket.

    Args:
        bucket: its name.
        prefix: put before every key, with a slash; empty: the whole bucket is ours.
        endpoint_url: of the server; absent: AWS.
        public_endpoint_url: the same server as a browser reaches it; absent: as we do.
        region: of the bucket.
        links: whether `link()` gives signed links.
        link_ttl: seconds that they work.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        public_endpoint_url: str | None = None,
        region: str = "us-east-1",
        links: bool = False,
        link_ttl: int = 300,
    ) -> None:
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"not the name of a bucket: {bucket!r}")
        self.bucket = bucket
        self.prefix = check_prefix(prefix + "/") if prefix else ""
        self._endpoint_url = endpoint_url
        self._public_endpoint_url = public_endpoint_url
        self._region = region
        self._links = links
        self._link_ttl = link_ttl
        self._pid = 0
        self._lock = threading.Lock()
        self._made: _Clients | None = None

    def prepare(self) -> None:
        """Makes the bucket if it is missing, and removes stale uploads."""
        with _public_errors():
            if not self._has_bucket():
                self._make_bucket()
        with suppress(PublicError):  # not every server and not every policy lets us list uploads; logged
            self.sweep_temporary()

    def check(self) -> None:
        """Raises a `PublicError` if the bucket cannot be listed now."""
        with _public_errors():
            probe = self._clients.probe
            try:
                probe.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if _status(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
                # a HEAD has no body and so no code: ask again for the log to name it
                probe.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)

    def writer(self, key: str, content_type: str | None = None) -> Writer:
        """A writer of an object; what is larger than a part goes up in parts."""
        return _S3Writer(self._clients.main, self.bucket, self._name(key), key, check_content_type(key, content_type))

    def put(self, key: str, data: bytes, content_type: str | None = None) -> None:
        """Writes a whole object."""
        if len(data) > PART:
            super().put(key, data, content_type)
            return
        content_type = check_content_type(key, content_type)
        with _public_errors():
            self._clients.main.put_object(Bucket=self.bucket, Key=self._name(key), Body=data, ContentType=content_type)

    def open(self, key: str, byte_range: tuple[int, int | None] | None = None) -> Blob:
        """The object, to be read."""
        name = self._name(key)
        first, last = byte_range or (0, None)
        check_range(first, last)
        request: GetObjectRequestTypeDef = {"Bucket": self.bucket, "Key": name}
        if byte_range:
            request["Range"] = f"bytes={first}-{'' if last is None else last}"
        with _public_errors():
            try:
                answer = self._clients.main.get_object(**request)
            except ClientError as error:
                if _code(error) in _NO_OBJECT:
                    raise MissingObjectError(key) from None
                if _status(error) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise RangeError(key, self._size_of(key)) from None
                raise
        body, length = answer["Body"], answer["ContentLength"]
        size = int(answer["ContentRange"].rpartition("/")[2]) if answer.get("ContentRange") else length
        stat = Stat(
            key=key,
            size=size,
            content_type=answer["ContentType"],
            modified=answer["LastModified"].astimezone(UTC),
            etag=answer["ETag"].strip('"'),
        )
        if byte_range and first >= size:  # an empty object: some servers answer it whole
            body.close()
            raise RangeError(key, size)

        def read(most: int) -> bytes:
            with _public_errors():
                return bytes(body.read(most))

        return Blob(stat, first, length, read, body.close)

    def stat(self, key: str) -> Stat | None:
        """What is known of the object; None if there is none."""
        with _public_errors():
            try:
                answer = self._clients.main.head_object(Bucket=self.bucket, Key=self._name(key))
            except ClientError as error:
                if _code(error) in _NO_OBJECT:
                    return None
                raise
        return Stat(
            key=key,
            size=answer["ContentLength"],
            content_type=answer["ContentType"],
            modified=answer["LastModified"].astimezone(UTC),
            etag=answer["ETag"].strip('"'),
        )

    def list(self, prefix: str) -> Iterator[Stat]:
        """The objects below a prefix, by key."""
        check_prefix(prefix)
        with _public_errors():
            pages = self._clients.main.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + prefix):
                for found in page.get("Contents", []):
                    key = found["Key"].removeprefix(self.prefix)
                    yield Stat(
                        key=key,
                        size=found["Size"],
                        content_type=content_type_of(key),
                        modified=found["LastModified"].astimezone(UTC),
                        etag=found["ETag"].strip('"'),
                    )

    def delete(self, key: str) -> None:
        """Removes the object if it is there."""
        with _public_errors():
            try:
                self._clients.main.delete_object(Bucket=self.bucket, Key=self._name(key))
            except ClientError as error:
                if _code(error) not in _NO_OBJECT:
                    raise

    def delete_prefix(self, prefix: str) -> int:
        """Removes every object below a prefix that ends with a slash; returns how many."""
        if not prefix:
            raise ValueError("refusing to delete everything")
        count = 0
        batch: list[str] = []
        for found in self.list(prefix):
            batch.append(found.key)
            if len(batch) == _BATCH:
                count += self._delete_all(batch)
                batch = []
        return count + self._delete_all(batch)

    def link(self, key: str, *, filename: str, inline: bool) -> str | None:
        """A signed link, if `S3_PRESIGNED_LINKS` is on."""
        name = self._name(key)
        if not self._links:
            return None
        with _public_errors():
            return self._clients.public.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self.bucket,
                    "Key": name,
                    "ResponseContentType": content_type_of(key),
                    "ResponseContentDisposition": content_disposition(filename, inline=inline),
                },
                ExpiresIn=self._link_ttl,
            )

    def sweep_temporary(self, older_than: timedelta = STALE) -> int:
        """Ends uploads in parts that nobody has completed; returns how many."""
        limit = datetime.now(UTC) - older_than
        count = 0
        with _public_errors():
            client = self._clients.main
            pages = client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix):
                for upload in page.get("Uploads", []):
                    if upload["Initiated"] <= limit:
                        client.abort_multipart_upload(
                            Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        count += 1
        return count

    @property
    def _clients(self) -> _Clients:
        if self._pid != os.getpid():  # the first use, or we are a fork: its parent may have held the lock
            self._pid, self._lock, self._made = os.getpid(), threading.Lock(), None
        with self._lock:
            if self._made is None:
                with _public_errors():
                    self._made = _Clients(self._endpoint_url, self._public_endpoint_url, self._region)
            return self._made

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)

    def _size_of(self, key: str) -> int:
        stat = self.stat(key)
        return stat.size if stat else 0

    def _has_bucket(self) -> bool:
        try:
            self._clients.main.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            if _status(error) == HTTPStatus.NOT_FOUND:
                return False
            if _status(error) < HTTPStatus.INTERNAL_SERVER_ERROR:
                self.check()  # for the log to name the reason
            raise
        return True

    def _make_bucket(self) -> None:
        client = self._clients.main
        try:
            if self._region == "us-east-1":  # the one region that must not be named
                client.create_bucket(Bucket=self.bucket)
            else:
                place: Any = {"LocationConstraint": self._region}
                client.create_bucket(Bucket=self.bucket, CreateBucketConfiguration=place)
        except ClientError as error:
            # another process of ours was faster; if it is somebody else's bucket, we may not even look at it
            if _code(error) not in _OURS_ALREADY:
                raise
        client.get_waiter("bucket_exists").wait(Bucket=self.bucket, WaiterConfig={"Delay": 1, "MaxAttempts": 5})

    def _delete_all(self, keys: Sequence[str]) -> int:
        if not keys:
            return 0
        with _public_errors():
            answer = self._clients.main.delete_objects(
                Bucket=self.bucket,
                Delete={"Objects": [{"Key": self.prefix + key} for key in keys], "Quiet": True},
            )
        for failure in answer.get("Errors", []):
            if failure.get("Code") not in _NO_OBJECT:
                log.warning("S3 DeleteObjects: %s", failure.get("Code"))
                raise TransientError("storage_down", "The storage did not delete a file.", retry_after=5)
        return len(keys)


class _S3Writer(Writer):
    def __init__(self, client: "S3Client", bucket: str, name: str, key: str, content_type: str) -> None:
        super().__init__(key, content_type)
        self._client = client
        self._bucket = bucket
        self._name = name
        self._buffer = io.BytesIO()
        self._upload: str | None = None
        self._parts: list[CompletedPartTypeDef] = []

    def _write(self, data: memoryview) -> None:
        while data:
            if self._buffer.tell() == PART:
                self._send_part()
            data = data[self._buffer.write(data[: PART - self._buffer.tell()]) :]

    def _commit(self) -> None:
        with _public_errors():
            if self._upload is None:
                self._client.put_object(
                    Bucket=self._bucket, Key=self._name, Body=self._buffer.getvalue(), ContentType=self.content_type
                )
            else:
                self._send_part()
                self._complete(self._upload)
        self._buffer = io.BytesIO()

    def _abort(self) -> None:
        self._buffer = io.BytesIO()
        if self._upload is not None:
            try:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._name, UploadId=self._upload)
            except (BotoCoreError, ClientError) as error:
                # sweep_temporary() and the bucket's lifecycle rule will
                log.warning("S3: could not end an upload: %s", type(error).__name__)

    def _send_part(self) -> None:
        with _public_errors():
            if self._upload is None:
                self._upload = self._client.create_multipart_upload(
                    Bucket=self._bucket, Key=self._name, ContentType=self.content_type
                )["UploadId"]
            number = len(self._parts) + 1
            answer = self._client.upload_part(
                Bucket=self._bucket,
                Key=self._name,
                UploadId=self._upload,
                PartNumber=number,
                Body=self._buffer.getvalue(),  # no copy is made
            )
        self._parts.append({"ETag": answer["ETag"], "PartNumber": number})
        self._buffer = io.BytesIO()

    def _complete(self, upload: str) -> None:
        try:
            self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=self._name, UploadId=upload, MultipartUpload={"Parts": self._parts}
            )
        except ClientError as error:
            # boto3 asked again because an answer was lost: the first request has done it
            if _code(error) != "NoSuchUpload" or not self._is_there():
                raise

    def _is_there(self) -> bool:
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=self._name)
        except ClientError:
            return False
        return answer["ContentLength"] == self.size and answer["ETag"].strip('"').endswith(f"-{len(self._parts)}")
