"""Rankers and candidate sources that installed distributions register as entry points: found, checked, made ready.

What operators named must work, or the service does not start: the default and the fallback ranker, and each name in
AMITY_RANKERS and AMITY_SOURCES. Any other plug-in that breaks its contract is left out, with the reason in `problems`.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from amity_rankers.contract import CONTRACT_VERSION, CandidateSource, Ranker, RankerFactory
from numpy.typing import NDArray

from service.artifacts.bundle import Bundle
from service.errors import BundleInvalid, PluginBroken, StageBroken
from service.settings import Settings, variable

RANKERS = "amity.rankers"
SOURCES = "amity.sources"
OWN_RANKERS = "amity-rankers"
"""The distribution whose light rankers are trusted not to hang, and so run without a thread."""
OWN_SOURCES = "amity"
"""The distribution whose sources are trusted not to hang, and so share a thread."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""Names and versions become parts of cache keys, URLs and metric labels."""
ARRAY_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""No dot, so that `rankers.<name>.<array>` reads one way only, though a ranker may be called `v1.2`."""

Arrays = Mapping[str, NDArray[Any]]

T = TypeVar("T")


class EntryPoint(Protocol):
    """The part of importlib.metadata.EntryPoint that is used here."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def dist(self) -> Any: ...
    def load(self) -> Any: ...


EntryPoints = Callable[[str], Iterable[EntryPoint]]


class Problem(msgspec.Struct, frozen=True):
    """A plug-in that is installed and not used, and why."""

    group: str
    name: str
    distributions: tuple[str, ...]
    reason: str


class InstalledRanker(msgspec.Struct, frozen=True, eq=False):
    name: str
    factory: RankerFactory
    distribution: str
    distribution_version: str

    @property
    def inline(self) -> bool:
        """Whether it may score on the event loop: light, and our own, since a third party's could hang there."""
        return self.distribution == OWN_RANKERS and self.factory.light


class InstalledSource(msgspec.Struct, frozen=True, eq=False):
    name: str
    source: CandidateSource
    distribution: str
    distribution_version: str

    @property
    def own(self) -> bool:
        """Whether it is our own, and may share a thread with others: a third party's could hang there."""
        return self.distribution == OWN_SOURCES


class Installed(msgspec.Struct, Generic[T], frozen=True, eq=False):
    """The usable plug-ins of one group by name, in the order of their names, and those that are not usable."""

    by_name: dict[str, T]
    problems: tuple[Problem, ...]


class LoadedRanker(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A ranker as it stands with one bundle: `ranker` is None exactly when `problem` says why it cannot score."""

    name: str
    version: str
    distribution: str
    distribution_version: str
    required_features: tuple[str, ...]
    needs_bundle: bool
    inline: bool
    ranker: Ranker | None
    problem: str | None = None

    @property
    def part(self) -> str:
        """What its breaker, its threads and their metrics are named after: this version, so that the failures of one do not
        count for the next."""
        return f"ranker:{self.name}:{self.version}"


def registered(group: str) -> Iterable[EntryPoint]:
    """The entry points of a group in this environment."""
    return metadata.entry_points(group=group)


def load_rankers(
    settings: Settings, known_features: Collection[str], entry_points: EntryPoints = registered
) -> Installed[InstalledRanker]:
    """Rankers to serve with. The default and the fallback are always among them; PluginBroken when they cannot be. The one in the
    shadow is too, if it can be: nobody is served by it."""
    needed = {
        settings.default_ranker: variable("default_ranker"),
        settings.fallback_ranker: variable("fallback_ranker"),
    }

    def build(name: str, made: Any, origin: tuple[str, str]) -> InstalledRanker:
        check_factory(made, known_features)
        if name == settings.fallback_ranker and made.needs_bundle:
            raise PluginBroken("needs a bundle, and the fallback has to work without one")
        return InstalledRanker(name, made, *origin)

    besides = (settings.shadow_ranker,) if settings.shadow_ranker else ()
    return _load(RANKERS, _listed(settings.rankers), needed, build, entry_points, besides)


def load_sources(settings: Settings, entry_points: EntryPoints = registered) -> Installed[InstalledSource]:
    """Candidate sources to retrieve with."""

    def build(name: str, made: Any, origin: tuple[str, str]) -> InstalledSource:
        check_common(made, ("find",))
        return InstalledSource(name, made, *origin)

    return _load(SOURCES, _listed(settings.sources), {}, build, entry_points)


def instantiate(installed: Installed[InstalledRanker], bundle: Bundle | None) -> dict[str, LoadedRanker]:
    """Every installed ranker, loaded from `bundle`; without one, those that need none. Raises nothing."""
    return {name: instantiate_one(ranker, bundle) for name, ranker in installed.by_name.items()}


def instantiate_one(installed: InstalledRanker, bundle: Bundle | None) -> LoadedRanker:
    """One of them."""
    try:
        arrays = _arrays(installed, bundle) if installed.factory.needs_bundle else {}
        return standing(installed, load_ranker(installed, arrays))
    except (PluginBroken, BundleInvalid) as exc:
        return standing(installed, None, str(exc))


def standing(installed: InstalledRanker, ranker: Ranker | None, problem: str | None = None) -> LoadedRanker:
    """An installed ranker as it stands: what it loaded, or why it did not."""
    return LoadedRanker(
        name=installed.name,
        version=installed.factory.version,
        distribution=installed.distribution,
        distribution_version=installed.distribution_version,
        required_features=installed.factory.required_features,
        needs_bundle=installed.factory.needs_bundle,
        inline=installed.inline,
        ranker=ranker,
        problem=problem,
    )


def _load(
    group: str,
    listed: tuple[str, ...],
    needed: dict[str, str],
    build: Callable[[str, Any, tuple[str, str]], T],
    entry_points: EntryPoints,
    besides: tuple[str, ...] = (),
) -> Installed[T]:
    """`listed`: to be loaded, and no others unless `needed` or `besides`, of which the latter may be missing."""
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for point in entry_points(group):
        found[point.name].append(point)
    by_setting = dict.fromkeys(listed, variable(group.removeprefix("amity."))) | needed
    by_name: dict[str, T] = {}
    problems: list[Problem] = []
    for name in sorted({*found, *by_setting, *besides}):
        if listed and name not in by_setting and name not in besides:
            continue
        try:
            by_name[name] = build_plugin(name, found[name], build)
        except PluginBroken as exc:
            if name in by_setting:
                others = ", ".join(sorted(other for other in found if found[other])) or "none"
                raise PluginBroken(f"{by_setting[name]} names {name!r}: {exc} (registered: {others})") from exc
            problems.append(Problem(group, name, tuple(" ".join(origin_of(point)) for point in found[name]), str(exc)))
    return Installed(by_name, tuple(problems))


def build_plugin(name: str, points: list[EntryPoint], build: Callable[[str, Any, tuple[str, str]], T]) -> T:
    """The plug-in of this name, of the entry points of this name. Raises PluginBroken."""
    if not points:
        raise PluginBroken("no installed distribution registers it")
    if not _NAME.fullmatch(name):
        raise PluginBroken("a name has up to 64 letters, digits, dots, dashes and underscores")
    if len(points) > 1:
        raise PluginBroken(f"registered by {' and by '.join(sorted(' '.join(origin_of(point)) for point in points))}")
    with foreign(f"{points[0].value} cannot be loaded"):
        return build(name, points[0].load()(), origin_of(points[0]))


def origin_of(point: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that brings a plug-in."""
    return ("unknown", "unknown") if point.dist is None else (str(point.dist.name), str(point.dist.version))


def _listed(setting: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in setting.split(","))))


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Code of others at work: all it raises becomes PluginBroken, for it must not take the service down with it. So does
    SystemExit, which is how a script ends that was not meant to be imported; Ctrl-C remains the operator's."""
    try:
        yield
    except PluginBroken:
        raise
    except StageBroken as exc:  # our own words
        raise PluginBroken(f"{what}: {exc}") from exc
    except (Exception, SystemExit) as exc:
        raise PluginBroken(f"{what}: {type(exc).__name__}: {exc}") from exc


