"""One suite for every store: a folder, moto's S3, and Swift's S3 (which checks signatures and persists)."""

import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from shared.storage import CHUNK, MissingObjectError, RangeError, Storage, content_type_of
from shared.storage.folder import FolderStorage
from shared.storage.s3 import S3Storage
from shared.storage.s3_writer import PART
from tests.shared.conftest import MIB, Place, pattern


def leftovers(store: Storage) -> list[str]:
    """What a writer that ended badly must not leave behind."""
    if isinstance(store, FolderStorage):
        return [path.name for path in (store.root / ".tmp").iterdir()]
    assert isinstance(store, S3Storage)
    answer = store._clients.main.list_multipart_uploads(Bucket=store.bucket)
    return [upload["Key"] for upload in answer.get("Uploads", [])]


class TestRoundTrip:
    @pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, PART, PART + 1, 20 * MIB])
    def test_comes_back_as_it_was(self, store: Storage, size: int) -> None:
        data = pattern(size)
        with store.writer("results/x/annotated.jpg", "image/jpeg") as writer:
            for start in range(0, size, 700_001):
                part = data[start : start + 700_001]
                assert writer.write(part) == len(part)
            assert writer.size == size
        stat = store.stat("results/x/annotated.jpg")
        assert stat is not None
        assert (stat.key, stat.size, stat.content_type) == ("results/x/annotated.jpg", size, "image/jpeg")
        assert stat.modified.tzinfo is UTC
        assert abs(datetime.now(UTC) - stat.modified) < timedelta(seconds=30)
        assert stat.etag
        assert '"' not in stat.etag
        with store.open("results/x/annotated.jpg") as blob:
            assert (blob.stat, blob.first, blob.length) == (stat, 0, size)
            chunks = list(blob)
        assert all(0 < len(chunk) <= CHUNK for chunk in chunks)
        assert b"".join(chunks) == data
        assert leftovers(store) == []

    @pytest.mark.parametrize("size", [0, 5, PART + 5])
    def test_put_and_get(self, store: Storage, size: int) -> None:
        store.put("inputs/x.bin", pattern(size))
        assert store.get("inputs/x.bin") == pattern(size)

    @pytest.mark.parametrize("count", [0, 1, 2, 20])
    def test_put_many(self, store: Storage, count: int) -> None:
        objects = [(f"results/x/{index}.txt", pattern(index * 1000)) for index in range(count)]
        store.put_many(objects)
        assert {key: store.get(key) for key, _ in objects} == dict(objects)

    def test_put_many_says_what_failed(self, store: Storage) -> None:
        with pytest.raises(ValueError, match="not a key"):
            store.put_many([("a.txt", b"a"), ("../b.txt", b"b"), ("c.txt", b"c")])
        assert (store.get("a.txt"), store.get("c.txt")) == (b"a", b"c")

    def test_what_can_be_written(self, store: Storage) -> None:
        with store.writer("a.bin") as writer:
            assert writer.write(b"") == 0
            assert writer.write(bytearray(b"ab")) == 2
            assert writer.write(memoryview(b"-cd-")[1:3]) == 2
        assert store.get("a.bin") == b"abcd"

    def test_overwrite(self, store: Storage) -> None:
        store.put("a/b.json", b"the first, which is longer")
        first = store.stat("a/b.json")
        store.put("a/b.json", b"second")
        second = store.stat("a/b.json")
        assert store.get("a/b.json") == b"second"
        assert first is not None
        assert second is not None
        assert second.etag != first.etag

    def test_small_and_large_replace_each_other(self, store: Storage) -> None:
        large = pattern(PART + 1)
        store.put("a.bin", b"small")
        store.put("a.bin", large)
        assert store.get("a.bin") == large
        store.put("a.bin", b"small")
        assert store.get("a.bin") == b"small"

    def test_blob_closed_early(self, store: Storage) -> None:
        store.put("a.bin", pattern(3 * MIB))
        with store.open("a.bin") as blob:
            next(iter(blob))
        blob.close()
        with pytest.raises(ValueError, match="closed"):
            blob.read()
        assert store.get("a.bin") == pattern(3 * MIB)

    def test_many_threads(self, store: Storage) -> None:
        def turn(number: int) -> bool:
            store.put(f"threads/{number % 5}/{number}.bin", bytes([number]) * 1000)
            return store.get(f"threads/{number % 5}/{number}.bin") == bytes([number]) * 1000

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(turn, range(64)))
        assert len(list(store.list("threads/"))) == 64

    def test_concurrent_writers_of_one_key(self, store: Storage) -> None:
        versions = [bytes([number]) * 50_000 for number in range(8)]

        def write(data: bytes) -> None:
            with store.writer("same/key.bin") as writer:
                for start in range(0, len(data), 10_000):
                    writer.write(data[start : start + 10_000])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, versions))
        assert store.get("same/key.bin") in versions
        assert leftovers(store) == []


