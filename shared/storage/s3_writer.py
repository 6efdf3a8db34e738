"""A writer of one object in S3: in one request, or in parts if it is large."""

import io
import logging
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from shared.storage.base import Writer
from shared.storage.s3_errors import code_of, public_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

log = logging.getLogger(__name__)

#: bytes of one part of a large object; all but the last are equal, some servers insist
PART: Final = 8 * 1024 * 1024


class S3Writer(Writer):
    """Holds back one part at the most.

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
        self._buffer = io.BytesIO()
        self._upload: str | None = None
        self._parts: list[CompletedPartTypeDef] = []

    def _write(self, data: memoryview) -> None:
        while data:
            if self._buffer.tell() == PART:
                self._send_part()
            data = data[self._buffer.write(data[: PART - self._buffer.tell()]) :]

    def _commit(self) -> None:
        with public_errors():
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
        with public_errors():
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
            if code_of(error) != "NoSuchUpload" or not self._is_there():
                raise

    def _is_there(self) -> bool:
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=self._name)
        except ClientError:
            return False
        return answer["ContentLength"] == self.size and answer["ETag"].strip('"').endswith(f"-{len(self._parts)}")
