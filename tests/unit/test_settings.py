"""One table; the environment is read once."""

from pathlib import Path

import pytest

from service.errors import BadSetting
from service.settings import Settings, load


def test_an_empty_environment_gives_the_defaults() -> None:
    assert load({}) == Settings()


def test_values_are_converted_to_their_types() -> None:
    settings = load(
        {"AMITY_PORT": "9000", "AMITY_ALLOW_KEYLESS_BIND": "true", "AMITY_HOME": "/tmp/x", "AMITY_RANKING_SHARE": "0.5"}
    )
    assert (settings.port, settings.allow_keyless_bind, settings.home, settings.ranking_share) == (
        9000,
        True,
        Path("/tmp/x"),
        0.5,
    )


def test_an_empty_variable_counts_as_unset() -> None:
    assert load({"AMITY_PORT": " "}).port == Settings().port


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AMITY_PORT", "70000"),
        ("AMITY_PORT", "http"),
        ("AMITY_LOG_LEVEL", "loud"),
        ("AMITY_TRACE_RATIO", "2"),
        ("AMITY_DRAIN_S", "-1"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=name):
        load({name: value})


def test_a_variable_that_is_no_setting_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(BadSetting, match=r"AMITY_DEADLINE_SM is no setting; did you mean AMITY_DEADLINE_MS\?"):
        load({"AMITY_DEADLINE_SM": "100"})
    with pytest.raises(BadSetting, match=r"AMITY_ZODIAC is no setting$"):
        load({"AMITY_ZODIAC": "leo"})


@pytest.mark.parametrize(
    "name",
    [
        "PORT",
        "HOME",
        "AMITY_EVAL_DATA",
        "AMITY_SERVICE_HOST",
        "AMITY_PORT_80_TCP",
        "AMITY_POSTGRES_SERVICE_HOST",
        "AMITY_API_SERVICE_PORT_HTTP",
        "AMITY_API_PORT",
        "AMITY_API_PORT_80_TCP_ADDR",
    ],
)
def test_other_programs_variables_are_left_alone(name: str) -> None:
    assert load({name: "tcp://10.0.0.1:80"}) == Settings()


def test_bundles_are_kept_under_home_unless_told_otherwise(tmp_path: Path) -> None:
    assert Settings(home=tmp_path).artifacts_url == str(tmp_path / "artifacts")
    assert Settings(artifacts="s3://bucket/x").artifacts_url == "s3://bucket/x"
