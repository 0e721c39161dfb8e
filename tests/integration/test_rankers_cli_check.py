"""`amity rankers check` finds each kind of bad plug-in by the law it breaks, and says why; whatever it does to its process."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from service.errors import OperatorError
from service.scaffold.check import LOADS, Law, check
from tests.replicas import amity

MODULE = """
import os
import subprocess
import threading

import numpy as np

FOREVER = threading.Event()
STREAM = np.random.default_rng(1)


def sound(batch):
    return (1 / (1 + np.exp(-np.clip(np.nan_to_num(batch.features[:, 0]), -9, 9)))).astype(np.float32)


class Sound:
    contract_version = 1
    version = "1"
    required_features = ("forward_affinity", "distance_km")
    needs_bundle = True
    light = True
    score = staticmethod(sound)

    def train(self, examples):
        return self

    def dump(self, ranker):
        return {"nothing": np.zeros(1)}

    def load(self, arrays):
        if "nothing" not in arrays:
            raise ValueError("no arrays")
        return self


def missing(batch):
    if np.isnan(batch.features).any():
        raise ValueError("Input X contains NaN")
    return sound(batch)


def leaving(batch):
    if "AMITY_LEFT" in os.environ:
        left = subprocess.Popen(["sleep", "600"])
        with open(os.environ.pop("AMITY_LEFT"), "w") as told:
            told.write(str(left.pid))
    return sound(batch)


def ranker(name, score=sound, **body):
    globals()[name] = type(name, (Sound,), {"score": staticmethod(score), **body})


ranker("Wide", lambda batch: sound(batch).astype(np.float64))
ranker("Short", lambda batch: sound(batch)[:-1])
ranker("Below", lambda batch: sound(batch) - np.float32(0.1))
ranker("Nan", lambda batch: np.clip(batch.features[:, 0], 0, 1))
ranker("Whole", lambda batch: np.ones(len(batch.features), np.int64))
ranker("ByPlace", lambda batch: np.linspace(0, 1, len(batch.features), dtype=np.float32))
ranker("Drawn", lambda batch: (sound(batch) * np.float32(np.random.random())).astype(np.float32))
ranker("Streams", lambda batch: STREAM.random(len(batch.features), np.float32))
ranker("RaisesOnNan", missing)
ranker("Pickles", dump=lambda self, ranker: {"nothing": np.array([self])})
ranker("Hangs", lambda batch: FOREVER.wait() if len(batch.features) == 700 else sound(batch))
ranker("Ends", lambda batch: os._exit(3) if len(batch.features) == 700 else sound(batch))
ranker("LeavesOne", leaving)
ranker("Other", contract_version=2)
ranker("Strange", required_features=("shoe_size",))
"""
BREAKS = {
    "Wide": ("scores are probabilities one a candidate", "scores are float64, and have to be float32"),
    "Short": ("scores are probabilities one a candidate", "one a candidate"),
    "Below": ("scores are probabilities one a candidate", "scores go down to -0."),
    "Nan": ("missing features do not make missing scores", "scores are NaN or infinite"),
    "Whole": ("scores are probabilities one a candidate", "scores are int64, and have to be float32"),
    "ByPlace": ("order of the batch does not matter", "Not equal to tolerance"),
    "Drawn": ("global randomness is neither used nor touched", ""),
    "Streams": ("same batch scores the same again", "Arrays are not equal"),
    "RaisesOnNan": ("missing features do not make missing scores", "ValueError: Input X contains NaN (bad_plugins.py, line "),
    "Pickles": ("dump holds plain arrays only", "object"),
    "Other": (LOADS, "is written for contract 2"),
    "Strange": (LOADS, "requires features that do not exist: shoe_size"),
    "absent": (LOADS, "No module named 'no_such_module'"),
    "nothing": (LOADS, "has no attribute 'NoSuchRanker'"),
}
VALUES = {name: f"bad_plugins:{name}" for name in ("Sound", "Hangs", "Ends", "LeavesOne", *BREAKS)}
VALUES |= {"absent": "no_such_module:Ranker", "nothing": "bad_plugins:NoSuchRanker"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed distribution of bad rankers."""
    folder = tmp_path_factory.mktemp("site")
    about = folder / "bad_plugins-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-plugins\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in VALUES.items())
    (about / "entry_points.txt").write_text(f"[amity.rankers]\n{lines}")
    (folder / "bad_plugins.py").write_text(MODULE)
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process sees it, and those it starts do."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))


def broken(laws: list[Law]) -> dict[str, str | None]:
    return {law.law: law.reason for law in laws if not law.ok}


@pytest.mark.usefixtures("installed")
def test_a_sound_ranker_keeps_every_law() -> None:
    laws = check("Sound", 60)
    assert broken(laws) == {}
    assert len(laws) > 15


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", BREAKS)
def test_each_kind_of_bad_ranker_is_found_by_its_law(name: str) -> None:
    law, reason = BREAKS[name]
    found = broken(check(name, 60))
    assert reason in str(found[law]), found


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "said"), [("Hangs", "it did not end within 10 s"), ("Ends", "it ended the process with code 3")]
)
def test_what_does_not_come_back_is_given_up_and_the_other_laws_are_tried(name: str, said: str) -> None:
    laws = check(name, 10)
    assert broken(laws) == {"two threads get the same answers as one": said}
    assert len(laws) > 15


@pytest.mark.usefixtures("installed")
def test_what_a_plug_in_leaves_running_is_ended_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMITY_LEFT", str(tmp_path / "left"))
    check("LeavesOne", 60)
    left = int((tmp_path / "left").read_text())
    status = Path(f"/proc/{left}/status")
    for _ in range(500):  # a killed process takes a moment to be gone
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.01)
    pytest.fail("it still runs")


def test_what_the_suite_needs_and_is_not_there_is_named() -> None:
    with pytest.raises(OperatorError, match=r"needs pytest and hypothesis: pip install 'amity-rankers\[testing\]'"):
        check("v1", 60, lambda module: None)


def test_a_name_that_nobody_registers_is_one_line() -> None:
    with pytest.raises(OperatorError, match=r"registers a ranker or a source 'nobody'; there are .*v1"):
        check("nobody", 60)


def test_the_command_prints_a_law_a_line_and_fails_where_one_is_broken(site: Path) -> None:
    def run(name: str, *options: str) -> "subprocess.CompletedProcess[str]":
        return amity({"PYTHONPATH": str(site)}, "rankers", "check", name, *options)

    wide, sound = run("Wide"), run("Sound", "--json")
    assert wide.returncode == 1, wide.stderr
    lines = wide.stdout.splitlines()
    assert "pass  factory declares what the contract asks" in lines
    assert any(line.startswith("FAIL  scores are probabilities one a candidate: with 0: scores are float64") for line in lines)
    assert lines[-1].startswith("ranker Wide: ")
    assert sound.returncode == 0, sound.stdout
    assert json.loads(sound.stdout)["ok"] is True


def test_laws_about_what_a_ranker_does_not_do_are_said_to_be_skipped() -> None:
    laws = check("popular", 120.0)
    apart = [law for law in laws if not law.applies]
    assert len(apart) > 5
    assert all(law.ok and "does not explain itself" in str(law.reason) for law in apart)
    assert all(law.applies for law in check("heuristic", 120.0))


def test_a_source_is_checked_by_its_own_laws() -> None:
    laws = check("explore", 60)
    assert {law.kind for law in laws} == {"source"}
    assert broken(laws) == {}
