"""Experiments: which there are, what they have shown so far, and what may be done with them."""

from typing import Any, Literal

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation
from markupsafe import Markup

from service.console.admission import form_of
from service.console.frame import go, page
from service.console.held import ConsoleHeld, ReportSheet
from service.controllers.exchange import exchange_of
from service.controllers.routes import AnyRequest
from service.domain_experiments import Experiment
from service.errors import AmityError, BadInput, ExperimentConflict, NotFound, Problem
from service.experiments.management import Changes, Management
from service.reporting.building import Reports
from service.reporting.page import sections
from service.resilience import Deadline

LIST = "/console/experiments"
_HELD_S = 60.0
"""How long a report is shown before it is made anew: one of a million slates keeps PostgreSQL busy for 13 s."""
_DRAWN_S = 30.0

Action = Literal["start", "ramp", "stop"]
Managing = NamedDependency[SkipValidation[Management]]

_POSSIBLE: dict[str, tuple[Action, ...]] = {"draft": ("start",), "running": ("ramp", "stop"), "stopped": ()}
"""By status. Also a draft's traffic could be changed, but that is no ramp."""


class ActionForm(msgspec.Struct, frozen=True, kw_only=True):
    percent: str = ""


class ExperimentPages(Controller):
    path = "/experiments"

    @get("/")
    async def all(self, request: AnyRequest, management: Managing) -> Response[bytes]:
        return page(request, "experiments.html", experiments=await management.list())

    @get("/{name:str}")
    async def one(self, request: AnyRequest, name: FromPath[str], management: Managing) -> Response[bytes]:
        experiment = await management.get(name)
        return page(request, "experiment.html", experiment=experiment, actions=_POSSIBLE[experiment.status], sheet=None)

    @get("/{name:str}/report")
    async def report(
        self,
        request: AnyRequest,
        name: FromPath[str],
        management: Managing,
        reports: NamedDependency[SkipValidation[Reports]],
        console_held: NamedDependency[SkipValidation[ConsoleHeld]],
    ) -> Response[bytes]:
        """The page with its report; to HTMX the report alone. Making it may take long: the page itself does not wait."""
        experiment = await management.get(name)

        async def make() -> ReportSheet:
            made = await reports.of(name)
            drawn = await reports.door.call("report", sections, made, deadline=Deadline(_DRAWN_S), at_most=1)
            return ReportSheet(made.until, drawn)

        sheet = await console_held.reports.get(_edition(experiment), _HELD_S, make)
        values: dict[str, Any] = {"experiment": experiment, "sheet": sheet, "sections": Markup(sheet.sections)}
        if "hx-request" in request.headers:
            return page(request, "experiment_report.html", **values)
        return page(request, "experiment.html", actions=_POSSIBLE[experiment.status], **values)

    @get("/{name:str}/{action:str}")
    async def ask(self, request: AnyRequest, name: FromPath[str], action: FromPath[str], management: Managing) -> Response[bytes]:
        """Says what would happen, and asks whether it shall."""
        experiment = await management.get(name)
        return _asked(request, experiment, _action(action))

    @post("/{name:str}/{action:str}")
    async def act(self, request: AnyRequest, name: FromPath[str], action: FromPath[str], management: Managing) -> Response[bytes]:
        wanted, form = _action(action), form_of(request, ActionForm)
        try:
            changed = await management.change(name, _changes(wanted, form))
        except (BadInput, ExperimentConflict) as exc:
            return _asked(request, await management.get(name), wanted, exc, form.percent)
        exchange = exchange_of(request)
        exchange.event = "experiment changed"
        exchange.fields |= {"experiment": name, "experiment_status": changed.status, "traffic": changed.traffic}
        return go(request, f"{LIST}/{name}", _said(wanted, changed))


def _edition(experiment: Experiment) -> str:
    """What makes another report than the one that is held, beside time."""
    n_stopped = sum(arm.stopped for arm in experiment.arms)
    return f"{experiment.name} {experiment.status} {experiment.traffic} {n_stopped}"


def _action(text: str) -> Action:
    if text not in ("start", "ramp", "stop"):
        raise NotFound("The console has no such page.")
    return text  # type: ignore[return-value]  # one of the three


def _asked(
    request: AnyRequest, experiment: Experiment, action: Action, refused: AmityError | None = None, percent: str | None = None
) -> Response[bytes]:
    """The page that asks, and says why it was refused before."""
    problems = [problem.message for problem in refused.problems] if isinstance(refused, BadInput) else []
    values: dict[str, Any] = {
        "experiment": experiment,
        "action": action,
        "possible": action in _POSSIBLE[experiment.status],
        "percent": f"{100 * experiment.traffic:g}" if percent is None else percent,
        "refused": None if refused is None else " ".join(problems) or refused.message,
    }
    return page(request, "experiment_action.html", 200 if refused is None else refused.status, **values)


def _changes(action: Action, form: ActionForm) -> Changes:
    if action == "ramp":
        return Changes(traffic=_share(form.percent))
    return Changes(status="running" if action == "start" else "stopped")


def _share(percent: str) -> float:
    """As people type it: `12.5`, `12,5` or `12.5 %`. Raises BadInput; how much it may be, the experiment knows."""
    text = percent.strip().removesuffix("%").strip().replace(",", ".")
    try:
        return float(text) / 100 if len(text) <= 12 else float("nan")
    except ValueError as exc:
        raise BadInput(Problem("traffic", "Traffic must be a number of percent, such as 12.5")) from exc


def _said(action: Action, changed: Experiment) -> str:
    if action == "start":
        return f"{changed.name} is running, on every replica within a second."
    if action == "stop":
        return f"{changed.name} is stopped; everybody gets the default again, on every replica within a second."
    return f"{changed.name} takes {100 * changed.traffic:g} % of viewers now, on every replica within a second."
