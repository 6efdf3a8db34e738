"""Every setting, typed, read once from the environment.

The names in the environment are the field names in capitals: `MAX_UPLOAD_MB=64`.
"""

import base64
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.stream_urls import parse_hosts

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR

ROOT = Path(__file__).resolve().parent.parent

Seconds = Annotated[int, Field(ge=1)]
#: absolute, so that the web tier, the worker and a supervisor mean the same folder whatever theirs is
Folder = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class Settings(BaseSettings):
    """The one settings object. Instances are immutable; tests make their own."""

    model_config = SettingsConfigDict(
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,  # secrets among it
    )

    # -- where things are
    host: str = Field("127.0.0.1", description="address the web tier listens on")
    port: int = Field(5000, ge=1, le=65535, description="port of the web tier")
    data_dir: Folder = Field(ROOT / "data", description="everything that `make run` keeps")
    workers: int = Field(1, ge=0, le=64, description="worker processes that `make run` starts")
    redis_url: str = Field("", description="redis://, rediss:// or unix://; empty: `make run` starts its own")
    weights_dir: Folder = Field(ROOT / "weights", description="model files")
    catalog: Folder = Field(ROOT / "weights" / "catalog.toml", description="the catalogue of models")
    weights_source: Folder | None = Field(None, description="a folder to take model files from instead of the internet")
    engine_cache_dir: Folder | None = Field(None, description="converted models; empty: DATA_DIR/engine-cache")

    # -- storage
    storage_url: str = Field("", description="file:///path or s3://bucket/prefix; empty: DATA_DIR/storage")
    s3_endpoint_url: str | None = Field(None, description="of MinIO or another S3 server; empty: AWS")
    s3_public_endpoint_url: str | None = Field(None, description="the S3 server as browsers reach it")
    s3_region: str = Field("us-east-1", description="region of the bucket")
    s3_presigned_links: bool = Field(False, description="send browsers to S3 instead of through the web tier")
    s3_presign_ttl: Seconds = Field(5 * MINUTE, description="seconds a signed link works")

    # -- models and engines
    default_model: str | None = Field(None, description="name of a model; empty: the catalogue's default")
    engine: Literal["auto", "openvino", "keras"] = Field(
        "auto", description="what runs the models; auto: openvino where it is"
    )
    precision: Literal["auto", "f32", "bf16", "int8"] = Field(
        "auto", description="arithmetic of the models; auto: what this CPU or GPU is fast at"
    )
    threads: int = Field(
        0,
        ge=0,
        description="threads of a worker; 0: its cores, shared among WORKERS (one worker, small network: one less)",
    )
    worker_memory_mb: int = Field(
        0,
        ge=0,
        description="memory that a job may fill before it is ended; 0: no limit; not set: `make run` gives each worker "
        "a share of 75 % of the machine's",
    )
    max_resident_models: int = Field(4, ge=1, description="models a worker keeps in memory")

    # -- limits
    max_upload_mb: int = Field(32, ge=1, description="size of one file")
    max_files: int = Field(100, ge=1, description="files in one request")
    max_video_mb: int = Field(512, ge=1, description="size of one video")
    max_video_seconds: Seconds = Field(2 * HOUR, description="length of one video")
    max_video_frames: int = Field(500_000, ge=1, description="frames of one video")
    max_video_gigapixels: int = Field(
        1000, ge=1, description="pixels of all frames of one video together, in thousands of millions"
    )
    max_megapixels: int = Field(100, ge=1, description="pixels of one image, in millions")
    max_aspect: int = Field(100, ge=1, description="long side divided by short side")
    max_queue: int = Field(1000, ge=1, description="jobs that may wait; more are answered 429")
    bulk_files: int = Field(10, ge=1, description="a request that makes more jobs is bulk, unless it says otherwise")
    max_wait: Seconds = Field(60, description="seconds at most for `Prefer: wait=N`")
    trusted_proxies: int = Field(0, ge=0, description="reverse proxies in front, whose X-Forwarded-* headers count")
    web_processes: int = Field(2, ge=1, description="gunicorn processes")
    log_format: Literal["text", "json"] = Field("text", description="lines of the log, for people or for machines")

    # -- who may do what, and how fast
    api_keys: str = Field("", description="name:sha256 of each key, apart by commas; empty: no key is asked for")
    api_keys_file: Folder | None = Field(None, description="a file of such entries")
    admin_keys: str = Field("admin", description="names of the keys that open /status, apart by commas")
    allowed_hosts: str = Field("", description="names the service is called by, apart by commas; empty: any")
    cors_origins: str = Field("", description="origins whose pages may use the API, apart by commas")
    rate_limit: str = Field("6000/minute", description="uploads of one key or address, such as 10/second; off: any")
    max_queue_per_client: int = Field(500, ge=1, description="jobs of one key or address that may wait")
    upload_timeout: Seconds = Field(30, description="seconds a body may take beside those for its size")
    min_upload_rate: int = Field(4096, ge=1, description="bytes a second; a slower body is ended")
    allow_url_input: bool = Field(False, description="fetch a photo from `url=` of an upload")
    url_timeout: Seconds = Field(20, description="seconds to fetch a photo from a URL")

    # -- training on data of one's own
    allow_training: bool = Field(False, description="offer training; where keys are asked for, to ADMIN_KEYS alone")
    max_dataset_mb: int = Field(4096, ge=1, description="size of an uploaded data set, as a zip file")
    training_timeout: Seconds = Field(7 * DAY, description="seconds a training may take, all its epochs together")
    # -- live streams
    allow_streams: bool = Field(False, description="look at live streams (RTSP, HTTP, HLS) that clients name")
    stream_hosts: str = Field(
        "", description="names and networks of cameras that are not public, apart by commas; empty: public ones only"
    )
    streamers: int = Field(1, ge=0, le=64, description="streams at a time: a process each, which `make run` starts")
    max_stream_seconds: Seconds = Field(1 * DAY, description="seconds after which a stream ends")
    stream_segment_seconds: int = Field(60, ge=2, le=3600, description="seconds of drawn video in a file")
    stream_keep_seconds: int = Field(1 * HOUR, ge=0, description="seconds of drawn video that are kept of a stream")

    # -- who is told
    allow_webhooks: bool = Field(False, description="tell the end of a job to the `webhook=` of its upload")
    webhook_url: str = Field("", description="a URL that the end of every job is told to")
    webhook_secret: SecretStr = Field(
        SecretStr(""), description="whsec_ and base64; signs webhooks. Two apart by a comma: both sign"
    )

    # -- times
    job_timeout: Seconds = Field(60, description="seconds a photo may take; then its job is ended")
    video_timeout: Seconds = Field(
        10 * MINUTE, description="seconds for a part of a video, or for joining its parts, beside what they should take"
    )
    video_part_seconds: Seconds = Field(
        5, description="seconds of work in a part of a video, about; one with less is not split"
    )
    job_retries: int = Field(2, ge=0, description="further attempts after a failure of ours (crash, hang)")
    lease: Seconds = Field(15, description="seconds after which the job of a silent worker is run by another")
    drain_timeout: Seconds = Field(25, description="seconds a job may go on after SIGTERM before it goes back")
    result_ttl: Seconds = Field(7 * DAY, description="seconds Redis remembers a finished job, and storage its files")
    failure_ttl: Seconds = Field(1 * DAY, description="seconds Redis remembers a failed or canceled job")
    orphan_ttl: Seconds = Field(
        1 * HOUR,
        description="seconds until the janitor deletes files that belong to no job; an upload may take half as long",
    )
    janitor_interval: Seconds = Field(5 * MINUTE, description="seconds between two rounds of the janitor")

    @field_validator("s3_endpoint_url", "s3_public_endpoint_url")
    @classmethod
    def _no_trailing_slash(cls, url: str | None) -> str | None:
        return url.rstrip("/") if url else None

    @model_validator(mode="after")
    def _webhooks_are_signed(self) -> "Settings":
        secrets = self.webhook_secrets
        if self.webhooks_on and not secrets:
            raise ValueError(
                "WEBHOOK_SECRET must be set for ALLOW_WEBHOOKS or WEBHOOK_URL: `python -m web.webhooks --new-secret`"
            )
        if self.webhook_url and not self.webhook_url.startswith(("http://", "https://")):
            raise ValueError("WEBHOOK_URL must begin with http:// or https://")
        return self

    @field_validator("stream_hosts")
    @classmethod
    def _hosts_are_some(cls, listed: str) -> str:
        parse_hosts(listed)
        return listed

    @property
    def webhooks_on(self) -> bool:
        """Whether the end of jobs is told to anybody."""
        return self.allow_webhooks or bool(self.webhook_url)

    @property
    def webhook_secrets(self) -> list[bytes]:
        """The keys that sign webhooks. Raises `ValueError` if one is none."""
        found = []
        for entry in filter(None, map(str.strip, self.webhook_secret.get_secret_value().split(","))):
            try:
                key = base64.b64decode(entry.removeprefix("whsec_"), validate=True)
            except ValueError:
                key = b""
            if not entry.startswith("whsec_") or not 24 <= len(key) <= 64:
                raise ValueError("WEBHOOK_SECRET: whsec_ and the base64 of 24 to 64 random bytes is wanted.")
            found.append(key)
        return found

    @property
    def storage(self) -> str:
        """`storage_url`, or the folder that stands for it."""
        return self.storage_url or (self.data_dir / "storage").as_uri()

    @property
    def open_to_all(self) -> bool:
        """Whether anybody who can reach the port may use the service, from other machines, too."""
        if self.api_keys or self.api_keys_file:
            return False
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"

    @property
    def engine_cache(self) -> Path:
        """Folder of converted models."""
        return self.engine_cache_dir or self.data_dir / "engine-cache"

    @property
    def max_dataset_bytes(self) -> int:
        """`max_dataset_mb` in bytes."""
        return self.max_dataset_mb * 1024 * 1024

    @property
    def max_upload_bytes(self) -> int:
        """`max_upload_mb` in bytes."""
        return self.max_upload_mb * 1024 * 1024

    @property
    def max_video_bytes(self) -> int:
        """`max_video_mb` in bytes."""
        return self.max_video_mb * 1024 * 1024


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read from the environment at the first call."""
    return Settings()
