"""Bundles survive a round trip, and nothing that is not whole is ever read."""

import errno
import os
import sys
import types
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import numpy as np
import pytest

from service.artifacts.bundle import MANIFEST, BlobFile, Bundle, FileEntry, Manifest, RankerEntry, digest
from service.artifacts.store import BundleWriter, Store, new_version
from service.domain import FeedPosition
from service.errors import BadSetting, BundleInvalid

VERSION = "20261122T101500-5f3c"
NOW = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)


def manifest(**changes: object) -> Manifest:
    plain = Manifest(
        created_at=NOW,
        window_start=NOW - timedelta(days=30),
        window_end=NOW,
        seed=7,
        feed_position=FeedPosition(xid=900, change_id=12),
        n_people=3,
        n_interactions=5,
        rankers={"v1": RankerEntry(version="1", required_features=("a", "b"), distribution="amity-rankers")},
        metrics={"ndcg": 0.25},
    )
    return msgspec.structs.replace(plain, **changes)


def publish(store: Store, version: str = VERSION) -> Manifest:
    with BundleWriter(store, version) as writer:
        writer.array("people.id", np.arange(1, 4))
        writer.array("vectors.p", np.ones((3, 2), np.float32))
        writer.blob("profiles", b"three people")
        return writer.publish(manifest())


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """The same behaviour is asked of a folder and of a remote store with its cache."""
    if request.param == "folder":
        return Store(tmp_path / "bundles", tmp_path / "cache")
    return Store(f"memory://{tmp_path.name}-{id(request)}", tmp_path / "cache")


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(tmp_path / "bundles", tmp_path / "cache")


def refused(store: Store, version: str = VERSION) -> str:
    with pytest.raises(BundleInvalid) as caught:
        store.open(version)
    return str(caught.value)


def test_what_was_written_is_read(store: Store) -> None:
    publish(store)
    bundle = store.open(VERSION)
    assert bundle.array("people.id").tolist() == [1, 2, 3]
    assert bundle.array("vectors.p").dtype == np.float32
    assert bytes(bundle.blob("profiles")) == b"three people"


def test_manifest_comes_back_equal(store: Store) -> None:
    written = publish(store)
    assert store.open(VERSION).manifest == written
    assert written.rankers["v1"].required_features == ("a", "b")


@pytest.mark.parametrize("shape", [(), (0,), (0, 8), (5, 0, 2), (2, 3)])
def test_every_shape_keeps_its_shape(local: Store, shape: tuple[int, ...]) -> None:
    with BundleWriter(local, VERSION) as writer:
        writer.array("x", np.zeros(shape, np.int32))
        writer.publish(manifest())
    assert local.open(VERSION).array("x").shape == shape


def test_transposed_array_keeps_its_values(local: Store) -> None:
    with BundleWriter(local, VERSION) as writer:
        writer.array("x", np.arange(6).reshape(2, 3).T)
        writer.publish(manifest())
    assert local.open(VERSION).array("x").tolist() == [[0, 3], [1, 4], [2, 5]]


def test_empty_blob_is_empty(local: Store) -> None:
    with BundleWriter(local, VERSION) as writer:
        writer.blob("nothing", b"")
        writer.publish(manifest())
    assert bytes(local.open(VERSION).blob("nothing")) == b""


def test_arrays_cannot_be_written_to(local: Store) -> None:
    publish(local)
    with pytest.raises(ValueError, match="read-only"):
        local.open(VERSION).array("people.id")[0] = 9


def test_names_are_found_by_prefix(local: Store) -> None:
    publish(local)
    bundle = local.open(VERSION)
    assert bundle.names("p") == ["people.id", "profiles"]
    assert "profiles" in bundle.names()
    assert "people" not in bundle.names()


def test_absent_array_is_named(local: Store) -> None:
    publish(local)
    with pytest.raises(BundleInvalid, match=r"no array 'vectors\.q'"):
        local.open(VERSION).array("vectors.q")


def test_absent_blob_is_named(local: Store) -> None:
    publish(local)
    with pytest.raises(BundleInvalid, match=r"no blob 'people\.id'"):
        local.open(VERSION).blob("people.id")


@pytest.mark.parametrize("file", ["people.id.npy", "profiles.bin"])
def test_any_flipped_byte_is_noticed(local: Store, file: str) -> None:
    publish(local)
    path = local.folder / VERSION / file
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert f"{file} is damaged" in refused(local)


