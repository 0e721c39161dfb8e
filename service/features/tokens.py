"""What a profile says, as tokens: the words of an encoder that knows no language in particular."""

import re
import unicodedata
import zlib
from functools import lru_cache

from service.domain import Profile

_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]{2,}"
)
"""Scripts that write words without spaces between them (Thai to Korean): cut into pairs of characters instead."""

MAX_BIO_WORDS = 400
"""Of one bio: a text pasted without end must not cost everybody else's time. 400 words are about 2,500 characters."""


_REMEMBERED_TOKENS, _REMEMBERED_TEXTS = 1 << 14, 1 << 12
"""A language's frequent words, and the interests and places of most people: some MB, which halve the time of finding tokens."""


def fold(text: str) -> str:
    """The form in which texts are compared: compatibility-normalised and casefolded, without space around."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold().strip()


def words(text: str) -> list[str]:
    """Words of any script, casefolded, in their order."""
    folded, found = fold(text), list[str]()
    if folded.isascii() or not _UNSPACED.search(folded):
        return _WORD.findall(folded)
    for word in _WORD.findall(folded):
        unspaced = _UNSPACED.search(word)
        found.extend((word[i : i + 2] for i in range(len(word) - 1)) if unspaced else (word,))
    return found


def tokens(profile: Profile) -> set[str]:
    """What the encoder looks at but numbers: interests, whole and by word, words of the bio, location, gender, whom one seeks.

    Words of interests and of the bio are the same tokens, so that "hiking" as an interest is near "I love hiking" in a bio.
    """
    found = {f"word:{word}" for word in words(profile.bio)[:MAX_BIO_WORDS]}
    for interest in profile.interests:
        found.update(_interest_tokens(interest))
    if profile.location:
        found.add(_token("location", profile.location))
    if profile.gender:
        found.add(_token("gender", profile.gender))
    for gender in profile.seeks_genders:
        found.add(_token("seeks", gender))
    return found


@lru_cache(_REMEMBERED_TOKENS)
def bucket(token: str, n_buckets: int) -> int:
    """Where a token falls: CRC-32, the same in every process and release, which Python's own hash is not."""
    return zlib.crc32(token.encode("utf-8", "surrogatepass")) % n_buckets


@lru_cache(_REMEMBERED_TEXTS)
def _interest_tokens(interest: str) -> tuple[str, ...]:
    return f"interest:{fold(interest)}", *(f"word:{word}" for word in words(interest))


@lru_cache(_REMEMBERED_TEXTS)
def _token(kind: str, text: str) -> str:
    return f"{kind}:{fold(text)}"
