"""What the readers make of whole and of broken files: which record began on which line, and why others are none."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from service.errors import ImportRefused
from service.transfer import read_csv, read_json_lines, sources
from service.transfer.chunks import Chunk, Position, Reject
from service.transfer.layouts import INTERACTIONS, PEOPLE
from service.transfer.readers import open_reader

HEADER = "actor_id,target_id,kind,occurred_at\n"


def interactions_of(path: Path, start: Position | None = None) -> list[Chunk]:
    return list(open_reader(path, INTERACTIONS).chunks(start))


def actors(chunks: list[Chunk]) -> list[str]:
    return [actor for chunk in chunks for actor in chunk.frame["actor_id"].to_list()]


def lines(chunks: list[Chunk]) -> list[int]:
    return [line for chunk in chunks for line in chunk.lines]


def rejects(chunks: list[Chunk]) -> list[tuple[int, str]]:
    return [(reject.line, reject.reason) for chunk in chunks for reject in chunk.rejects]


def csv_file(folder: Path, body: str | bytes, header: str = HEADER, name: str = "i.csv") -> Path:
    path = folder / name
    path.write_bytes(header.encode() + (body.encode() if isinstance(body, str) else body))
    return path


def test_quoted_newlines_keep_the_line_numbers_right(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text('id,name,bio\n1,Ann,"one\ntwo\nthree"\n2,Bob,x\n')
    chunks = list(open_reader(path, PEOPLE).chunks(None))
    assert lines(chunks) == [2, 5]
    assert chunks[0].frame["bio"].to_list() == ["one\ntwo\nthree", "x"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7,8,like", "3 fields instead of 4"),
        ("7,8,like,t,x,y", "6 fields instead of 4"),
        ("actor_id,target_id,kind,occurred_at", "a second header"),
        ('7,8,"li"ke,t', "not CSV: ',' expected after '\"'"),
    ],
)
def test_one_bad_line_is_named_and_costs_no_other(tmp_path: Path, line: str, reason: str) -> None:
    chunks = interactions_of(csv_file(tmp_path, f"1,2,like,t\n{line}\n3,4,like,t\n"))
    assert rejects(chunks) == [(3, reason)]
    assert (actors(chunks), lines(chunks)) == (["1", "3"], [2, 4])


def test_a_quote_that_is_never_closed_costs_only_its_line(tmp_path: Path) -> None:
    chunks = interactions_of(csv_file(tmp_path, '1,2,"like,t\n3,4,like,t\n5,6,like,t\n'))
    assert rejects(chunks) == [(2, "not CSV: a quote is never closed")]
    assert actors(chunks) == ["3", "5"]


def test_a_quote_that_swallows_a_line_gives_it_back(tmp_path: Path) -> None:
    chunks = interactions_of(csv_file(tmp_path, '1,2,"like,t\n3,4,pass",t,x\n5,6,like,t\n'))
    assert rejects(chunks)[0] == (2, "5 fields instead of 4, spread over 2 lines by a quote")
    assert [line for line, _ in rejects(chunks)] == [2, 3]
    assert actors(chunks) == ["5"]


def test_bytes_that_are_not_utf8_refuse_their_line(tmp_path: Path) -> None:
    chunks = interactions_of(csv_file(tmp_path, b"1,2,like,t\n3,4,l\xffke,t\n5,6,like,t\n"))
    assert rejects(chunks) == [(3, "not UTF-8")]
    assert actors(chunks) == ["1", "5"]


def test_a_file_from_excel_is_read(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "1,2,like,t\r\n\r\n3,4,like,t\r\n", header="\ufeffactor_id,target_id,kind,occurred_at\r\n")
    chunks = interactions_of(path)
    assert (lines(chunks), rejects(chunks)) == ([2, 4], [])
    assert chunks[0].frame["occurred_at"].to_list() == ["t", "t"]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("actor_id,kind\n", ["line 1", "target_id, occurred_at are missing"]),
        ("actor_id,target_id,kind,occurred_at,evnt_id\n", ["'evnt_id' is unknown"]),
        ("actor_id,target_id,kind,occurred_at,kind\n", ["kind is there twice"]),
        ("", ["is empty"]),
    ],
)
def test_a_wrong_header_refuses_the_file(tmp_path: Path, header: str, words: list[str]) -> None:
    with pytest.raises(ImportRefused) as refused:
        open_reader(csv_file(tmp_path, "", header), INTERACTIONS)
    assert all(word in str(refused.value) for word in words)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["i.txt", "i", "i.parquet.gz", "missing.csv"])
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImportRefused, match=r"i\b|missing"):
        open_reader(tmp_path / name, INTERACTIONS)


@pytest.mark.parametrize("size", [16, 64, 300, 1_000_000])
def test_blocks_of_any_size_give_the_same_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(read_csv, "BLOCK_BYTES", {"people": size})
    path = tmp_path / "p.csv"
    path.write_text("id,name,bio\n" + "".join(f'{i},Zoë {i},"a\n""b"" {i}"\n' for i in range(50)))
    chunks = list(open_reader(path, PEOPLE).chunks(None))
    assert lines(chunks) == [2 + 2 * i for i in range(50)]
    assert [bio for chunk in chunks for bio in chunk.frame["bio"].to_list()] == [f'a\n"b" {i}' for i in range(50)]


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz", "p.jsonl", "p.jsonl.gz", "p.parquet"])
def test_going_on_at_the_end_of_any_chunk_gives_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(read_csv, "BLOCK_BYTES", {"people": 50})
    monkeypatch.setattr(read_json_lines, "BLOCK_BYTES", {"people": 50})
    monkeypatch.setattr("service.transfer.read_parquet.BATCH_ROWS", {"people": 3})
    path = tmp_path / name
    frame = pl.DataFrame({"id": range(1, 41), "name": [f"Z\n{i}" for i in range(1, 41)]})
    if name.endswith(".parquet"):
        frame.write_parquet(path, row_group_size=7)
    else:
        text = frame.write_csv() if ".csv" in name else frame.write_ndjson()
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    chunks = list(open_reader(path, PEOPLE).chunks(None))
    whole = [(line, str(i)) for chunk in chunks for line, i in zip(chunk.lines, chunk.frame["id"], strict=True)]
    assert len(whole) == 40
    for n, chunk in enumerate(chunks, start=1):
        rest = list(open_reader(path, PEOPLE).chunks(chunk.end))
        again = [(line, str(i)) for part in chunks[:n] + rest for line, i in zip(part.lines, part.frame["id"], strict=True)]
        assert again == whole


def test_an_endless_line_is_refused_without_reading_it_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(read_csv, "BLOCK_BYTES", {"interactions": 64})
    chunks = interactions_of(csv_file(tmp_path, "1,2,like,t\n" + "x" * 900 + "\n3,4,like,t\n"))
    assert rejects(chunks) == [(3, "the line is longer than 100 bytes")]
    assert (actors(chunks), lines(chunks)) == (["1", "3"], [2, 4])


@pytest.mark.parametrize("name", ["i.csv.gz", "i.jsonl.gz"])
def test_a_truncated_gzip_gives_what_is_there_and_says_where_it_ends(tmp_path: Path, name: str) -> None:
    body = (
        [f"{i},2,like,{i * 7919}" for i in range(5_000)]
        if ".csv" in name
        else [f'{{"actor_id":{i},"target_id":2,"kind":"like","occurred_at":{i * 7919}}}' for i in range(5_000)]
    )
    text = (HEADER if ".csv" in name else "") + "\n".join(body) + "\n"
    path = tmp_path / name
    whole = gzip.compress(text.encode())
    path.write_bytes(whole[: len(whole) // 2])
    chunks = interactions_of(path)
    n = len(actors(chunks))
    assert 1_000 < n < 5_000
    assert [line for line, _ in rejects(chunks)] == [lines(chunks)[-1] + 1]
    assert "ends early" in rejects(chunks)[0][1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"actor_id": 1, "target_id": 2, "kind": "like"', "not JSON"),
        ('{"actor_id": 1, "target_id": 2, "kind": "like"}', "missing required field `occurred_at`"),
        ('{"actor_id": "1", "target_id": 2, "kind": "like", "occurred_at": 1}', "Expected `int`, got `str` - at `actor_id`"),
        ('{"actor_id": 1, "target_id": 2, "kind": "like", "occurred_at": 1, "evnt": 2}', "unknown field `evnt`"),
        ('{"actor_id": 9223372036854775808, "target_id": 2, "kind": "like", "occurred_at": 1}', "`actor_id`"),
        ("[" * 5000, "Expected `line`, got `array`"),
        ('{"actor_id": 1, "kind": ' + "[" * 5000, "Expected `str`, got `array`"),
        ("null", "Expected `line`, got `null`"),
    ],
)
def test_a_bad_json_line_is_named_with_what_is_wrong(tmp_path: Path, line: str, reason: str) -> None:
    good = '{"actor_id": 5, "target_id": 6, "kind": "like", "occurred_at": "t"}'
    path = tmp_path / "i.jsonl"
    path.write_text(f"{good}\n\n{line}\n{good}\n")
    chunks = interactions_of(path)
    [(number, said)] = rejects(chunks)
    assert (number, lines(chunks)) == (3, [1, 4])
    assert reason in said


def test_json_bytes_that_are_not_utf8_refuse_their_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"id": 1, "name": "a\xff"}\n{"id": 2, "name": "b"}\n')
    chunks = list(open_reader(path, PEOPLE).chunks(None))
    assert (rejects(chunks), lines(chunks)) == ([(1, "not UTF-8")], [2])


def test_a_truncated_parquet_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pl.DataFrame({"id": range(1000), "name": ["x"] * 1000}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ImportRefused, match=r"not a whole Parquet file") as refused:
        open_reader(path, PEOPLE)
    assert "\n" not in str(refused.value)


def test_a_damaged_row_group_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    frame = pl.DataFrame({"id": range(1, 3001), "name": [f"name {i * 7919}" for i in range(3000)]})
    frame.write_parquet(path, row_group_size=1000, compression="zstd", statistics=False)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle - 1500 : middle + 1500] = b"\xff" * 3000
    path.write_bytes(data)
    chunks = list(open_reader(path, PEOPLE).chunks(None))
    [reject] = [reject for chunk in chunks for reject in chunk.rejects]
    assert (reject.line, reject.n) == (1001, 1000)
    assert "rows 1001 to 2000 cannot be read" in reject.reason
    assert lines(chunks) == [*range(1, 1001), *range(2001, 3001)]


def test_a_parquet_column_of_a_hopeless_type_refuses_the_file(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pl.DataFrame({"id": [1], "name": ["x"], "age": [True]}).write_parquet(path)
    with pytest.raises(ImportRefused, match="the column age holds Boolean"):
        open_reader(path, PEOPLE)


def test_a_file_is_recognised_by_what_it_holds_not_by_its_name(tmp_path: Path) -> None:
    one, same, other = (csv_file(tmp_path, body, name=name) for body, name in (("x", "a.csv"), ("x", "b.csv"), ("y", "c.csv")))
    prints = [sources.fingerprint(path, "people") for path in (one, same, other)]
    assert prints[0] == prints[1] != prints[2]
    assert sources.fingerprint(one, "interactions") != prints[0]


def test_rejected_content_is_the_line_itself(tmp_path: Path) -> None:
    [chunk] = interactions_of(csv_file(tmp_path, '1,2,"li,ke",t\nhalf\n'))
    assert chunk.content(0) == '1,2,"li,ke",t'
    assert chunk.rejects == [Reject(3, "1 fields instead of 4", "half")]