def test_truncated_file_is_named_with_its_sizes(local: Store) -> None:
    publish(local)
    (local.folder / VERSION / "profiles.bin").write_bytes(b"three")
    assert "profiles.bin has 5 bytes instead of 12" in refused(local)


def test_file_truncated_to_nothing_is_named(local: Store) -> None:
    publish(local)
    (local.folder / VERSION / "people.id.npy").write_bytes(b"")
    assert "people.id.npy has 0 bytes" in refused(local)


def test_missing_file_is_named(local: Store) -> None:
    publish(local)
    (local.folder / VERSION / "people.id.npy").unlink()
    assert "people.id.npy is missing" in refused(local)


def test_missing_manifest_is_no_bundle(local: Store) -> None:
    publish(local)
    (local.folder / VERSION / MANIFEST).unlink()
    assert f"there is no {MANIFEST}" in refused(local)
    assert local.versions() == []


def test_unknown_version_is_refused(store: Store) -> None:
    assert VERSION in refused(store)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"schema": 2}', b'\xff\xfe{"schema": 1}', b"null"])
def test_damaged_manifest_is_refused(local: Store, text: bytes) -> None:
    publish(local)
    (local.folder / VERSION / MANIFEST).write_bytes(text)
    assert "is damaged" in refused(local)


def test_foreign_schema_is_named(local: Store) -> None:
    publish(local)
    (local.folder / VERSION / MANIFEST).write_bytes(b'{"schema": 1, "anything": []}')
    assert "has schema 1, and this release reads 2" in refused(local)


def test_bundle_under_another_version_is_refused(local: Store) -> None:
    publish(local)
    (local.folder / VERSION).rename(local.folder / "other")
    assert f"is that of '{VERSION}'" in refused(local, "other")


def rewrite_manifest(store: Store, files: dict[str, FileEntry]) -> None:
    path = store.folder / VERSION / MANIFEST
    changed = msgspec.structs.replace(msgspec.json.decode(path.read_bytes(), type=Manifest), files=files)
    path.write_bytes(msgspec.json.encode(changed))


@pytest.mark.parametrize("file", ["../secret.bin", "/etc/passwd", "a/b.npy", ".hidden.npy", "", "x.npy\n", "run.py"])
def test_manifest_cannot_name_a_file_elsewhere(local: Store, file: str) -> None:
    publish(local)
    rewrite_manifest(local, {file: FileEntry(bytes=1, xxh3="00")})
    assert "no name for a file of a bundle" in refused(local)


@pytest.mark.parametrize("version", ["../other", "a/b", "", ".staging-1", "x\0"])
def test_version_cannot_lead_out_of_the_store(store: Store, version: str) -> None:
    assert "no version of a bundle" in refused(store, version)
    with pytest.raises(BundleInvalid):
        store.delete(version)


def smuggle(store: Store, content: bytes) -> None:
    """Put a file with a right checksum into a published bundle: the work of someone who knows the format."""
    publish(store)
    (store.folder / VERSION / "people.id.npy").write_bytes(content)
    entry = FileEntry(bytes=len(content), xxh3=digest(memoryview(content)))
    rewrite_manifest(store, {"people.id.npy": entry})


def test_array_of_objects_is_never_unpickled(local: Store, tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    smuggle(local, (tmp_path / "evil.npy").read_bytes())
    assert "people.id.npy holds Python objects" in refused(local)


def test_what_the_system_has_in_memory_is_at_hand_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "profiles.bin").write_bytes(b"0123456789")
    file = BlobFile(tmp_path / "profiles.bin")
    if (found := file.at_hand(2, 5)) is None:
        pytest.skip("this system does not say what it has in memory")
    assert (bytes(found), file.at_hand(8, 11)) == (b"234", None)

    def on_disk(*_: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "")

    monkeypatch.setattr(os, "preadv", on_disk)
    assert (file.at_hand(2, 5), file.read(2, 5)) == (None, b"234")


def headed(head: str) -> bytes:
    """A file of an array with this header."""
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + bytes(64)


@pytest.mark.parametrize(
    "content",
    [
        b"not an array at all",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"",
        b"\x93NUMPY\x09\x00",
        headed("("),
        headed("-" * 9000 + "1"),
        headed("1+" * 4000 + "1"),
        headed(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**70},)}}"),
    ],
)
def test_what_is_no_array_is_refused(local: Store, content: bytes) -> None:
    smuggle(local, content)
    assert "people.id.npy is no plain array" in refused(local)


