"""The unit for systemd says what is so."""

import configparser

from service.settings import Settings, load
from tests.embedded import ROOT


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # keys keep their case
    parser.read_string((ROOT / "deploy" / "amity@.service").read_text())
    return parser


def test_its_settings_are_settings_and_each_instance_has_a_port() -> None:
    said = dict(pair.split("=", 1) for pair in unit()["Service"]["Environment"].split())
    assert said["AMITY_PORT"] == "%i"
    settings = load(said | {"AMITY_PORT": "8001"})
    assert str(settings.home) == f"/var/lib/{unit()['Service']['StateDirectory']}"


def test_it_waits_for_what_is_at_work_and_starts_what_the_page_installs() -> None:
    service = unit()["Service"]
    assert int(service["TimeoutStopSec"]) > Settings().drain_s + 5
    assert service["ExecStart"].endswith("/.venv/bin/amity serve")