class TestRanges:
    DATA = bytes(range(100))

    @pytest.mark.parametrize(
        ("wanted", "given"),
        [
            ((0, None), DATA),
            ((0, 0), DATA[:1]),
            ((10, 19), DATA[10:20]),
            ((99, None), DATA[99:]),
            ((99, 99), DATA[99:]),
            ((50, 1000), DATA[50:]),
        ],
    )
    def test_range(self, store: Storage, wanted: tuple[int, int | None], given: bytes) -> None:
        store.put("a.bin", self.DATA)
        with store.open("a.bin", wanted) as blob:
            assert (blob.first, blob.length, blob.stat.size) == (wanted[0], len(given), 100)
            assert blob.read() == given

    def test_far_into_a_large_object(self, store: Storage) -> None:
        data = pattern(PART + 3 * MIB)
        store.put("a.bin", data)
        with store.open("a.bin", (PART - 5, PART + MIB)) as blob:
            assert blob.read() == data[PART - 5 : PART + MIB + 1]

    @pytest.mark.parametrize(("data", "first"), [(DATA, 100), (DATA, 5000), (b"", 0)])
    def test_behind_the_end(self, store: Storage, data: bytes, first: int) -> None:
        store.put("a.bin", data)
        with pytest.raises(RangeError) as caught:
            store.open("a.bin", (first, None))
        assert caught.value.size == len(data)

    @pytest.mark.parametrize("wanted", [(-1, None), (5, 4), (0, -1)])
    def test_nonsense(self, store: Storage, wanted: tuple[int, int]) -> None:
        store.put("a.bin", self.DATA)
        with pytest.raises(ValueError, match="not a range"):
            store.open("a.bin", wanted)


