"""Advisory locks (flock) on files: the kernel drops them with the process that held them, however it died."""

import contextlib
import fcntl
import os
import time
from pathlib import Path

POLL_S = 0.01


class LockTimeout(Exception):
    """A lock stayed with somebody else for too long."""


def open_lock(path: Path) -> int:
    """A descriptor of its own for the lock file, made when missing; flock belongs to the descriptor, not the process."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(descriptor: int, *, exclusive: bool) -> bool:
    """Take the lock, or change its mode, without waiting; False when somebody else has it."""
    mode = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take(path: Path, *, exclusive: bool, timeout_s: float) -> int:
    """A descriptor that holds the lock; raises LockTimeout.

    A file that was deleted or replaced while we waited is opened again: a lock on a nameless file binds nobody.
    """
    end = time.monotonic() + timeout_s
    while True:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the folder went away between the two lines: make it again
            descriptor = open_lock(path)
            if try_lock(descriptor, exclusive=exclusive) and still_names(path, descriptor):
                return descriptor
            os.close(descriptor)
        if time.monotonic() > end:
            raise LockTimeout(f"{path} was held by another process for {timeout_s:.0f} s")
        time.sleep(POLL_S)


def take_folder(path: Path, *, timeout_s: float) -> int:
    """A descriptor that holds the folder itself, exclusively; raises LockTimeout, or FileNotFoundError where it is missing.

    systemd-tmpfiles, which empties /tmp of what is old, leaves locked folders alone.
    """
    end = time.monotonic() + timeout_s
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if try_lock(descriptor, exclusive=True) and still_names(path, descriptor):
            return descriptor
        os.close(descriptor)
        if time.monotonic() > end:
            raise LockTimeout(f"{path} was held by another process for {timeout_s:.0f} s")
        time.sleep(POLL_S)


def still_names(path: Path, descriptor: int) -> bool:
    """Whether the path still leads to the file behind the descriptor."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock exclusively now."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        return try_lock(descriptor, exclusive=False)
    finally:
        os.close(descriptor)
