"""Where bundles are kept and how they come to be: staged, synced, then published by one rename or one last upload."""

import errno
import math
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO, Any, Self

import fsspec
import msgspec
import numpy as np
import xxhash
from numpy.typing import ArrayLike

from service.artifacts.bundle import (
    MANIFEST,
    NAME,
    SCHEMA,
    Bundle,
    FileEntry,
    Manifest,
    digest,
    map_file,
    open_folder,
    read_manifest,
)
from service.errors import BadSetting, BundleInvalid

_PLAIN_KINDS = "biuf"
_STALE_S = 86_400
_UNREACHED = (("botocore.exceptions", "BotoCoreError"), ("aiohttp.client_exceptions", "ClientError"))
"""What drivers of fsspec let through when nobody answers or there are no credentials: only refusals become OSError in them."""


def new_version(now: datetime, salt: str) -> str:
    """`20261122T101500-5f3c`: the time in UTC (`now` must know its zone) and four hexadecimal digits of the salt.

    The salt is what else tells two bundles of one second apart: the seed and a digest of the content, say.
    """
    if now.tzinfo is None:
        raise ValueError("the time of a version must know its zone")
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{xxhash.xxh3_64_hexdigest(salt.encode())[:4]}"


class Store:
    """Where bundles are kept: a folder, or any URL that fsspec understands, with `cache_dir` as its local copy."""

    def __init__(self, location: str | Path, cache_dir: Path) -> None:
        try:
            filesystem, self._root = fsspec.url_to_fs(str(location))
        except (ImportError, ValueError) as exc:
            raise BadSetting(f"bundles cannot be kept at {str(location)!r}: {exc}") from exc
        self.location = str(location)
        self._remote = None if "file" in _protocols(filesystem) else filesystem
        self.folder = cache_dir if self._remote else Path(self._root)

    def open(self, version: str) -> Bundle:
        """The bundle, with every size and checksum verified. Raises BundleInvalid saying which file is wrong, and how."""
        _check_version(version)
        if self._remote is None:
            return open_folder(self.folder / version, version)
        with suppress(BundleInvalid):  # absent from the cache or damaged there: the remote copy decides
            return open_folder(self.folder / version, version)
        return self._fetch(version)

    def check(self, version: str) -> Manifest:
        """The manifest of a bundle that is there. Where bundles are kept elsewhere nothing else is fetched: a look at all of them
        would fill a replica's disk. Raises BundleInvalid."""
        _check_version(version)
        if self._remote is None:
            return open_folder(self.folder / version, version).manifest
        with TemporaryDirectory() as folder:
            try:
                with _reaching():
                    self._remote.get_file(f"{self._root}/{version}/{MANIFEST}", f"{folder}/{MANIFEST}")
            except OSError as exc:
                raise BundleInvalid(f"bundle {version}: cannot be fetched from {self.location}: {exc}") from exc
            return read_manifest(Path(folder), version)

    def versions(self) -> list[str]:
        """Versions of the complete bundles, newest first."""
        if self._remote is None:
            found = [path.parent.name for path in self.folder.glob(f"*/{MANIFEST}")]
        else:
            self._remote.invalidate_cache()
            with _reaching():
                found = [str(path).split("/")[-2] for path in self._remote.glob(f"{self._root}/*/{MANIFEST}")]
        return sorted((name for name in found if NAME.fullmatch(name)), reverse=True)

    def delete(self, version: str) -> None:
        """Remove a bundle; nothing happens when there is none. Those who have it open keep it. Raises OSError."""
        _check_version(version)
        if self._remote is not None:
            with _reaching():
                if self._remote.exists(f"{self._root}/{version}"):
                    self._remote.rm(f"{self._root}/{version}", recursive=True)
        _remove(self.folder / version)

    def drop_copies(self, kept: Collection[str]) -> list[str]:
        """Remove the local copies of all bundles but these; their versions. Nothing is lost: a copy is fetched anew when it is
        needed, and those who have it open keep it. A store that is a folder has no copies."""
        if self._remote is None:
            return []
        copies = {path.parent.name for path in self.folder.glob(f"*/{MANIFEST}")}
        old = sorted(name for name in copies - set(kept) if NAME.fullmatch(name))  # not what is being staged
        for version in old:
            _remove(self.folder / version)
        return old

    def put(self, staged: Path, manifest: Manifest) -> None:
        """Publish a folder that a BundleWriter has filled and synced. Raises BundleInvalid when the version is taken."""
        _sync_folder(staged)
        if self._remote is None:
            taken = not _installed(staged, self.folder / manifest.version)
        else:
            target = f"{self._root}/{manifest.version}"
            with _reaching():
                taken = self._remote.exists(f"{target}/{MANIFEST}")
                for file in () if taken else (*manifest.files, MANIFEST):  # the manifest last: until then it is no bundle
                    self._remote.put_file(str(staged / file), f"{target}/{file}")
        if taken:
            raise BundleInvalid(f"bundle {manifest.version}: exists already; a published bundle never changes")

    def _fetch(self, version: str) -> Bundle:
        """Copy a bundle into the cache and open it. Another process may do the same meanwhile: either copy is as good."""
        assert self._remote is not None
        staged = _staging(self.folder)
        source = f"{self._root}/{version}"
        try:
            with _reaching():
                self._remote.get_file(f"{source}/{MANIFEST}", str(staged / MANIFEST))
                for file in read_manifest(staged, version).files:
                    self._remote.get_file(f"{source}/{file}", str(staged / file))
            bundle = open_folder(staged, version)
            _remove(self.folder / version)
            _installed(staged, self.folder / version)
        except OSError as exc:
            raise BundleInvalid(f"bundle {version}: cannot be fetched from {self.location}: {exc}") from exc
        finally:
            _remove(staged)
        return bundle