class TestAtomicity:
    @pytest.mark.parametrize("size", [10, 2 * PART + 10])
    @pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
    def test_failure_in_the_middle(self, store: Storage, size: int, kind: type[BaseException]) -> None:
        with pytest.raises(kind), store.writer("results/x/annotated.mp4") as writer:  # noqa: PT012
            writer.write(bytes(size))
            raise kind
        assert store.stat("results/x/annotated.mp4") is None
        assert list(store.list("")) == []
        assert leftovers(store) == []

    @pytest.mark.parametrize("size", [10, 2 * PART + 10])
    def test_failure_keeps_the_older_object(self, store: Storage, size: int) -> None:
        store.put("a/b.bin", b"older")
        with pytest.raises(RuntimeError), store.writer("a/b.bin") as writer:  # noqa: PT012
            writer.write(bytes(size))
            raise RuntimeError
        assert store.get("a/b.bin") == b"older"
        assert leftovers(store) == []

    @pytest.mark.parametrize("size", [10, 2 * PART + 10])
    def test_unseen_until_commit(self, store: Storage, size: int) -> None:
        writer = store.writer("a/b.bin")
        writer.write(bytes(size))
        assert store.stat("a/b.bin") is None
        assert list(store.list("")) == []
        writer.commit()
        assert store.get("a/b.bin") == bytes(size)
        writer.abort()  # too late: nothing happens
        assert store.stat("a/b.bin") is not None
        with pytest.raises(ValueError, match="committed"):
            writer.write(b"more")
        with pytest.raises(ValueError, match="committed"):
            writer.commit()

    def test_explicit_abort(self, store: Storage) -> None:
        with store.writer("a/b.bin") as writer:
            writer.write(bytes(PART + 1))
            writer.abort()
        assert store.stat("a/b.bin") is None
        assert leftovers(store) == []
        with pytest.raises(ValueError, match="aborted"):
            writer.commit()

    def test_explicit_commit_inside_the_block(self, store: Storage) -> None:
        with store.writer("a/b.bin") as writer:
            writer.write(b"x")
            writer.commit()
        assert store.get("a/b.bin") == b"x"

    def test_sweep(self, store: Storage, place: Place) -> None:
        if place.kind == "moto":
            pytest.skip("moto says of every upload that it began in 2010")
        abandoned = store.writer("a/b.bin")
        abandoned.write(bytes(PART + 1))
        assert len(leftovers(store)) == 1
        assert store.sweep_temporary(timedelta(hours=1)) == 0
        time.sleep(1.1)  # S3 counts in seconds
        assert store.sweep_temporary(timedelta(0)) == 1
        assert leftovers(store) == []
        abandoned.abort()

    def test_prepare_leaves_fresh_writers_alone(self, store: Storage, place: Place) -> None:
        if place.kind == "moto":
            pytest.skip("moto says of every upload that it began in 2010")
        with store.writer("a/b.bin") as writer:
            writer.write(bytes(PART + 1))
            store.prepare()
        assert store.get("a/b.bin") == bytes(PART + 1)


class TestListAndDelete:
    KEYS = ("a.bin", "a/a.bin", "a/b/c.bin", "a/b.bin", "ab/x.bin", "b/A.bin", "b/a-1.bin", "b/a.1.bin", "b/a/1.bin")

    @pytest.fixture
    def filled(self, store: Storage) -> Storage:
        for key in self.KEYS:
            store.put(key, key.encode())
        return store

    def test_everything_in_order(self, filled: Storage) -> None:
        found = list(filled.list(""))
        assert [stat.key for stat in found] == sorted(self.KEYS)
        assert all(stat.size == len(stat.key) for stat in found)
        assert all(stat.modified.tzinfo is UTC and stat.etag for stat in found)

    @pytest.mark.parametrize("prefix", ["a/", "a/b/", "b/", "ab/", "c/", "a/b/c/"])
    def test_below_a_prefix(self, filled: Storage, prefix: str) -> None:
        assert [stat.key for stat in filled.list(prefix)] == sorted(k for k in self.KEYS if k.startswith(prefix))

    def test_stat_agrees(self, filled: Storage) -> None:
        for stat in filled.list(""):
            single = filled.stat(stat.key)
            assert single is not None
            assert (single.size, single.content_type, single.etag) == (stat.size, stat.content_type, stat.etag)

    def test_stopping_early(self, filled: Storage) -> None:
        found = filled.list("")
        assert next(found).key == "a.bin"
        assert isinstance(found, Generator)
        found.close()
        filled.delete_prefix("a/")

    def test_delete(self, filled: Storage) -> None:
        filled.delete("a/b/c.bin")
        filled.delete("a/b/c.bin")
        filled.delete("never/was/there.bin")
        filled.delete("a/b.bin/below-a-file.bin")
        assert [stat.key for stat in filled.list("")] == sorted(set(self.KEYS) - {"a/b/c.bin"})

    def test_delete_prefix(self, filled: Storage) -> None:
        assert filled.delete_prefix("a/") == 3
        assert [stat.key for stat in filled.list("")] == sorted(k for k in self.KEYS if not k.startswith("a/"))
        assert filled.delete_prefix("a/") == 0
        assert filled.delete_prefix("never/") == 0

    def test_not_everything_at_once(self, filled: Storage) -> None:
        with pytest.raises(ValueError, match="everything"):
            filled.delete_prefix("")

    def test_written_again_after_delete(self, filled: Storage) -> None:
        filled.delete_prefix("a/")
        filled.put("a/a.bin", b"new")
        assert [(stat.key, stat.size) for stat in filled.list("a/")] == [("a/a.bin", 3)]


