"""The names of what replicas share. The braces are hash tags: in a Cluster all of one viewer's keys live on one node."""

GENERATION_OF_ALL = "amity:generation"
"""Replaced when everybody's pools are dropped."""


def version(viewer_id: int) -> str:
    """Replaced by whatever one's own requests must heed: opinions in either direction, and changes of one's profile."""
    return f"amity:{{{viewer_id}}}:version"


def generation(viewer_id: int) -> str:
    """Replaced when the viewer's pools are dropped."""
    return f"amity:{{{viewer_id}}}:generation"


def pool(viewer_id: int, digest: str) -> str:
    return f"amity:{{{viewer_id}}}:pool:{digest}"


def lease(viewer_id: int, digest: str) -> str:
    """Held by who computes that pool."""
    return f"amity:{{{viewer_id}}}:lease:{digest}"
