"""What experiments have shown so far."""

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from service.controllers.routes import reply, spec
from service.experiments.reports import Report
from service.reporting.building import Reports


class ExperimentReports(Controller):
    path = "/api/v1/experiments/{name:str}/report"

    @get(
        "/",
        opt=spec(
            summary="The report of an experiment, with its verdict",
            scope="admin",
            replies={200: Report},
            errors=(404, 409, 503),
            description="From the start to now, or to the stop: figures of each arm with intervals that hold at every look, "
            "lifts against the control, guardrails, and a verdict in words for each treatment. 409 before the start. One is made "
            "at a time, and a million slates take many seconds.",
        ),
    )
    async def get_report(self, name: FromPath[str], reports: NamedDependency[SkipValidation[Reports]]) -> Response[bytes]:
        return reply(await reports.of(name))