class BundleWriter:
    """Writes a bundle's files to a staging folder beside the store's; `publish` makes them a bundle, or nothing does.

    Used with `with`: leaving without `publish` removes what was written.
    """

    def __init__(self, store: Store, version: str) -> None:
        _check_version(version)
        self.version = version
        self._store = store
        with _writing(version):
            self._folder = _staging(store.folder)
        self._files: dict[str, FileEntry] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        _remove(self._folder)

    def array(self, name: str, values: ArrayLike) -> None:
        """Add an array of booleans, integers or floats, any shape. Raises ValueError for other dtypes and for bad names."""
        plain = np.asarray(values, order="C")
        if plain.dtype.kind not in _PLAIN_KINDS:
            raise ValueError(f"array {name!r} has dtype {plain.dtype}; bundles hold booleans, integers and floats")
        self._write(f"{name}.npy", lambda file: np.lib.format.write_array(file, plain, allow_pickle=False))

    def blob(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Add bytes. Raises ValueError for bad names."""
        self._write(f"{name}.bin", lambda file: file.write(data))

    def publish(self, manifest: Manifest) -> Manifest:
        """Make the files a bundle, durably and at once; gives the manifest as written. The writer cannot be used again.

        A metric that is not finite is undefined, and left out. Raises BundleInvalid when the version is taken.
        """
        metrics = {name: value for name, value in manifest.metrics.items() if math.isfinite(value)}
        whole = msgspec.structs.replace(manifest, schema=SCHEMA, version=self.version, files=self._files, metrics=metrics)
        text = msgspec.json.format(msgspec.json.encode(whole), indent=1)
        with _writing(self.version):
            _write_synced(self._folder / MANIFEST, lambda file: file.write(text))
            self._store.put(self._folder, whole)
        return whole

    def _write(self, file_name: str, fill: Callable[[IO[bytes]], Any]) -> None:
        if not NAME.fullmatch(file_name):
            raise ValueError(f"{file_name!r} is no name for a file of a bundle")
        if file_name in self._files:
            raise ValueError(f"{file_name!r} is in the bundle already")
        path = self._folder / file_name
        with _writing(self.version):
            _write_synced(path, fill)
            view = map_file(path)
        self._files[file_name] = FileEntry(bytes=len(view), xxh3=digest(view))


@contextmanager
def _reaching() -> Iterator[None]:
    """Makes OSError of what else a driver raises when its store cannot be reached."""
    try:
        yield
    except _unreached() as exc:
        raise OSError(str(exc)) from exc


def _unreached() -> tuple[type[Exception], ...]:
    """Of the drivers that are loaded: they are extras, and most processes have none."""
    return tuple(getattr(sys.modules[module], name) for module, name in _UNREACHED if module in sys.modules)


@contextmanager
def _writing(version: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:  # a full disk, a folder that may not be written, a store that is away
        raise BundleInvalid(f"bundle {version}: cannot be written: {exc}") from exc


def _write_synced(path: Path, fill: Callable[[IO[bytes]], Any]) -> None:
    with path.open("xb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())


def _staging(folder: Path) -> Path:
    """A fresh hidden folder beside the bundles; those that killed processes left a day ago and more are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".staging-*"):
        with suppress(FileNotFoundError):  # its owner was quicker
            if time.time() - left.stat().st_mtime > _STALE_S:
                _remove(left)
    fresh = folder / f".staging-{secrets.token_hex(8)}"
    fresh.mkdir()
    return fresh


def _installed(staged: Path, folder: Path) -> bool:
    """Rename into place, to outlast a power cut; False when something of that name is there already."""
    try:
        os.rename(staged, folder)
    except OSError as exc:
        if exc.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    _sync_folder(folder.parent)
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):  # gone is what was asked
        shutil.rmtree(folder)


def _check_version(version: str) -> None:
    if not NAME.fullmatch(version):
        raise BundleInvalid(f"{version!r} is no version of a bundle")


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
