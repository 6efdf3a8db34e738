"""A store in a bucket of S3, or of a server that speaks like it (MinIO, Garage, SeaweedFS, Ceph, Swift).

Credentials come from where boto3 looks for them: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a profile, the
machine's role. Clients are made at the first use, once a process, so that a fork (gunicorn preloads the
application) shares no connection.
"""

import logging
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from shared.errors import PublicError, TransientError
from shared.storage.base import (
    STALE,
    Blob,
    MissingObjectError,
    RangeError,
    Stat,
    Storage,
    Writer,
    check_range,
)
from shared.storage.names import check_content_type, check_key, check_prefix, content_disposition, content_type_of
from shared.storage.s3_clients import S3Clients
from shared.storage.s3_errors import NO_OBJECT, code_of, public_errors, status_of
from shared.storage.s3_writer import PART, S3Writer

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectRequestTypeDef

log = logging.getLogger(__name__)

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

_BATCH: Final = 1000  # objects that one request may delete
_OURS_ALREADY: Final = {"BucketAlreadyExists", "BucketAlreadyOwnedByYou", "OperationAborted"}


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
        self._made: S3Clients | None = None

    def prepare(self) -> None:
        """Makes the bucket if it is missing, and removes stale uploads."""
        with public_errors():
            if not self._has_bucket():
                self._make_bucket()
        with suppress(PublicError):  # not every server and not every policy lets us list uploads; logged
            self.sweep_temporary()

    def check(self) -> None:
        """Raises a `PublicError` if the bucket cannot be listed now."""
        with public_errors():
            probe = self._clients.probe
            try:
                probe.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
                # a HEAD has no body and so no code: ask again for the log to name it
                probe.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)

    def writer(self, key: str, content_type: str | None = None) -> Writer:
        """A writer of an object; what is larger than a part goes up in parts."""
        return S3Writer(self._clients.main, self.bucket, self._name(key), key, check_content_type(key, content_type))

    def put(self, key: str, data: bytes, content_type: str | None = None) -> None:
        """Writes a whole object."""
        if len(data) > PART:
            super().put(key, data, content_type)
            return
        content_type = check_content_type(key, content_type)
        with public_errors():
            self._clients.main.put_object(Bucket=self.bucket, Key=self._name(key), Body=data, ContentType=content_type)

    def open(self, key: str, byte_range: tuple[int, int | None] | None = None) -> Blob:
        """The object, to be read."""
        name = self._name(key)
        first, last = byte_range or (0, None)
        check_range(first, last)
        request: GetObjectRequestTypeDef = {"Bucket": self.bucket, "Key": name}
        if byte_range:
            request["Range"] = f"bytes={first}-{'' if last is None else last}"
        with public_errors():
            try:
                answer = self._clients.main.get_object(**request)
            except ClientError as error:
                if code_of(error) in NO_OBJECT:
                    raise MissingObjectError(key) from None
                if status_of(error) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
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
            with public_errors():
                return bytes(body.read(most))

        return Blob(stat, first, length, read, body.close)

    def stat(self, key: str) -> Stat | None:
        """What is known of the object; None if there is none."""
        with public_errors():
            try:
                answer = self._clients.main.head_object(Bucket=self.bucket, Key=self._name(key))
            except ClientError as error:
                if code_of(error) in NO_OBJECT:
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
        with public_errors():
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
        with public_errors():
            try:
                self._clients.main.delete_object(Bucket=self.bucket, Key=self._name(key))
            except ClientError as error:
                if code_of(error) not in NO_OBJECT:
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
        with public_errors():
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
        with public_errors():
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
    def _clients(self) -> S3Clients:
        if self._pid != os.getpid():  # the first use, or we are a fork: its parent may have held the lock
            self._pid, self._lock, self._made = os.getpid(), threading.Lock(), None
        with self._lock:
            if self._made is None:
                with public_errors():
                    self._made = S3Clients(self._endpoint_url, self._public_endpoint_url, self._region)
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
            if status_of(error) == HTTPStatus.NOT_FOUND:
                return False
            if status_of(error) < HTTPStatus.INTERNAL_SERVER_ERROR:
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
            if code_of(error) not in _OURS_ALREADY:
                raise
        client.get_waiter("bucket_exists").wait(Bucket=self.bucket, WaiterConfig={"Delay": 1, "MaxAttempts": 5})

    def _delete_all(self, keys: Sequence[str]) -> int:
        if not keys:
            return 0
        with public_errors():
            answer = self._clients.main.delete_objects(
                Bucket=self.bucket,
                Delete={"Objects": [{"Key": self.prefix + key} for key in keys], "Quiet": True},
            )
        for failure in answer.get("Errors", []):
            if failure.get("Code") not in NO_OBJECT:
                log.warning("S3 DeleteObjects: %s", failure.get("Code"))
                raise TransientError("storage_down", "The storage did not delete a file.", retry_after=5)
        return len(keys)
