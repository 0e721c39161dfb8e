"""Which reader a file needs, by its extension."""

from collections.abc import Callable
from pathlib import Path

from service.errors import ImportRefused
from service.transfer.chunks import Reader
from service.transfer.layouts import Layout
from service.transfer.read_csv import CsvReader
from service.transfer.read_json_lines import JsonLinesReader
from service.transfer.read_parquet import ParquetReader

FORMATS: dict[str, Callable[[Path, Layout], Reader]] = {
    ".csv": CsvReader,
    ".jsonl": JsonLinesReader,
    ".ndjson": JsonLinesReader,
    ".parquet": ParquetReader,
}


def open_reader(path: Path, layout: Layout) -> Reader:
    """The file's reader, its columns checked; raises ImportRefused saying in one line why the whole file cannot be used."""
    extension = format_of(path)
    try:
        return FORMATS[extension](path, layout)
    except OSError as exc:
        raise ImportRefused(f"{path} cannot be read: {exc.strerror or exc}") from exc


def format_of(path: Path) -> str:
    """`.csv`, `.jsonl`, `.ndjson` or `.parquet`, seen through a `.gz` on the texts."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    extension = (suffixes[:-1] if zipped else suffixes)[-1:]
    if not extension or extension[0] not in FORMATS or (zipped and extension[0] == ".parquet"):
        raise ImportRefused(f"{path}: the name must end in .csv, .jsonl, .ndjson (each also with .gz) or .parquet")
    return extension[0]
