"""The rejects file: every refused line with its reason, whole also after an import that was cut off and went on."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from service.errors import ImportRefused
from service.transfer.chunks import Reject

HEADER = ("line", "reason", "content")
CONTENT_CHARACTERS = 2000


class RejectsFile:
    """CSV with the columns line, reason, content. There is no file as long as nothing was refused.

    Its length is stored with the rows of a batch, so that going on begins by cutting off what a batch that was not
    committed had written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def keeps(self, n_bytes: int) -> bool:
        """Whether what a former run had written is still there."""
        return n_bytes == 0 or (self.path.is_file() and self.path.stat().st_size >= n_bytes)

    def append(self, kept_bytes: int, rejects: Iterable[Reject]) -> int:
        """Keep the first `kept_bytes` and write the rejects behind them, to the disk; the length then.

        Raises ImportRefused when the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerows((reject.line, _visible(reject.reason), _visible(reject.content)) for reject in rejects)
        data = text.getvalue().encode("utf-8", "backslashreplace")
        try:
            return self._write(kept_bytes, data)
        except OSError as exc:
            raise ImportRefused(f"the rejects file {self.path} cannot be written: {exc.strerror or exc}") from exc

    def _write(self, kept_bytes: int, data: bytes) -> int:
        if not data and kept_bytes == 0:
            self.path.unlink(missing_ok=True)
            return 0
        if not data and self.path.stat().st_size == kept_bytes:
            return kept_bytes
        if kept_bytes == 0:
            data = (",".join(HEADER) + "\n").encode() + data
        with self.path.open("r+b" if kept_bytes else "wb") as file:
            file.truncate(kept_bytes)
            file.seek(kept_bytes)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return kept_bytes + len(data)


def rejects_path(source: Path, folder: Path | None) -> Path:
    """Where the rejects of a file go: beside it, or into the folder."""
    return (folder or source.parent) / f"{source.name}.rejects.csv"


def _visible(text: str) -> str:
    return text[:CONTENT_CHARACTERS].replace("\0", "\\0")
