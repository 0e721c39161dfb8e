"""The `amity` command: prepares the process, then hands over. Every foreseen failure is one clear line and exit code 1."""

import sys

from service import bootstrap
from service.errors import AmityError, BadInput

# Training uses all cores; everything else keeps to one thread per caller, as FAISS and BLAS otherwise fight over them.
PARALLEL_COMMANDS = ("train",)


def main() -> None:
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        bootstrap.prepare(threads=None if command in PARALLEL_COMMANDS else 1)
        from service.cli.commands import app  # after prepare: this imports numpy

        app()
    except AmityError as exc:
        sys.stderr.write(f"amity: {line_of(exc)}\n")
        sys.exit(1)
    except KeyboardInterrupt:  # before typer, which knows what to do with it, has taken over
        sys.exit(130)


def line_of(error: AmityError) -> str:
    """What is told of an error, with the fields that are wrong."""
    if isinstance(error, BadInput):
        return "; ".join(f"{problem.field}: {problem.message}" for problem in error.problems)
    return error.message
