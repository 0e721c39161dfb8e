"""`openapi.json`, from which clients are generated, is what the service answers at `/schema`."""

from service.cli.document import document
from tests.embedded import ROOT


def test_the_file_is_the_document_that_the_service_answers() -> None:
    assert (ROOT / "openapi.json").read_text() == document(), "the routes have changed: run `make openapi`, and `make client`"
