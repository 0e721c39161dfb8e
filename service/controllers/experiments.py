"""Experiments: made, started, ramped and stopped, on every replica within a second."""

from datetime import UTC, datetime

from litestar import Controller, Response, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from service.controllers.exchange import exchange_of
from service.controllers.experiment_shapes import ExperimentBody, ExperimentChanges, ExperimentsReply
from service.controllers.routes import AnyRequest, body_of, reply, spec
from service.domain_experiments import Experiment
from service.experiments.management import Management

Managing = NamedDependency[SkipValidation[Management]]


class Experiments(Controller):
    path = "/api/v1/experiments"

    @get("/", opt=spec(summary="All experiments, newest first", scope="admin", replies={200: ExperimentsReply}, errors=(503,)))
    async def list_experiments(self, request: AnyRequest, management: Managing) -> Response[bytes]:
        found = await management.list()
        return reply(ExperimentsReply(tuple(found), exchange_of(request).request_id))

    @get("/{name:str}", opt=spec(summary="One experiment", scope="admin", replies={200: Experiment}, errors=(404, 503)))
    async def get_experiment(self, name: FromPath[str], management: Managing) -> Response[bytes]:
        return reply(await management.get(name))

    @post(
        "/",
        opt=spec(
            summary="Make a draft of an experiment",
            scope="admin",
            body=ExperimentBody,
            replies={201: Experiment},
            errors=(409, 503),
            description="Nobody is in it until it is started. 409 where the name is taken.",
        ),
    )
    async def create_experiment(self, request: AnyRequest, management: Managing) -> Response[bytes]:
        body = await body_of(request, ExperimentBody)
        created = await management.create(body.to_draft(datetime.now(UTC)))
        return _told(request, "experiment created", created, 201)

    @patch(
        "/{name:str}",
        opt=spec(
            summary="Start, ramp, stop or edit an experiment",
            scope="admin",
            body=ExperimentChanges,
            replies={200: Experiment},
            errors=(404, 409, 503),
            description="In effect on every replica within a second. 409 for what is fixed once it runs, and where its layer has "
            "no room. Starting an experiment by clusters makes their map first, which takes seconds.",
        ),
    )
    async def change_experiment(self, request: AnyRequest, name: FromPath[str], management: Managing) -> Response[bytes]:
        body = await body_of(request, ExperimentChanges)
        changed = await management.change(name, body.to_changes())
        return _told(request, "experiment changed", changed)


def _told(request: AnyRequest, event: str, experiment: Experiment, status: int = 200) -> Response[bytes]:
    """The reply, and what the log line says."""
    exchange = exchange_of(request)
    exchange.event = event
    exchange.fields |= {"experiment": experiment.name, "experiment_status": experiment.status, "traffic": experiment.traffic}
    return reply(experiment, status)
