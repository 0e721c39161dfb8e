"""Every setting in one table, read once into one frozen Settings. Nothing else reads the environment (but bootstrap)."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.errors import BadSetting

_PREFIX = "AMITY_"
_NOT_OURS = re.compile(r"AMITY_(EVAL_DATA|(\w+_)?SERVICE_(HOST|PORT\w*)|(\w+_)?PORT_\d+_(TCP|UDP)\w*|\w+_PORT)")
"""Variables that are no settings: the folder of the data sets that tests and benchmarks may use, and what Kubernetes sets in
each container for every Service whose name begins with `amity`."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The table: name, type and bounds, help, unit, default. The variable of `port` is AMITY_PORT, and so on."""

    home: Annotated[Path, Meta(description="State of the private servers and, by default, the bundles")] = Path("~/.amity")
    database_url: Annotated[str, Meta(description="PostgreSQL; empty: the private one, where a command allows it")] = ""
    redis_url: Annotated[
        str,
        Meta(
            description="Redis or Valkey: redis://, rediss:// or unix://; a Cluster redis+cluster://HOST:PORT[,HOST:PORT]; "
            "Sentinels redis+sentinel://HOST:PORT[,HOST:PORT]/MASTER[/DB]; empty: the private one, where a command allows it"
        ),
    ] = ""
    artifacts: Annotated[str, Meta(description="Folder or URL of the bundles; empty: `artifacts` under AMITY_HOME")] = ""
    host: Annotated[str, Meta(description="Address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 takes a free one")] = 8000
    api_keys: Annotated[str, Meta(description="API keys, `name:scope+scope:sha256`, comma-separated; empty: none")] = ""
    allow_keyless_bind: Annotated[bool, Meta(description="Serve without keys on any address, and under any name")] = False
    metrics_open: Annotated[bool, Meta(description="Whether /metrics needs no key")] = True
    deadline_ms: Annotated[int, Meta(ge=1, description="Time for one recommendation request, ms")] = 250
    retrieval_share: Annotated[float, Meta(gt=0, le=1, description="Part of the deadline that retrieval may use")] = 0.60
    ranking_share: Annotated[float, Meta(gt=0, le=1, description="Part of the deadline that ranking may use")] = 0.25
    max_in_flight: Annotated[int, Meta(ge=1, description="Recommendation requests at work at once in a replica")] = 16
    max_queued: Annotated[int, Meta(ge=0, description="Requests that may wait for a place; more get a 503")] = 128
    threads: Annotated[int, Meta(ge=1, description="Worker threads of a replica")] = 8
    redis_timeout_ms: Annotated[int, Meta(ge=1, description="Time for one Redis command, ms")] = 75
    database_timeout_ms: Annotated[int, Meta(ge=1, description="Time for one database read within a request, ms")] = 150
    database_pool_size: Annotated[int, Meta(ge=1, description="Database connections of a replica")] = 10
    pool_ttl_s: Annotated[int, Meta(ge=1, description="Time after which a ranked pool is renewed, s, jittered by a tenth")] = 600
    pool_stale_s: Annotated[int, Meta(ge=0, description="Time for which a pool serves on after it, while one renews it, s")] = 600
    first_level_mb: Annotated[int, Meta(ge=1, description="Memory for viewers, pools and profiles held, MiB")] = 512
    pool_size: Annotated[int, Meta(ge=100, description="Candidates that a ranked pool holds at most")] = 500
    source_k: Annotated[int, Meta(ge=1, description="Candidates asked of each source")] = 200
    sources: Annotated[str, Meta(description="Candidate sources to use, comma-separated; empty: all installed")] = ""
    rankers: Annotated[str, Meta(description="Rankers to load, comma-separated; empty: all installed")] = ""
    default_ranker: Annotated[str, Meta(description="Ranker of the requests that name none")] = "v1"
    fallback_ranker: Annotated[str, Meta(description="Ranker that steps in for one that fails")] = "heuristic"
    shadow_ranker: Annotated[str, Meta(description="Ranker that scores pools beside the serving one, unseen; empty: none")] = ""
    shadow_share: Annotated[float, Meta(ge=0, le=1, description="Share of new pools that the shadow ranker scores too")] = 0.1
    exploration_share: Annotated[float, Meta(ge=0, le=0.5, description="Share of a slate's positions that explore")] = 0.1
    feed_poll_ms: Annotated[int, Meta(ge=10, description="Pause between two looks at the change feed, ms")] = 250
    overlay_max: Annotated[int, Meta(ge=1, description="People new or changed since the bundle; more: train anew")] = 50_000
    bundle_poll_ms: Annotated[int, Meta(ge=10, description="Pause between two looks at the live bundle, ms")] = 2000
    changes_retention_days: Annotated[int, Meta(ge=1, description="How long changes are kept for replicas")] = 14
    impressions_flush_ms: Annotated[int, Meta(ge=10, description="Pause between two writes of impressions, ms")] = 500
    impressions_queue: Annotated[int, Meta(ge=1, description="Slates that may wait to be written; more are dropped")] = 20_000
    guardrails_poll_s: Annotated[float, Meta(gt=0, description="Pause between the fleet's looks at guardrails, s")] = 60
    market_every_s: Annotated[float, Meta(gt=0, description="Pause between the fleet's looks at the market's figures, s")] = 600
    impressions_retention_days: Annotated[int, Meta(ge=1, description="How long impressions are kept")] = 90
    bundles_kept: Annotated[int, Meta(ge=1, description="Published bundles kept; older ones are deleted whole")] = 5
    publish_margin: Annotated[float, Meta(ge=0, le=1, description="How much worse, relatively, a new bundle may be")] = 0.05
    drain_s: Annotated[int, Meta(ge=0, description="Time that running requests get on shutdown, s")] = 20
    otlp_endpoint: Annotated[str, Meta(description="OTLP over HTTP collector of the traces; empty: none are sent")] = ""
    trace_ratio: Annotated[float, Meta(ge=0, le=1, description="Share of the requests that are traced")] = 0.01
    log_format: Annotated[str, Meta(pattern="^(auto|json|console)$", description="auto: console on a terminal")] = "auto"
    log_level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$", description="Least level logged")] = "info"

    @property
    def home_path(self) -> Path:
        return self.home.expanduser().absolute()

    @property
    def cache_path(self) -> Path:
        """Local copies of bundles that are kept elsewhere."""
        return self.home_path / "cache"

    @property
    def artifacts_url(self) -> str:
        return self.artifacts or str(self.home_path / "artifacts")


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return _PREFIX + name.upper()


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment; raises BadSetting naming the variable that is wrong or unknown."""
    environment = os.environ if environment is None else environment
    fields = {field.encode_name: field for field in msgspec.structs.fields(Settings)}
    _refuse_unknown(environment, [variable(name) for name in fields])
    values: dict[str, Any] = {}
    for name, field in fields.items():
        text = environment.get(variable(name), "").strip()
        if text:
            values[name] = _convert(name, text, field.type)
    return Settings(**values)


def _refuse_unknown(environment: Mapping[str, str], known: list[str]) -> None:
    """A misspelt variable would else leave its setting at the default without a word."""
    unknown = {name for name, value in environment.items() if name.startswith(_PREFIX) and value.strip()} - set(known)
    for name in sorted(unknown):
        if not _NOT_OURS.fullmatch(name):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)  # the prefix alone makes any two alike by half
            raise BadSetting(f"{name} is no setting" + (f"; did you mean {near[0]}?" if near else ""))


def _convert(name: str, text: str, kind: Any) -> Any:
    try:
        return msgspec.convert(text, kind, strict=False, dec_hook=lambda cls, value: cls(value))
    except msgspec.ValidationError as exc:
        raise BadSetting(f"{variable(name)}={text!r}: {exc}") from exc
