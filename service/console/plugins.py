"""Rankers and candidate sources, as this replica has them: loaded or not, and whether they are asked."""

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from service.console.frame import page
from service.controllers.routes import AnyRequest
from service.plugins import Installed, InstalledSource, LoadedRanker
from service.ranker_stock import RankerStock
from service.recommend.explaining import contributing
from service.recommend.ports import ModelSource
from service.recommend.stages import Breakers
from service.settings import Settings


class RankerRow(msgspec.Struct, frozen=True, kw_only=True):
    """`roles`: what the settings name it for. `breaker` and `explain_breaker`: `closed`, `open` or `half_open`; None for one
    that cannot tell reasons."""

    name: str
    version: str
    distribution: str
    roles: tuple[str, ...]
    needs_bundle: bool
    inline: bool
    problem: str | None
    breaker: str
    explain_breaker: str | None


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str
    distribution: str
    breaker: str


def ranker_rows(models: ModelSource, breakers: Breakers, settings: Settings) -> list[RankerRow]:
    """All rankers by name, loaded or not."""
    states = breakers.states()
    return [_ranker(ranker, states, settings) for _, ranker in sorted(models.current.rankers.items())]


def source_rows(sources: Installed[InstalledSource], breakers: Breakers) -> list[SourceRow]:
    """The sources that are used, by name."""
    states = breakers.states()
    return [
        SourceRow(
            name=name,
            version=str(getattr(source.source, "version", "")),
            distribution=f"{source.distribution} {source.distribution_version}",
            breaker=states.get(f"source:{name}", "closed"),
        )
        for name, source in sources.by_name.items()
    ]


def _ranker(ranker: LoadedRanker, states: dict[str, str], settings: Settings) -> RankerRow:
    named = {"default": settings.default_ranker, "fallback": settings.fallback_ranker, "shadow": settings.shadow_ranker}
    explains = contributing(ranker) is not None
    return RankerRow(
        name=ranker.name,
        version=ranker.version,
        distribution=f"{ranker.distribution} {ranker.distribution_version}",
        roles=tuple(role for role, name in named.items() if name == ranker.name),
        needs_bundle=ranker.needs_bundle,
        inline=ranker.inline,
        problem=ranker.problem,
        breaker=states.get(ranker.part, "closed"),
        explain_breaker=states.get(f"explain:{ranker.name}:{ranker.version}", "closed") if explains else None,
    )


class Plugins(Controller):
    path = "/plug-ins"

    @get("/")
    async def show(
        self,
        request: AnyRequest,
        models: NamedDependency[SkipValidation[ModelSource]],
        breakers: NamedDependency[SkipValidation[Breakers]],
        stock: NamedDependency[SkipValidation[RankerStock]],
        sources: NamedDependency[SkipValidation[Installed[InstalledSource]]],
        settings: NamedDependency[SkipValidation[Settings]],
    ) -> Response[bytes]:
        return page(
            request,
            "plugins.html",
            rankers=ranker_rows(models, breakers, settings),
            sources=source_rows(sources, breakers),
            left_out=(*stock.problems, *sources.problems),
        )