def check_common(plugin: Any, methods: tuple[str, ...]) -> None:
    """What every plug-in has. Raises PluginBroken."""
    contract = getattr(plugin, "contract_version", None)
    if contract != CONTRACT_VERSION:
        raise PluginBroken(f"is written for contract {contract}, and this release has contract {CONTRACT_VERSION}")
    version = getattr(plugin, "version", None)
    if not isinstance(version, str) or not _NAME.fullmatch(version):
        raise PluginBroken(f"its version {version!r} is not up to 64 letters, digits, dots, dashes and underscores")
    for method in methods:
        if not callable(getattr(plugin, method, None)):
            raise PluginBroken(f"has no method {method!r}")


def check_factory(factory: Any, known_features: Collection[str]) -> None:
    """What the factory of a ranker has. Raises PluginBroken."""
    check_common(factory, ("train", "dump", "load"))
    for flag in ("needs_bundle", "light"):
        if not isinstance(getattr(factory, flag, None), bool):
            raise PluginBroken(f"its {flag!r} is not True or False")
    names = getattr(factory, "required_features", None)
    if not isinstance(names, tuple) or not names or not all(isinstance(name, str) for name in names):
        raise PluginBroken("its 'required_features' is not a tuple of at least one name")
    if len(set(names)) < len(names):
        raise PluginBroken("it requires a feature twice")
    if unknown := [name for name in names if name not in known_features]:
        raise PluginBroken(f"it requires features that do not exist: {', '.join(unknown)}")


def load_ranker(installed: InstalledRanker, arrays: Arrays) -> Ranker:
    """The ranker made of its arrays. Raises PluginBroken."""
    with foreign("cannot be loaded"):
        ranker = installed.factory.load(arrays)
    if not callable(getattr(ranker, "score", None)):
        raise PluginBroken(f"cannot be loaded: what it gives, {type(ranker).__name__}, has no method 'score'")
    return ranker


def _arrays(installed: InstalledRanker, bundle: Bundle | None) -> Arrays:
    """A ranker's own arrays out of a bundle. Raises BundleInvalid when they are not there or are another ranker's."""
    if bundle is None:
        raise BundleInvalid("no bundle is live")
    entry = bundle.manifest.rankers.get(installed.name)
    if entry is None:
        raise BundleInvalid(f"bundle {bundle.version} holds no ranker {installed.name!r}")
    if entry.distribution != installed.distribution:
        raise BundleInvalid(f"bundle {bundle.version} was trained with the {installed.name!r} of {entry.distribution}")
    if entry.required_features != installed.factory.required_features:
        raise BundleInvalid(f"bundle {bundle.version} was trained for other features than {installed.name!r} requires")
    prefix = array_prefix(installed.name)
    own = (name for name in bundle.names(prefix) if ARRAY_NAME.fullmatch(name.removeprefix(prefix)))
    return {name.removeprefix(prefix): bundle.array(name) for name in own}


def array_prefix(name: str) -> str:
    """What the names of a ranker's arrays begin with in a bundle."""
    return f"rankers.{name}."
