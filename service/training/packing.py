"""A ranker's way into a bundle: trained, dumped as plain arrays, loaded again to see that it can be, written."""

from typing import Any

import numpy as np
from amity_rankers.contract import Ranker, TrainingExamples
from numpy.typing import NDArray

from service.artifacts.bundle import RankerEntry
from service.artifacts.store import BundleWriter
from service.errors import PluginBroken
from service.plugins import ARRAY_NAME, Arrays, InstalledRanker, array_prefix, foreign, load_ranker


def train_ranker(installed: InstalledRanker, examples: TrainingExamples) -> Ranker:
    """A ranker fitted on `examples`. Raises PluginBroken with whatever went wrong in there."""
    with foreign("cannot be trained"):
        return installed.factory.train(examples)


def pack_ranker(installed: InstalledRanker, ranker: Ranker) -> tuple[Arrays, Ranker]:
    """A trained ranker as the arrays of a bundle, and as a replica will have it: loaded from them, read-only as they are there.

    Raises PluginBroken when what it dumps is not plain arrays, or when it cannot load what it has dumped.
    """
    arrays: dict[str, NDArray[Any]] = {}
    with foreign("cannot be dumped"):
        for name, values in installed.factory.dump(ranker).items():
            array = np.array(values)
            if not ARRAY_NAME.fullmatch(name) or array.dtype.kind not in "biuf":
                raise PluginBroken(f"dumps {name!r} of dtype {array.dtype}: not a plain array")
            array.flags.writeable = False
            arrays[name] = array
    return arrays, load_ranker(installed, arrays)


def add_ranker(writer: BundleWriter, installed: InstalledRanker, arrays: Arrays) -> RankerEntry:
    """Write a packed ranker's arrays into a bundle; gives its entry for the manifest."""
    for name, values in arrays.items():
        writer.array(f"{array_prefix(installed.name)}{name}", values)
    return RankerEntry(installed.factory.version, tuple(installed.factory.required_features), installed.distribution)
