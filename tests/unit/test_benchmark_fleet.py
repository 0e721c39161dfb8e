"""What the fleet's benchmark tells haproxy, and what it makes of the figures."""

import subprocess
from pathlib import Path

import pytest

from benchmarks import fleet
from benchmarks.fleet import Balance, Fleet, Part, haproxy_config, request_cpu_ms
from benchmarks.load import Load
from tests.programs import program

BALANCES: tuple[Balance, ...] = ("round", "path")


def lines_of(section: str, config: str) -> list[str]:
    return config.partition(f"{section}\n")[2].partition("\n\n")[0].split("\n    ")


def test_every_replica_is_behind_the_one_address() -> None:
    config = haproxy_config(8000, [9001, 9002], "round")
    assert "    bind 127.0.0.1:8000\n" in config
    servers = [line.split()[2] for line in lines_of("backend replicas", config) if "server " in line]
    assert servers == ["127.0.0.1:9001", "127.0.0.1:9002"]


@pytest.mark.parametrize(("balance", "line"), [("round", "balance roundrobin"), ("path", "balance uri path-only")])
def test_requests_go_round_or_by_their_path(balance: Balance, line: str) -> None:
    balances = [each.strip() for each in haproxy_config(1, [2], balance).splitlines() if each.strip().startswith("balance")]
    assert balances == [line]


@pytest.mark.parametrize("balance", BALANCES)
def test_haproxy_takes_the_configuration_without_a_warning(balance: Balance, tmp_path: Path) -> None:
    haproxy = program("haproxy", brought_by="Debian's package haproxy")
    file = tmp_path / "haproxy.cfg"
    file.write_text(haproxy_config(18000, [19001, 19002, 19003], balance))
    checked = subprocess.run([haproxy, "-c", "-f", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stdout + checked.stderr


def test_without_haproxy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    reason = fleet.missing()
    assert reason is not None
    assert "package haproxy" in reason


def test_growth_compares_the_cpu_of_a_request_with_that_of_one_replica() -> None:
    answered = Load(100, 10, 45, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    one = Fleet(1, "round", Part(answered, 2.0), Part(answered, 0.1), 0.0)
    three = Fleet(3, "path", Part(answered, 2.5), Part(answered, 0.1), 0.0)
    assert [(row.value, row.met) for row in fleet.growth(one, three)] == [(1.25, False), (1.0, True)]


def test_the_hit_rate_is_of_the_requests_that_were_answered() -> None:
    assert Part(Load(100, 10, 45, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0), 1.0).hit_share == 0.5


def test_what_a_replica_uses_with_nothing_to_do_is_no_cost_of_a_request() -> None:
    ten_seconds = Load(1000, 0, 0, 100.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert request_cpu_ms(ten_seconds, used_s=3.0, idle_share=0.2) == pytest.approx((3.0 - 0.2 * 10) * 1000 / 1000)
