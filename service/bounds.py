"""What the values of people and interactions may be, over HTTP and in files alike."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Meta

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Age = Annotated[int, Meta(ge=18, le=120, description="Years")]
Word = Annotated[str, Meta(min_length=1, max_length=200)]
Latitude = Annotated[float, Meta(ge=-90, le=90, description="Degrees; given with the longitude or not at all")]
Longitude = Annotated[float, Meta(ge=-180, le=180, description="Degrees; given with the latitude or not at all")]
Bio = Annotated[str, Meta(max_length=5000)]
Interests = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(max_length=50)]
SeeksGenders = Annotated[tuple[Word, ...], Meta(max_length=50, description="Empty: anyone")]
SeeksKm = Annotated[float, Meta(gt=0, description="Kilometres, great circle; null: any distance")]

EVENT_ID_LENGTH = 200
"""Letters of an event_id: its key is in an index, whose entries PostgreSQL bounds at 2,704 bytes."""

EventId = Annotated[str, Meta(min_length=1, max_length=EVENT_ID_LENGTH)]

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
CLOCK_SKEW = timedelta(minutes=5)
"""How far ahead of ours the clock may be that a time is from."""

TO_COME = "must not lie more than 5 minutes in the future"
"""What is said of a time that is further ahead."""