def test_array_longer_than_its_file_is_refused(local: Store, tmp_path: Path) -> None:
    np.save(tmp_path / "long.npy", np.arange(100))
    smuggle(local, (tmp_path / "long.npy").read_bytes()[:-8])
    assert "people.id.npy is no plain array" in refused(local)


def test_objects_are_not_written(local: Store) -> None:
    with BundleWriter(local, VERSION) as writer, pytest.raises(ValueError, match="dtype object"):
        writer.array("x", np.array([None]))


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", ""])
def test_bad_names_are_not_written(local: Store, name: str) -> None:
    with BundleWriter(local, VERSION) as writer, pytest.raises(ValueError, match="no name"):
        writer.array(name, np.zeros(1))


def test_name_cannot_be_given_twice(local: Store) -> None:
    with BundleWriter(local, VERSION) as writer:
        writer.array("x", np.zeros(1))
        with pytest.raises(ValueError, match="already"):
            writer.array("x", np.zeros(1))


def test_abandoned_writer_leaves_nothing(local: Store) -> None:
    with BundleWriter(local, VERSION) as writer:
        writer.array("x", np.zeros(1))
    assert list(local.folder.iterdir()) == []


def test_unpublished_bundle_is_not_listed(store: Store) -> None:
    with BundleWriter(store, VERSION) as writer:
        writer.array("x", np.zeros(1))
        assert store.versions() == []


def test_published_version_never_changes(store: Store) -> None:
    first = publish(store)
    with pytest.raises(BundleInvalid, match="exists already"):
        publish(store)
    assert store.open(VERSION).manifest == first


def test_undefined_metric_is_left_out(local: Store) -> None:
    with BundleWriter(local, VERSION) as writer:
        writer.publish(manifest(metrics={"auc": float("nan"), "ndcg": 0.5}))
    assert local.open(VERSION).manifest.metrics == {"ndcg": 0.5}


def test_versions_come_newest_first(store: Store) -> None:
    for version in ("20260101T000000-aaaa", "20270101T000000-bbbb", "20260601T000000-cccc"):
        publish(store, version)
    assert [version[:6] for version in store.versions()] == ["202701", "202606", "202601"]


def test_deleted_bundle_is_gone_but_stays_readable_where_open(store: Store) -> None:
    publish(store)
    bundle = store.open(VERSION)
    store.delete(VERSION)
    assert store.versions() == []
    assert bundle.array("people.id").tolist() == [1, 2, 3]
    assert VERSION in refused(store)


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    store.delete(VERSION)
    assert store.versions() == []


def test_url_is_read_through_the_cache(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}"
    publish(Store(url, tmp_path / "writer"))
    reader = Store(url, tmp_path / "reader")
    reader.open(VERSION)
    assert reader._remote is not None
    reader._remote.rm(f"/{tmp_path.name}", recursive=True)
    assert isinstance(reader.open(VERSION), Bundle)


def test_upload_that_breaks_off_leaves_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"memory://{tmp_path.name}", tmp_path / "writer")
    assert store._remote is not None
    put_file, sent = store._remote.put_file, list[str]()

    def break_off(source: str, target: str) -> None:
        if len(sent) == 2:
            raise ConnectionResetError("the store is away")
        put_file(source, target)
        sent.append(target)

    monkeypatch.setattr(store._remote, "put_file", break_off)
    with pytest.raises(BundleInvalid, match="the store is away"):
        publish(store)
    assert store.versions() == []


def test_damaged_cache_is_fetched_again(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}"
    publish(Store(url, tmp_path / "writer"))
    reader = Store(url, tmp_path / "reader")
    reader.open(VERSION)
    (tmp_path / "reader" / VERSION / "profiles.bin").write_bytes(b"??")
    assert bytes(reader.open(VERSION).blob("profiles")) == b"three people"


def test_damaged_remote_copy_is_refused_and_not_cached(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}"
    store = Store(url, tmp_path / "writer")
    publish(store)
    assert store._remote is not None
    store._remote.pipe_file(f"/{tmp_path.name}/{VERSION}/profiles.bin", b"?" * 12)
    reader = Store(url, tmp_path / "reader")
    assert "profiles.bin is damaged" in refused(reader)
    assert list(reader.folder.iterdir()) == []


class Unreached(Exception):
    """What botocore raises where nobody answers: no OSError."""


def nobody_answers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = types.ModuleType("botocore.exceptions")
    monkeypatch.setattr(driver, "BotoCoreError", Unreached, raising=False)
    monkeypatch.setitem(sys.modules, "botocore.exceptions", driver)

    def fail(*_: object) -> None:
        raise Unreached("no endpoint")

    for name in ("get_file", "put_file", "exists", "glob"):
        monkeypatch.setattr(store._remote, name, fail)


