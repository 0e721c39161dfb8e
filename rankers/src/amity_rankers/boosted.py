"""LightGBM's trees, scored through the C interface of its library.

`import lightgbm` brings scikit-learn and scipy with it: 86 MB and 2.8 s in every replica, for nothing that scoring needs. The
library and a model take 5 MB and 0.06 s. It is loaded with the first trees, and needs the system's `libgomp`.
"""

import ctypes
import importlib.util
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amity_rankers.contract import Floats

Doubles = NDArray[np.float64]

_FLOAT32 = 0
_BY_ROW = 1
_RAW, _CONTRIBUTIONS = 1, 3
_QUIET = b"num_threads=1 verbosity=-1"
"""One thread: replicas have a core each, and requests are what runs side by side."""


class Trees:
    """A model out of LightGBM's text, `names` being the features it was grown on. Safe to call from two threads.

    The text must be one that LightGBM has written: some that was changed since makes the library end the process. Whoever
    keeps it keeps a digest too.
    """

    def __init__(self, text: str) -> None:
        """Raises ValueError when the library refuses the text, OSError when there is no library."""
        self.text = text
        self.names = _names(text)
        self._handle, n_rounds = ctypes.c_void_p(), ctypes.c_int()
        _call("BoosterLoadModelFromString", text.encode(), ctypes.byref(n_rounds), ctypes.byref(self._handle))
        weakref.finalize(self, _library().LGBM_BoosterFree, self._handle).atexit = False

    def margins(self, features: Floats) -> Doubles:
        """The sum of all trees, float64, shape (n,)."""
        return self._predict(features, _RAW, 1)[:, 0]

    def shap(self, features: Floats) -> Doubles:
        """What each feature adds to the margin against the average example, float64, shape (n, len(names) + 1); the last column
        is the margin of that average, so that a row adds up to the candidate's margin.

        Exact SHAP values of trees. Source: Lundberg, Erion, Lee, "Consistent individualized feature attribution", 2018.
        """
        return self._predict(features, _CONTRIBUTIONS, len(self.names) + 1)

    def _predict(self, features: Floats, kind: int, n_columns: int) -> Doubles:
        n_rows, n_features = features.shape
        if n_features != len(self.names):
            raise ValueError(f"{n_features} features, and the trees were grown on {len(self.names)}")
        values = np.ascontiguousarray(features, np.float32)
        result = np.empty((n_rows, n_columns))
        if n_rows:
            matrix = ctypes.c_void_p(values.ctypes.data), _FLOAT32, ctypes.c_int32(n_rows), ctypes.c_int32(n_features), _BY_ROW
            wanted = kind, 0, -1, _QUIET  # of all trees, from the first to the last
            length, into = ctypes.c_int64(), ctypes.c_void_p(result.ctypes.data)
            _call("BoosterPredictForMat", self._handle, *matrix, *wanted, ctypes.byref(length), into)
        return result


def _names(text: str) -> tuple[str, ...]:
    line = next((line for line in text.splitlines() if line.startswith("feature_names=")), None)
    if line is None:
        raise ValueError("the text is no model of LightGBM")
    return tuple(line.removeprefix("feature_names=").split())


def _call(name: str, *arguments: Any) -> None:
    """A function of LightGBM's C interface; its error becomes a ValueError."""
    library = _library()
    if getattr(library, f"LGBM_{name}")(*arguments):
        raise ValueError(f"LightGBM: {library.LGBM_GetLastError().decode(errors='replace')}")


@cache
def _library() -> ctypes.CDLL:
    """The library inside the package `lightgbm`, which need not be imported for it."""
    package = importlib.util.find_spec("lightgbm")
    if package is None or package.origin is None:
        raise OSError("LightGBM is not installed")
    files = sorted(Path(package.origin).parent.glob("*/lib_lightgbm.*"))
    if not files:
        raise OSError(f"no lib_lightgbm beside {package.origin}")
    library = ctypes.CDLL(str(files[0]))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library
