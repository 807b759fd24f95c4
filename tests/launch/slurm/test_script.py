"""launch/slurm/job.sh: when training is started again, and when the job is requeued."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launching import ROOT, run

# The command ends with the next of these statuses: after a step (t), a checkpoint (s),
# output (p), or an error of srun (e). Nothing is waited for.
PRELUDE = r"""
log_dir=$1 job=7 command=(train) statuses=("${@:2}")
train() {
  echo "started" >>"$log_dir/calls"
  status=${statuses[$(grep -c started "$log_dir/calls") - 1]}
  [[ $status != p* ]] || { echo "distmnist: the disk is full" && status=${status#p}; }
  [[ $status != e* ]] || { echo "srun: error: task 1" && status=${status#e}; }
  [[ $status != t* ]] || { echo x >"$log_dir/metrics.jsonl" && status=${status#t}; }
  [[ $status != s* ]] || { echo >"$log_dir/model.ckpt-5.index" && status=${status#s}; }
  return "$status"
}
scontrol() { echo "$*" >>"$log_dir/calls"; }
sleep() { [[ ! -e $log_dir/signal ]] || kill -USR1 $$; }
exec >"$log_dir/out"
"""


def run_script(log_dir: Path, *statuses: str, status: int, restarts: int = 0) -> str:
    """Runs the script with a training that ends so; returns what was called."""
    text = PRELUDE + (ROOT / "launch/slurm/job.sh").read_text()
    env = {"SLURM_RESTART_COUNT": str(restarts)}
    run(("bash", "-c", text, "job.sh", log_dir, *statuses), status, log_dir, 20, env)
    return (log_dir / "calls").read_text()


@pytest.mark.parametrize(
    ("statuses", "starts", "status", "is_requeued"),
    [
        (["t0"], 1, 0, False),
        (["t1"], 1, 1, False),
        (["p1"], 1, 1, False),
        (["1", "1", "t0"], 3, 0, False),  # mpirun could not start a rank
        (["2"], 1, 2, False),  # a wrong flag
        (["t137"], 1, 137, False),  # a rank was killed while it trained
        (["139", "t0"], 2, 0, False),  # a start that failed
        (["e0", "t0"], 2, 0, False),
        (["e0", "e0", "e0"], 3, 1, False),
        (["p0"], 1, 0, False),  # nothing was left to train
        (["137", "137", "137"], 3, 137, False),
        (["s143"], 1, 143, True),
        (["t205"], 1, 205, True),
        (["130"], 1, 130, False),
        (["139", "s143"], 2, 143, True),
    ],
)
def test_a_start_that_fails_is_tried_again_and_a_stop_is_requeued(
    tmp_path: Path, statuses: list[str], starts: int, status: int, is_requeued: bool
) -> None:
    called = run_script(tmp_path, *statuses, status=status)
    assert called.split("\n")[:-1] == [
        *["started"] * starts,
        *["requeue 7"] * is_requeued,
    ]


def test_a_signal_between_two_starts_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "signal").touch()
    assert run_script(tmp_path, "139", status=143) == "started\nrequeue 7\n"


def test_a_job_that_never_takes_a_step_is_not_requeued_for_ever(tmp_path: Path) -> None:
    cases = {"soon": ("143", 9), "no": ("143", 10), "steps": ("s143", 10)}
    for name, (status, restarts) in cases.items():
        (tmp_path / name).mkdir()
        called = run_script(tmp_path / name, status, status=143, restarts=restarts)
        assert called == "started\n" + ("requeue 7\n" if name != "no" else "")
