"""What reports say in words that do not depend on the figures, or hardly."""

from datetime import datetime

from service.domain_experiments import Experiment
from service.experiments.figures import percent
from service.repositories.arm_figures import NEWCOMER_DAYS
from service.repositories.outcomes import BEFORE_DAYS, LATEST_DAYS

METRICS = {
    "matches_per_viewer": "matches per viewer",
    "matches_per_shown": "matches per person shown",
    "like_rate": "likes per person shown",
}
_COUNTING = (
    "Viewers count from their first slate in the experiment. A like counts for the slate that it names, or else for the latest "
    f"of the {LATEST_DAYS} days before it that showed the person; a match counts where the like that led to it does. What was "
    "taken back counts no more. Intervals hold at every look at once, so looking daily and stopping early is fine. Newcomers are "
    f"people who joined in the {NEWCOMER_DAYS} days before they were shown."
)
_ADJUSTED = f"Lifts are adjusted for what viewers did in the {BEFORE_DAYS} days before the start (CUPED)."
_INTERLEAVED = (
    "Nobody was assigned: each viewer got slates in which both rankers had drafted people in turn, so each is compared with "
    "oneself. This assumes that a like is owed to the ranker that brought the person. It tells which ranker's people are liked "
    "more, not by how much likes and matches would grow if one ranked alone."
)
_VIEWERS = (
    "Viewers were randomised one by one. This assumes that what one viewer is shown does not change what others do. People are "
    "each other's candidates here, so it holds only roughly: what one arm does to those whom it shows, the other arms feel "
    "where they are viewers there.{contact} Where that is much, randomise clusters."
)
_CLUSTERS = (
    "Clusters were randomised whole, {n_units:,} of them, made by {made_of} and frozen at the start; who joined later takes no "
    "part. Intervals take the cluster as their unit. This assumes that people of different clusters seldom meet, since somebody "
    "who is in another arm sees and likes by that arm's ranker.{contact}"
)
_MADE_OF = {"location": "place", "community": "community of those who like each other"}


def randomisation(experiment: Experiment, n_units: int, touched: float | None) -> str:
    """What was assigned, and what it takes for granted."""
    if experiment.design == "interleaving":
        return _INTERLEAVED
    contact = (
        "" if touched is None else f" Of the likes counted here, {percent(touched, 0)} went to people who were in another arm."
    )
    if experiment.unit == "viewer":
        return _VIEWERS.format(contact=contact)
    return _CLUSTERS.format(contact=contact, n_units=n_units, made_of=_MADE_OF[experiment.cluster_by or "community"])


def counting(experiment: Experiment) -> str:
    """What counts as what."""
    return _COUNTING if experiment.design == "interleaving" else f"{_COUNTING} {_ADJUSTED}"


def left_out(crossed: int, alien: int) -> tuple[str, ...]:
    """Rows that could not be counted, if there are any."""
    notes = []
    if crossed:
        notes.append(f"{crossed:,} viewers were left out: they, or their cluster, were seen in two arms.")
    if alien:
        notes.append(f"{alien:,} viewers were left out: they are in no cluster of the map.")
    return tuple(notes)


def forgotten(since: datetime, kept_since: datetime | None) -> tuple[str, ...]:
    """What is missing of an experiment that began before the oldest slates that are kept."""
    if kept_since is None or kept_since <= since:
        return ()
    return (
        f"Slates from before {kept_since:%Y-%m-%d} are deleted by now (AMITY_IMPRESSIONS_RETENTION_DAYS), and what came of them "
        "is not counted: these figures are not of the whole experiment.",
    )
