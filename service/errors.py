"""Every error Amity raises on purpose, in one tree; each class carries the HTTP status it becomes.

AmityError 500
├── BadInput 422                 values that break a rule; `problems` names each field
│   └── UnknownAlgorithm 422
├── MalformedBody 400            a body that is not JSON
├── BodyTooSlow 408
├── BodyTooLarge 413
├── UnsupportedMedia 415
├── Unauthorized 401 · Forbidden 403
├── NotFound 404 ── UnknownUser · UnknownExperiment 404
├── ExperimentConflict 409       what an experiment, as it stands, does not allow
├── Unavailable 503              cannot be done now; `retry_after_s` says when to ask again
│   ├── Overloaded 503
│   └── DatabaseUnavailable 503
├── StageFailed 503              something inside one stage of a request; the request degrades instead of failing
│   ├── StageTimeout · StageRaised · StageBusy · StageBroken · CircuitOpen
│   └── RedisUnavailable
└── OperatorError                for the command line: one clear line, exit code 1
    ├── BadSetting · PluginBroken · BundleInvalid · PublishRefused · SchemaOutdated · MigrationBlocked · MigrationFailed
        ImportRefused · EmbeddedServerError
"""

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One broken rule: the field as the caller named it (`limit`, `interactions[3].kind`) and what is wrong with it."""

    field: str
    message: str


class AmityError(Exception):
    """Something went wrong."""

    status = 500

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self)


class BadInput(AmityError):
    """Validation failed"""

    status = 422

    def __init__(self, *problems: Problem) -> None:
        super().__init__("Validation failed")
        self.problems = problems

    @classmethod
    def of(cls, field: str, message: str) -> "BadInput":
        return cls(Problem(field, message))


class UnknownAlgorithm(BadInput):
    """The requested algorithm_version is not installed"""

    def __init__(self, name: str, installed: tuple[str, ...]) -> None:
        super().__init__(Problem("algorithm_version", f"no ranker named {name!r}; installed: {', '.join(installed)}"))


class MalformedBody(AmityError):
    """The body is not JSON"""

    status = 400


class BodyTooSlow(AmityError):
    """The body did not come whole in time"""

    status = 408


class BodyTooLarge(AmityError):
    """The body is larger than 1 MiB"""

    status = 413


class UnsupportedMedia(AmityError):
    """The body must be application/json"""

    status = 415


class Unauthorized(AmityError):
    """A valid API key is required"""

    status = 401


class Forbidden(AmityError):
    """The API key lacks the scope that this needs"""

    status = 403


class NotFound(AmityError):
    """There is nothing here"""

    status = 404


class UnknownUser(NotFound):
    """Unknown user"""

    def __init__(self, user_id: int) -> None:
        super().__init__(f"no user with id {user_id}")
        self.user_id = user_id


class UnknownExperiment(NotFound):
    """Unknown experiment"""

    def __init__(self, name: str) -> None:
        super().__init__(f"no experiment named {name!r}")


class ExperimentConflict(AmityError):
    """The experiment does not allow this as it stands"""

    status = 409


class Unavailable(AmityError):
    """This cannot be done now"""

    status = 503
    retry_after_s = 1


class Overloaded(Unavailable):
    """More load than capacity; ask again shortly"""


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached; nothing was written"""

    retry_after_s = 2


class StageFailed(AmityError):
    """A stage of the request failed; `reason` is the word that `degraded` shows."""

    status = 503
    reason = "failed"

    def __init__(self, message: str | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.reason


class StageTimeout(StageFailed):
    """A stage passed its deadline"""

    reason = "timeout"


class StageRaised(StageFailed):
    """A plug-in or a store raised what nobody foresaw"""

    reason = "exception"


class StageBusy(StageFailed):
    """A stage was not asked: its threads were taken, perhaps by calls that hang, or its time was up before its turn"""

    reason = "busy"


class StageBroken(StageFailed):
    """A plug-in returned what its contract forbids"""

    reason = "invalid_result"


class CircuitOpen(StageFailed):
    """Failed too often lately; not tried"""

    reason = "circuit_open"


class RedisUnavailable(StageFailed):
    """Redis cannot be reached"""

    reason = "unavailable"


class OperatorError(AmityError):
    """The command cannot be done"""


class BadSetting(OperatorError):
    """A setting has a value that cannot be used"""


class PluginBroken(OperatorError):
    """A plug-in cannot be used"""


class BundleInvalid(OperatorError):
    """A bundle is missing, damaged or of another schema"""


class PublishRefused(OperatorError):
    """The new bundle is worse than the live one"""


class LiveBundleMoved(OperatorError):
    """Another bundle went live meanwhile"""


class SchemaOutdated(OperatorError):
    """The database's schema is not the one this version needs; run `amity migrate`"""


class MigrationBlocked(OperatorError):
    """The schema cannot be changed now; somebody still needs it as it is"""


class MigrationFailed(OperatorError):
    """The database refused a statement of a revision"""


class ImportRefused(OperatorError):
    """The file cannot be imported"""


class EmbeddedServerError(OperatorError):
    """A private server did not start"""
