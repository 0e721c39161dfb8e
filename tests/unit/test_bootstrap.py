"""Each in a process of its own: what is tested happens before anything else is imported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOW_THREADS = "import os; print(os.environ.get('OMP_NUM_THREADS'), os.environ.get('OPENBLAS_NUM_THREADS'))"
MAPPED = "print(*{line.split()[-1] for line in open('/proc/self/maps') if 'libgomp' in line})"


def run(code: str, *prefix: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "OPENBLAS_", "LD_"))}
    return subprocess.run(
        [*prefix, sys.executable, "-W", "ignore", "-c", code, "an argument"],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_serving_uses_one_thread_in_numeric_libraries() -> None:
    assert run(f"from service import bootstrap; bootstrap.prepare(1); {SHOW_THREADS}").stdout == "1 1\n"


def test_threads_that_the_user_set_stand() -> None:
    shown = run(f"from service import bootstrap; bootstrap.prepare(1); {SHOW_THREADS}", OMP_NUM_THREADS="2")
    assert shown.stdout == "2 1\n"


def test_training_started_by_a_serving_process_uses_all_cores() -> None:
    child = f"from service import bootstrap; bootstrap.prepare(None); {SHOW_THREADS}"
    again = f"import os, sys; os.execv(sys.executable, [sys.executable, '-c', {child!r}])"
    code = f"from service import bootstrap; bootstrap.prepare(1); {again}"
    assert run(code).stdout == "None None\n"


def test_training_keeps_the_threads_that_the_user_set() -> None:
    shown = run(f"from service import bootstrap; bootstrap.prepare(None); {SHOW_THREADS}", OMP_NUM_THREADS="3")
    assert shown.stdout == "3 None\n"


@pytest.fixture
def without_libgomp() -> tuple[str, ...]:
    """A command prefix under which the system's libgomp.so.1 is hidden."""
    shown = run(f"import ctypes; ctypes.CDLL('libgomp.so.1'); {MAPPED}")
    if shown.returncode != 0:
        return ()  # this machine has none
    hide = ("unshare", "--map-root-user", "--mount", "sh", "-c", 'mount --bind /dev/null "$0" && exec "$@"')
    prefix = (*hide, shown.stdout.strip())
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("hiding libgomp needs mount namespaces, which this machine refuses")
    return prefix


def test_a_machine_without_libgomp_uses_the_copy_of_scikit_learn(without_libgomp: tuple[str, ...], tmp_path: Path) -> None:
    code = f"from service import bootstrap; bootstrap.prepare(1); import lightgbm, implicit.als, sklearn.ensemble; {MAPPED}"
    shown = run(code, *without_libgomp, AMITY_HOME=str(tmp_path))
    (library,) = shown.stdout.split()
    assert "scikit_learn.libs" in library


def test_the_second_start_has_the_arguments_of_the_first(without_libgomp: tuple[str, ...], tmp_path: Path) -> None:
    code = "from service import bootstrap; bootstrap.prepare(1); import sys; print(sys.argv)"
    shown = run(code, *without_libgomp, AMITY_HOME=str(tmp_path))
    assert shown.stdout == "['-c', 'an argument']\n"


def test_a_copy_that_cannot_be_loaded_ends_in_one_clear_line(without_libgomp: tuple[str, ...], tmp_path: Path) -> None:
    broken = tmp_path / "scikit_learn.libs" / "libgomp-0.so.1"
    broken.parent.mkdir()
    broken.write_bytes(b"not a library")
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").touch()
    code = "from service import bootstrap; bootstrap.prepare(1)"
    shown = run(code, *without_libgomp, AMITY_HOME=str(tmp_path / "home"), PYTHONPATH=str(tmp_path))
    assert "OperatorError: libgomp.so.1 is missing" in shown.stderr
