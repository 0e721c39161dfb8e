"""Bundles with how good they are, and the pointer to the live one: moved after a second look."""

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from service.console.admission import NoForm, form_of
from service.console.frame import go, page
from service.controllers.exchange import exchange_of
from service.controllers.routes import AnyRequest
from service.domain import BundleRecord
from service.errors import AmityError, NotFound, OperatorError
from service.population.promoting import Promoting, live_before, live_of
from service.recommend.orchestrator import Orchestrator
from service.recommend.ports import ModelSource

BUNDLES = "/console/bundles"
_CHIEF: dict[str, tuple[str, bool]] = {
    "ndcg20": ("NDCG@20", True),
    "match_ndcg20": ("NDCG@20 of matches", True),
    "recall100": ("Recall@100", True),
    "auc": ("AUC", True),
    "log_loss": ("Log-loss", False),
    "calibration_error": ("Calibration error", False),
    "exposure_gini": ("Exposure Gini", False),
}
"""The metrics that are shown first: what each is called, and whether more of it is better."""

_IN_TABLE = ("ndcg20", "match_ndcg20", "recall100", "auc", "log_loss")

PromotingPart = NamedDependency[SkipValidation[Promoting]]


class LiveForm(msgspec.Struct, frozen=True, kw_only=True):
    """`live`: the bundle that was live when the page was made; empty for none."""

    live: str = ""


class NotDone(AmityError):
    """Nothing was changed"""

    status = 409


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of a bundle beside the live one's; `better` None where either has none or they are the same."""

    label: str
    value: float | None
    live: float | None
    better: bool | None


class Bundles(Controller):
    path = "/bundles"

    @get("/")
    async def show(
        self, request: AnyRequest, promoting: PromotingPart, models: NamedDependency[SkipValidation[ModelSource]]
    ) -> Response[bytes]:
        records = await promoting.records()
        return page(
            request,
            "bundles.html",
            records=records,
            chief={name: _CHIEF[name][0] for name in _IN_TABLE if any(name in record.metrics for record in records)},
            live=live_of(records),
            before=live_before(records),
            serving=models.current.population.bundle_version,
        )

    @get("/{version:str}/promote")
    async def ask_to_promote(self, request: AnyRequest, version: FromPath[str], promoting: PromotingPart) -> Response[bytes]:
        records = await promoting.records()
        record = _record(records, version)
        return _confirm(request, records, record, title=f"Promote {version}?", action=f"{BUNDLES}/{version}/promote")

    @post("/{version:str}/promote", status_code=200)
    async def promote(self, request: AnyRequest, version: FromPath[str], promoting: PromotingPart) -> Response[bytes]:
        live = await _require_unmoved(request, promoting)
        try:
            record = await promoting.promote(version, live)
        except OperatorError as exc:
            raise NotDone(f"Nothing was changed: {exc.message}.") from exc
        return _moved(request, "bundle promoted", record)

    @get("/rollback")
    async def ask_to_roll_back(self, request: AnyRequest, promoting: PromotingPart) -> Response[bytes]:
        records = await promoting.records()
        version = live_before(records)
        if version is None:
            raise NotDone("There is no bundle that was live before this one.")
        return _confirm(request, records, _record(records, version), title="Roll back?", action=f"{BUNDLES}/rollback")

    @post("/rollback", status_code=200)
    async def roll_back(self, request: AnyRequest, promoting: PromotingPart) -> Response[bytes]:
        live = await _require_unmoved(request, promoting)
        try:
            record = await promoting.rollback(live)
        except OperatorError as exc:
            raise NotDone(f"Nothing was changed: {exc.message}.") from exc
        return _moved(request, "bundle rolled back", record)

    @get("/refresh")
    async def ask_to_refresh(self, request: AnyRequest, models: NamedDependency[SkipValidation[ModelSource]]) -> Response[bytes]:
        return page(request, "refresh.html", n_people=models.current.population.n_people)

    @post("/refresh", status_code=200)
    async def refresh(self, request: AnyRequest, orchestrator: NamedDependency[SkipValidation[Orchestrator]]) -> Response[bytes]:
        form_of(request, NoForm)
        exchange = exchange_of(request)
        exchange.event = "pools dropped"
        exchange.fields["count"] = n_people = await orchestrator.refresh(None)
        return go(request, BUNDLES, f"The ranked pools of all {n_people:,} people were dropped on every replica.")


def _confirm(request: AnyRequest, records: list[BundleRecord], record: BundleRecord, title: str, action: str) -> Response[bytes]:
    live = live_of(records)
    return page(request, "bundle_move.html", title=title, action=action, record=record, live=live, metrics=compared(record, live))


def compared(record: BundleRecord, live: BundleRecord | None) -> list[Metric]:
    """The chief metrics of a bundle, with the live one's."""
    found = []
    for name, (label, more_is_better) in _CHIEF.items():
        value = record.metrics.get(name)
        theirs = None if live is None else live.metrics.get(name)
        if value is not None or theirs is not None:
            differs = value is not None and theirs is not None and value != theirs
            better = (value > theirs) is more_is_better if differs and value is not None and theirs is not None else None
            found.append(Metric(label=label, value=value, live=theirs, better=better))
    return found


async def _require_unmoved(request: AnyRequest, promoting: Promoting) -> str | None:
    """The bundle that was live when the operator looked; None for none. Raises NotDone when another is by now."""
    seen, live = form_of(request, LiveForm).live, await promoting.live()
    if seen != (live or ""):
        raise NotDone("Nothing was changed: meanwhile another bundle went live. Look at the bundles again.")
    return live


def _moved(request: AnyRequest, event: str, record: BundleRecord) -> Response[bytes]:
    exchange = exchange_of(request)
    exchange.event = event
    exchange.fields["bundle_version"] = record.version
    return go(request, BUNDLES, f"Bundle {record.version} is live. Replicas take it over within seconds.")


def _record(records: list[BundleRecord], version: str) -> BundleRecord:
    found = next((record for record in records if record.version == version), None)
    if found is None:
        raise NotFound("There is no bundle of this version.")
    return found
