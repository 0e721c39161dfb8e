"""`python -m service.cli.document`: the OpenAPI document on stdout. `make openapi` writes it to `openapi.json`."""

import sys

import msgspec

from service.app import create_app
from service.controllers.openapi import openapi
from service.settings import Settings


def document() -> str:
    """What `/schema` answers, indented, with a newline at its end."""
    app = create_app(Settings())
    return msgspec.json.format(msgspec.json.encode(openapi(app, app.state.version)), indent=2).decode() + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