def test_store_that_nobody_answers_for_refuses_its_bundles_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"memory://{tmp_path.name}", tmp_path / "cache")
    nobody_answers(store, monkeypatch)
    assert refused(store) == f"bundle {VERSION}: cannot be fetched from memory://{tmp_path.name}: no endpoint"
    with pytest.raises(BundleInvalid, match="cannot be written: no endpoint"):
        publish(store)
    with pytest.raises(OSError, match="no endpoint"):
        store.delete(VERSION)
    with pytest.raises(OSError, match="no endpoint"):
        store.versions()


def test_bundle_in_the_cache_opens_while_its_store_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(Store(f"memory://{tmp_path.name}", tmp_path / "writer"))
    store = Store(f"memory://{tmp_path.name}", tmp_path / "cache")
    store.open(VERSION)
    nobody_answers(store, monkeypatch)
    assert store.open(VERSION).version == VERSION


def test_copies_of_other_bundles_are_dropped_and_the_store_keeps_them(tmp_path: Path) -> None:
    url, versions = f"memory://{tmp_path.name}", [f"20261122T10150{second}-5f3c" for second in range(3)]
    store = Store(url, tmp_path / "cache")
    for version in versions:
        publish(Store(url, tmp_path / "writer"), version)
        store.open(version)
    staged = store.folder / ".staging-of-another-process"
    staged.mkdir()
    (staged / MANIFEST).touch()
    assert store.drop_copies({versions[2]}) == versions[:2]
    assert sorted(path.name for path in store.folder.iterdir()) == [staged.name, versions[2]]
    assert store.open(versions[0]).version == versions[0]


def test_a_look_at_a_bundle_kept_elsewhere_leaves_no_copy_of_it(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}"
    written = publish(Store(url, tmp_path / "writer"))
    store = Store(url, tmp_path / "cache")
    assert store.check(VERSION) == written
    assert not store.folder.exists()
    with pytest.raises(BundleInvalid, match=f"{VERSION[:-1]}0: cannot be fetched"):
        store.check(VERSION[:-1] + "0")


def test_a_look_at_a_bundle_in_a_folder_verifies_all_of_it(local: Store) -> None:
    publish(local)
    (local.folder / VERSION / "profiles.bin").write_bytes(b"??")
    with pytest.raises(BundleInvalid, match=r"profiles\.bin"):
        local.check(VERSION)


def test_bundles_of_a_folder_are_no_copies(local: Store) -> None:
    publish(local)
    assert local.drop_copies(()) == []
    assert local.versions() == [VERSION]


def test_location_nobody_can_read_is_a_bad_setting(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="gopher://x"):
        Store("gopher://x", tmp_path)


def test_location_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(BundleInvalid, match="cannot be written"):
        BundleWriter(Store(tmp_path / "taken", tmp_path), VERSION)


def test_version_tells_the_time_in_utc() -> None:
    later = NOW.astimezone(timezone(timedelta(hours=5)))
    assert new_version(later, "a").startswith("20261122T101500-")
    assert len(new_version(NOW, "a")) == len(VERSION)


def test_version_depends_on_the_salt() -> None:
    assert new_version(NOW, "a") != new_version(NOW, "b")
    assert new_version(NOW, "a") == new_version(NOW, "a")


def test_time_without_a_zone_makes_no_version() -> None:
    with pytest.raises(ValueError, match="zone"):
        new_version(datetime(2026, 1, 1), "a")


def test_pages_that_were_touched_are_given_back_and_read_again(tmp_path: Path) -> None:
    store, column = Store(tmp_path / "store", tmp_path / "cache"), np.arange(2_000_000)
    with BundleWriter(store, VERSION) as writer:
        writer.array("people.id", column)
        writer.publish(manifest())
    bundle = store.open(VERSION)
    assert int(bundle.array("people.id").sum()) == int(column.sum())
    touched = resident_bytes(tmp_path)
    bundle.release()
    assert touched >= column.nbytes
    assert resident_bytes(tmp_path) < column.nbytes / 10
    assert int(bundle.array("people.id").sum()) == int(column.sum())


def resident_bytes(folder: Path) -> int:
    """Of the files mapped from a folder, as the system counts them."""
    sizes, of_folder = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            of_folder = str(folder) in line
        elif of_folder and line.startswith("Rss:"):
            sizes += int(line.split()[1]) * 1024
    return sizes
