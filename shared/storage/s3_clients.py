"""Clients of S3: one for work, one for health checks, one that signs links."""

import base64
import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3Clients:
    """The clients of one process.

    boto3 promises that clients, unlike sessions, may be shared between threads.

    Args:
        endpoint_url: of the server; None: AWS.
        public_endpoint_url: the same server as a browser reaches it; None: as we do.
        region: of the bucket.
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
