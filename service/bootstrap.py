"""What must be settled before numpy is imported: the number of threads, and where `libgomp.so.1` is.

`prepare` is the first thing that a process of ours calls, before any import of numpy, scikit-learn or LightGBM.
"""

import ctypes
import glob
import hashlib
import importlib.util
import os
import sys
from pathlib import Path

from service.errors import OperatorError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_THREADS_SET = "_AMITY_THREADS_SET"
LIBGOMP = "libgomp.so.1"


def prepare(threads: int | None) -> None:
    """Set the threads of OpenMP and BLAS, and make libgomp loadable; may start this process again, once.

    `threads`: 1 for serving, where the requests are what runs side by side (a FAISS search from a pool of threads took
    0.06 s, against 0.29 s with the default); None for training, to use all cores. What the user has set stands.
    Raises OperatorError when libgomp is missing and cannot be provided.
    """
    _set_threads(threads)
    if sys.platform.startswith("linux") and not _loads(LIBGOMP):
        _start_again_with_libgomp()


def _set_threads(threads: int | None) -> None:
    inherited = os.environ.pop(_THREADS_SET, None)  # a parent of ours set it for itself, not for us
    for variable in THREAD_VARIABLES:
        if inherited is not None and os.environ.get(variable) == inherited:
            del os.environ[variable]
        if threads is not None:
            os.environ.setdefault(variable, str(threads))
    if threads is not None:
        os.environ[_THREADS_SET] = str(threads)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _start_again_with_libgomp() -> None:
    """LightGBM and implicit need the system's libgomp, which a bare Debian lacks and scikit-learn's wheel brings.

    The loader reads LD_LIBRARY_PATH only when a process starts, hence the second start. Linking to scikit-learn's very
    file, the process has one OpenMP runtime, not two.
    """
    folder = str(_link(_copy_of_scikit_learn()))
    searched = [entry for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if entry]
    if folder in searched:  # this is the second start already
        raise OperatorError(f"{LIBGOMP} is missing and scikit-learn's copy cannot be loaded: install libgomp1")
    os.environ["LD_LIBRARY_PATH"] = ":".join([folder, *searched])
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _copy_of_scikit_learn() -> Path:
    found = importlib.util.find_spec("sklearn")
    if found is not None and found.origin is not None:
        libraries = Path(found.origin).resolve().parents[1] / "scikit_learn.libs"
        for name in sorted(glob.glob("libgomp-*.so*", root_dir=libraries)):
            return libraries / name
    raise OperatorError(f"{LIBGOMP} is missing, and so is scikit-learn's copy of it: install libgomp1")


def _link(target: Path) -> Path:
    """A folder under AMITY_HOME that holds nothing but the link; one for each installation."""
    home = Path(os.environ.get("AMITY_HOME") or "~/.amity").expanduser().absolute()
    folder = home / "lib" / hashlib.blake2b(os.fsencode(target), digest_size=6).hexdigest()
    link = folder / LIBGOMP
    fresh = folder / f"{LIBGOMP}.{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(link)
    except OSError as error:
        raise OperatorError(f"{LIBGOMP} is missing and {folder} cannot be made ({error.strerror}): install libgomp1") from error
    return folder
