"""Who is in which arm: a salted hash, the same in every process and every language, with no look-up.

    bucket(salt, unit) = the first 8 bytes of BLAKE2b(salt + ":" + unit), digest size 8, read big-endian, modulo 10,000

The text is UTF-8. `unit` is the viewer's id in decimal, or `c` and the number of the viewer's cluster in decimal. Each experiment
hashes twice. Whether a unit takes part: with the salt `layer:` + the layer's name, or `experiment:` + the experiment's salt where
it has no layer; it does when the bucket is among those that the experiment was given. Which arm it is in: with the salt `arm:` +
the experiment's salt, by the arms' weights. The second does not know of the first, so that ramping moves nobody between arms.
"""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

from service.domain_experiments import N_BUCKETS, Experiment

DIGEST_BYTES = 8


def bucket(salt: str, unit: str) -> int:
    """0 to 9,999; of 2^64 values, so that the first buckets are likelier by less than 10^-15."""
    return int.from_bytes(blake2b(f"{salt}:{unit}".encode(), digest_size=DIGEST_BYTES).digest(), "big") % N_BUCKETS


def share_salt(experiment: Experiment) -> str:
    """The salt that decides who takes part: experiments of one layer have it in common."""
    return f"experiment:{experiment.salt}" if experiment.layer is None else f"layer:{experiment.layer}"


def arm_salt(experiment: Experiment) -> str:
    return f"arm:{experiment.salt}"


def bounds(weights: Sequence[float]) -> tuple[int, ...]:
    """Where each arm's buckets end: floor(10,000 × the weights up to and with this arm / all weights + 1/2).

    The last is 10,000. Weights are summed from the first to the last; they are finite and positive.
    """
    sums = list(accumulate(weights))
    return tuple(int(N_BUCKETS * so_far / sums[-1] + 0.5) for so_far in sums)
