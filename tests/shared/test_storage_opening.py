"""Which store a URL names, and under which name its files reach a browser."""

from pathlib import Path

import pytest

from shared.settings import Settings
from shared.storage import content_disposition, open_storage
from shared.storage.folder import FolderStorage
from shared.storage.s3 import S3Storage
from tests.shared.conftest import Place


def test_folder_is_the_default(tmp_path: Path) -> None:
    store = open_storage(Settings(data_dir=tmp_path))
    assert isinstance(store, FolderStorage)
    assert store.root.name == "storage"


@pytest.mark.parametrize(
    ("url", "root"),
    [("file:///srv/files", "/srv/files"), ("file://localhost/srv", "/srv"), ("file:///my%20files", "/my files")],
)
def test_folders(url: str, root: str) -> None:
    store = open_storage(Settings(storage_url=url))
    assert isinstance(store, FolderStorage)
    assert str(store.root) == root


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://dropsight", "dropsight", ""),
        ("s3://dropsight/", "dropsight", ""),
        ("s3://my.bucket/a/b/", "my.bucket", "a/b/"),
    ],
)
def test_buckets(url: str, bucket: str, prefix: str) -> None:
    store = open_storage(Settings(storage_url=url))
    assert isinstance(store, S3Storage)
    assert (store.bucket, store.prefix) == (bucket, prefix)


@pytest.mark.parametrize(
    "url",
    [
        "/srv/files", "file://srv/files", "file:///", "s3://", "s3:///x", "s3://Bad_Bucket", "s3://bucket/../x",
        "s3://bucket/a b", "http://host/bucket", "ftp://x/y", "s3://bucket?x=1", "s3://key:secret@bucket", "x",
    ],
)  # fmt: skip
def test_nonsense(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - several messages
        open_storage(Settings(storage_url=url))


def test_folder_store_does_not_load_boto3(folder_place: Place) -> None:
    script = """
        import sys
        from shared.settings import Settings
        from shared.storage import open_storage
        store = open_storage(Settings())
        store.prepare()
        store.put("a.bin", b"x")
        assert not {"boto3", "botocore", "urllib3"} & set(sys.modules)
    """
    folder_place.run(script)


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("dog.jpg", 'filename="dog.jpg"'),
        ("my dog.jpg", 'filename="my dog.jpg"'),
        ("Hündin.jpg", "filename=\"H_ndin.jpg\"; filename*=UTF-8''H%C3%BCndin.jpg"),
        ('a"b\\c.jpg', 'filename="c.jpg"'),
        ('a"; x=y.jpg', "filename=\"a__ x_y.jpg\"; filename*=UTF-8''a%22%3B%20x%3Dy.jpg"),
        ("a\r\nSet-Cookie: x=1", "filename=\"aSet-Cookie_ x_1\"; filename*=UTF-8''aSet-Cookie%3A%20x%3D1"),
        ("../../etc/passwd", 'filename="passwd"'),
        ("", 'filename="file"'),
        ("..", 'filename="file"'),
        ("\ud800", 'filename="file"'),
    ],
)
def test_content_disposition(filename: str, header: str) -> None:
    assert content_disposition(filename, inline=False) == f"attachment; {header}"
    assert content_disposition(filename, inline=True) == f"inline; {header}"
