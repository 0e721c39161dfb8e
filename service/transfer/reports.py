"""What import and export answer, for scripts and for people."""

import msgspec


class ImportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file's outcome, in records; `read` is the sum of the others but `matches`.

    `new` and `replaced` count people, `recorded` and `matches` interactions and what they made; `repeated` changed nothing.
    All counts cover the whole import, `rate` (records a second) this run only, which began behind `resumed_from` records.
    """

    kind: str
    path: str
    read: int
    new: int
    replaced: int
    recorded: int
    repeated: int
    matches: int
    rejected: int
    rejects_path: str | None
    resumed_from: int
    seconds: float
    rate: float

    def lines(self) -> list[str]:
        if self.kind == "people":
            counts = f"{self.new:,} new, {self.replaced:,} replaced, {self.repeated:,} unchanged"
        else:
            counts = f"{self.recorded:,} recorded, {self.repeated:,} repeated, {self.matches:,} matches made"
        resumed = f", going on behind record {self.resumed_from:,}" if self.resumed_from else ""
        lines = [
            f"{self.path}: {self.read:,} {self.kind} read in {self.seconds:.1f} s ({self.rate:,.0f} a second{resumed})",
            f"  {counts}, {self.rejected:,} refused",
        ]
        if self.rejects_path:
            lines.append(f"  the refused lines and their reasons are in {self.rejects_path}")
        return lines


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """`ok` unless more than `max_rejects` records were refused in all."""

    files: tuple[ImportedFile, ...]
    rejected: int
    max_rejects: int
    ok: bool

    def lines(self) -> list[str]:
        lines = [line for file in self.files for line in file.lines()]
        if not self.ok:
            lines.append(f"{self.rejected:,} refused, and at most {self.max_rejects:,} allowed; what was good is in")
        return lines


class ExportedFile(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    path: str
    records: int
    seconds: float


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    files: tuple[ExportedFile, ...]

    def lines(self) -> list[str]:
        return [f"{file.path}: {file.records:,} {file.kind} in {file.seconds:.1f} s" for file in self.files]
