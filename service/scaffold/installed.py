"""Every ranker that is registered here, usable or not, for those who look: unlike the service, nothing stops at a broken one."""

from typing import Any

from service.errors import PluginBroken
from service.features.definitions import FEATURES
from service.plugins import RANKERS, EntryPoints, InstalledRanker, Problem, build_plugin, check_factory, origin_of, registered
from service.settings import Settings, variable


def installed_rankers(
    settings: Settings, entry_points: EntryPoints = registered
) -> tuple[dict[str, InstalledRanker], list[Problem]]:
    """The usable ones by name, and what is wrong with the others; for those that settings name, what comes of it."""
    points = list(entry_points(RANKERS))
    listed = {name.strip() for name in settings.rankers.split(",") if name.strip()}
    named = _named(settings, listed)
    usable: dict[str, InstalledRanker] = {}
    problems = []
    for name in sorted({point.name for point in points} | named.keys()):
        own = [point for point in points if point.name == name]
        try:
            if listed and name not in named:
                raise PluginBroken(f"{variable('rankers')} does not name it")
            usable[name] = build_plugin(name, own, _build)
        except PluginBroken as exc:
            stops = f"{exc}; {named[name]} names it, so the service does not start" if name in named else str(exc)
            problems.append(Problem(RANKERS, name, tuple(" ".join(origin_of(point)) for point in own), stops))
    return usable, problems


def _named(settings: Settings, listed: set[str]) -> dict[str, str]:
    """Which setting names a ranker that has to work."""
    by_role = {settings.default_ranker: variable("default_ranker"), settings.fallback_ranker: variable("fallback_ranker")}
    return dict.fromkeys(listed, variable("rankers")) | by_role


def _build(name: str, made: Any, origin: tuple[str, str]) -> InstalledRanker:
    check_factory(made, FEATURES)
    return InstalledRanker(name, made, *origin)
