"""A writer of one object in S3: in one request, or in parts if it is large."""

import errno
import logging
import tempfile
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from shared.errors import PublicError
from shared.storage.base import Writer
from shared.storage.s3_errors import code_of, public_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

log = logging.getLogger(__name__)

#: bytes of one part of a large object; all but the last are equal, some servers insist
PART: Final = 8 * 1024 * 1024
#: of a part, bytes that are held in memory; the web tier may have hundreds of uploads at a time, some of them slow
IN_MEMORY: Final = 64 * 1024


class S3Writer(Writer):
    """Holds back one part at the most: beyond a few bytes in a file without a name, where `TMPDIR` is.

    Args:
        client: the client.
        bucket: the bucket.
        name: of the object in the bucket.
        key: as the store calls it.
        content_type: of the object.
    """

    def __init__(self, client: "S3Client", bucket: str, name: str, key: str, content_type: str) -> None:
        super().__init__(key, content_type)
        self._client = client
        self._bucket = bucket
        self._name = name
        self._buffer = _new_buffer()
        self._upload: str | None = None
        self._parts: list[CompletedPartTypeDef] = []

    def _write(self, data: memoryview) -> None:
        while data:
            if self._buffer.tell() == PART:
                self._send_part()
            piece = data[: PART - self._buffer.tell()]
            with public_errors():
                try:
                    if self._buffer.tell() + len(piece) > IN_MEMORY:
                        self._buffer.rollover()
                    self._buffer.write(piece)
                except OSError as error:
                    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    log.error("no room for an upload in %s", tempfile.gettempdir())
                    raise PublicError("storage_full", "The storage is full.") from error
            data = data[len(piece) :]

    def _commit(self) -> None:
        with public_errors():
            if self._upload is None:
                self._buffer.seek(0)
                self._client.put_object(
                    Bucket=self._bucket, Key=self._name, Body=self._buffer, ContentType=self.content_type
                )
            else:
                self._send_part()
                self._complete(self._upload)
        self._buffer.close()

    def _abort(self) -> None:
        self._buffer.close()
        if self._upload is not None:
            try:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._name, UploadId=self._upload)
            except (BotoCoreError, ClientError) as error:
                # sweep_temporary() and the bucket's lifecycle rule will
                log.warning("S3: could not end an upload: %s", type(error).__name__)

    def _send_part(self) -> None:
        with public_errors():
            if self._upload is None:
                self._upload = self._client.create_multipart_upload(
                    Bucket=self._bucket, Key=self._name, ContentType=self.content_type
                )["UploadId"]
            number = len(self._parts) + 1
            self._buffer.seek(0)
            answer = self._client.upload_part(
                Bucket=self._bucket,
                Key=self._name,
                UploadId=self._upload,
                PartNumber=number,
                Body=self._buffer,
            )
        self._parts.append({"ETag": answer["ETag"], "PartNumber": number})
        self._buffer.close()
        self._buffer = _new_buffer()

    def _complete(self, upload: str) -> None:
        try:
            self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=self._name, UploadId=upload, MultipartUpload={"Parts": self._parts}
            )
        except ClientError as error:
            # boto3 asked again because an answer was lost: the first request has done it
            if code_of(error) != "NoSuchUpload" or not self._is_there():
                raise

    def _is_there(self) -> bool:
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=self._name)
        except ClientError:
            return False
        return answer["ContentLength"] == self.size and answer["ETag"].strip('"').endswith(f"-{len(self._parts)}")


def _new_buffer() -> "tempfile.SpooledTemporaryFile[bytes]":
    return tempfile.SpooledTemporaryFile(IN_MEMORY)