class TestMissing:
    def test_missing(self, store: Storage) -> None:
        assert store.stat("results/none.json") is None
        for read in (store.get, store.open, lambda key: store.open(key, (0, 5))):
            with pytest.raises(MissingObjectError) as caught:
                read("results/none.json")
            assert caught.value.key == "results/none.json"

    def test_folders_are_no_objects(self, store: Storage) -> None:
        store.put("results/x/a.json", b"{}")
        assert store.stat("results/x") is None
        with pytest.raises(MissingObjectError):
            store.get("results")
        with pytest.raises(MissingObjectError):
            store.get("results/x/a.json/b.json")
        store.delete("results/x")
        assert store.get("results/x/a.json") == b"{}"


class TestNames:
    HOSTILE = (
        "", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", "./a", "a/./b", ".tmp/x", "a/.hidden",
        "a\\b", "a b", "a\nb", "a\n", "a\0b", "é", "a%2e%2e/b", "~/a", "a:b", "a?b", "a#b", "C:/x", "a/" + "x" * 201,
        "/".join(["x" * 100] * 9),
    )  # fmt: skip

    def test_hostile_keys(self, store: Storage) -> None:
        calls: list[Callable[[str], object]] = [
            store.writer, store.open, store.get, store.stat, store.delete, lambda key: store.put(key, b""),
            lambda key: store.link(key, filename="x", inline=True), lambda key: store.delete_prefix(key + "/"),
            lambda key: list(store.list(key + "/")),
        ]  # fmt: skip
        for key in self.HOSTILE:
            for call in calls:
                with pytest.raises(ValueError, match="key"):
                    call(key)

    def test_hostile_prefixes(self, store: Storage) -> None:
        for prefix in ("a", "a/b", "/", "a//", "../"):
            with pytest.raises(ValueError, match=r"prefix|key"):
                store.delete_prefix(prefix)
            with pytest.raises(ValueError, match=r"prefix|key"):
                list(store.list(prefix))

    def test_good_keys(self, store: Storage) -> None:
        keys = ["a", "A-1_b.C", "-a/b-", "x" * 200, "a.b.c/d..e", "_/_"]
        for key in keys:
            store.put(key, key.encode())
            assert store.get(key) == key.encode()
        assert [stat.key for stat in store.list("")] == sorted(keys)

    def test_content_types(self, store: Storage) -> None:
        for key, content_type in (
            ("a/annotated.jpg", "image/jpeg"),
            ("a/B.JPEG", "image/jpeg"),
            ("a/mask.png", "image/png"),
            ("a/result.json", "application/json"),
            ("a/annotated.mp4", "video/mp4"),
            ("a/thumbnail.webp", "image/webp"),
            ("a/x.bin", "application/octet-stream"),
            ("a/x", "application/octet-stream"),
            ("a.jpg/x", "application/octet-stream"),
            ("a/x.html", "application/octet-stream"),
            ("a/x.svg", "application/octet-stream"),
        ):
            assert content_type_of(key) == content_type
            store.put(key, b"x", content_type)
            with store.open(key) as blob:
                assert blob.stat.content_type == content_type
            assert [stat.content_type for stat in store.list("") if stat.key == key] == [content_type]

    def test_content_type_that_belongs_to_another_name(self, store: Storage) -> None:
        with pytest.raises(ValueError, match=r"'a\.jpg' names image/jpeg, not text/html"):
            store.writer("a.jpg", "text/html")
        with pytest.raises(ValueError, match="names"):
            store.put("a.jpg", b"", "text/html")
