"""A run in an odd place: all that may be missing there is missing at once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.launching import TRAIN, run

# No temporary directory, no file locks, and directories that cannot be synced.
PROGRAM = """
import errno, fcntl, os, runpy, stat, sys, tempfile
def flock(*_): raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
def fsync(descriptor, real=os.fsync):
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    real(descriptor)
def named(*_, **__): raise OSError(errno.EROFS, os.strerror(errno.EROFS))
fcntl.flock, os.fsync, tempfile.NamedTemporaryFile = flock, fsync, named
tempfile._candidate_tempdir_list = lambda: ["/nonexistent"]
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def test_a_run_in_an_odd_place(tmp_path: Path) -> None:
    # No home directory, a user without name, and a locale without Unicode.
    env = {"HOME": "/proc", "LC_ALL": "C", "PYTHONUTF8": "0"}
    env["PYTHONCOERCECLOCALE"] = "0"
    user: tuple[object, ...] = ()
    if os.geteuid() == 0 and shutil.which("setpriv"):
        tmp_path.chmod(0o777)
        rights = "+dac_override,+dac_read_search"  # to read this checkout
        user = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")
        user += (f"--inh-caps={rights}", f"--ambient-caps={rights}", "--")
    python = TRAIN[0]
    name = "größe [a]*?"
    flags = ["--dataset=digits", "--max_steps=20", "--log_every=10", "--profile=5,10"]
    program = (*user, python, "-c", PROGRAM, "distmnist.train", *flags)
    done = run((*program, f"--log_dir={name}"), cwd=tmp_path, env=env)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    found = {path.name.partition(".")[0] for path in (tmp_path / name).iterdir()}
    written = {"lock", "metrics", "flags", "events", "model", "model_card"}
    written |= {"best", "eval", "plugins"}
    assert found == written
    assert "a second job" in done.stderr and "loses power" in done.stderr
    assert list((tmp_path / name).glob("plugins/profile/*/*.xplane.pb"))
    again = run((*program, f"--log_dir={name}"), cwd=tmp_path, env=env)
    assert "Nothing left" in again.stderr
