"""Who takes part in an experiment and in which arm, straight from the definition: what routing is held to."""

from service.domain_experiments import Experiment
from service.experiments.assignment import arm_salt, bounds, bucket, share_salt


def takes_part(experiment: Experiment, unit: str) -> bool:
    found = bucket(share_salt(experiment), unit)
    return any(start <= found < end for start, end in experiment.buckets)


def arm_index(experiment: Experiment, unit: str) -> int:
    """The arm of a unit, whether or not it takes part."""
    found = bucket(arm_salt(experiment), unit)
    return sum(found >= end for end in bounds([arm.weight for arm in experiment.arms]))
