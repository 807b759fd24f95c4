"""launch/slurm/job.sh: when training is started again, and when the job is requeued."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launching import ROOT, run

# The command ends with the next of these statuses; nothing is waited for.
PRELUDE = r"""
log_dir=$1 job=7 command=(train) statuses=("${@:2}")
train() {
  echo "started"
  status=${statuses[$(grep -c started "$log_dir/out") - 1]}
  [[ $status != t* ]] || { echo x >"$log_dir/metrics.jsonl" && status=${status#t}; }
  [[ $status != s* ]] || { echo >"$log_dir/model.ckpt-5.index" && status=${status#s}; }
  return "$status"
}
scontrol() { echo "$*"; }
sleep() { [[ ! -e $log_dir/signal ]] || kill -USR1 $$; }
exec >"$log_dir/out"
"""


def run_script(log_dir: Path, *statuses: str, status: int, restarts: int = 0) -> str:
    """Runs the script with a training that ends so; returns what was called."""
    text = PRELUDE + (ROOT / "launch/slurm/job.sh").read_text()
    env = {"SLURM_RESTART_COUNT": str(restarts)}
    run(("bash", "-c", text, "job.sh", log_dir, *statuses), status, log_dir, 20, env)
    return (log_dir / "out").read_text()


@pytest.mark.parametrize(
    ("statuses", "starts", "status", "is_requeued"),
    [
        (["t0"], 1, 0, False),
        (["t1"], 1, 1, False),
        (["2"], 1, 2, False),  # a wrong flag
        (["t137"], 1, 137, False),  # a rank was killed while it trained
        (["139", "t0"], 2, 0, False),  # a start that failed
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
    assert run_script(tmp_path, "143", status=143, restarts=9).endswith("requeue 7\n")
    assert run_script(tmp_path, "143", status=143, restarts=10) == "started\n"
    progress = run_script(tmp_path, "s143", status=143, restarts=10)
    assert progress.endswith("requeue 7\n")
