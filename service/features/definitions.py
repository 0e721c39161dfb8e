"""Every feature that a ranker may require: what it is, its unit, and what stands for a missing value.

All are float32. The ones whose `default` is NaN are missing when what they compare is unknown; the others are never missing.
Likes are standing ones and, of pairs without a standing opinion, messages.
"""

import math

import msgspec

MISSING = math.nan


class Feature(msgspec.Struct, frozen=True):
    """One column of the matrix that `assemble` makes. `default` is what a missing value becomes."""

    name: str
    unit: str
    default: float
    help: str


_TABLE = (
    Feature("forward_affinity", "inner product", MISSING, "p of the viewer with q of the candidate: does the viewer like them?"),
    Feature("backward_affinity", "inner product", MISSING, "p of the candidate with q of the viewer: do they like the viewer?"),
    Feature("mutual_affinity", "0 to 1", MISSING, "Harmonic mean of the logistic of both affinities; low if either is low"),
    Feature("content_similarity", "cosine", MISSING, "Likeness of what the two profiles say"),
    Feature("shared_interests", "count", 0.0, "Interests that both name"),
    Feature("interest_jaccard", "0 to 1", 0.0, "Shared interests over all that either names"),
    Feature("age_gap_years", "years", MISSING, "Absolute difference of ages"),
    Feature("age_difference_years", "years", MISSING, "The candidate's age less the viewer's"),
    Feature("age_fit", "0 to 1", MISSING, "1 where the candidate's age is the middle of what the viewer seeks, 0 at its ends"),
    Feature(
        "viewer_age_fit", "0 to 1", MISSING, "1 where the viewer's age is the middle of what the candidate seeks, 0 at its ends"
    ),
    Feature("distance_km", "km", MISSING, "Great-circle distance"),
    Feature("same_location", "0 or 1", MISSING, "Whether both name the same location"),
    Feature("viewer_completeness", "0 to 1", 0.0, "Share of the viewer's profile that is filled in"),
    Feature("candidate_completeness", "0 to 1", 0.0, "Share of the candidate's profile that is filled in"),
    Feature("candidate_days_since_active", "days", MISSING, "Since the candidate was last active"),
    Feature("candidate_account_age_days", "days", MISSING, "Since the candidate joined"),
    Feature("candidate_log_likes_received", "log(1 + n)", 0.0, "Likes on the candidate"),
    Feature("candidate_log_likes_given", "log(1 + n)", 0.0, "Likes of the candidate"),
    Feature("candidate_like_rate_received", "0 to 1", 0.5, "Likes among opinions on the candidate, (likes + 1) / (opinions + 2)"),
    Feature("candidate_like_rate_given", "0 to 1", 0.5, "Likes among the candidate's opinions, (likes + 1) / (opinions + 2)"),
    Feature("viewer_log_likes_received", "log(1 + n)", 0.0, "Likes on the viewer"),
    Feature("viewer_log_likes_given", "log(1 + n)", 0.0, "Likes of the viewer"),
    Feature("viewer_like_rate_received", "0 to 1", 0.5, "Likes among opinions on the viewer, (likes + 1) / (opinions + 2)"),
    Feature("viewer_like_rate_given", "0 to 1", 0.5, "Likes among the viewer's opinions, (likes + 1) / (opinions + 2)"),
    Feature("likes_viewer", "0 or 1", 0.0, "Whether the candidate's like of the viewer stands"),
)

FEATURES: dict[str, Feature] = {feature.name: feature for feature in _TABLE}


def unknown(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` that are no feature, in their order."""
    return tuple(name for name in names if name not in FEATURES)
