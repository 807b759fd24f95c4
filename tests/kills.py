"""Kills a job again and again, at random moments, and checks what comes of it.

usage: python -m tests.kills [--kills=100] [--seed=0] [--directory=DIR]

Resumes it each time, on 2 ranks; among the moments are those at which it saves, which
it does every few milliseconds.  At the end its parameters and metrics must be those of
a run that nobody disturbed.  The suite runs the short form.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from pathlib import Path

from tests import launching
from tests.jobs import Job
from tests.test_faults import Run, check_against_undisturbed

# A checkpoint every 20 steps: there is hardly a moment at which none is written.
_FLAGS = (*launching.TRAIN, "--dataset=digits", "--max_steps=1000000")
_OFTEN = ("--log_every=50", "--eval_every=1000", "--checkpoint_every=20")


def kill_again_and_again(kills: int, seed: int, directory: Path) -> dict[str, int]:
    """Kills a run, resumes it, and checks its end.

    Args:
        kills: how many.
        seed: of the moments.
        directory: empty; the runs' files stay there.

    Returns:
        How many kills it survived, how many of them fell into the first seconds,
        before the first step, and how many left a half-written checkpoint.
    """
    chance = random.Random(seed)
    run = Run(directory)
    told = {"kills": 0, "before a step": 0, "while it saved": 0}
    command = (*launching.MPIRUN, 2, *_FLAGS, *_OFTEN, f"--log_dir={run.logs}")
    for _ in range(kills):
        before = run.saved()
        with Job(command, directory) as job:
            early = chance.random() < 0.1
            if early:
                time.sleep(chance.uniform(0, 6))
            else:
                job.wait_for(lambda before=before: run.saved() > before)
                time.sleep(chance.uniform(0, 0.3))
            ranks = job.ranks()
            os.kill(ranks[chance.choice(sorted(ranks))], signal.SIGKILL)
            job.end(60)
            told["kills"] += 1
            told["before a step"] += early
            told["while it saved"] += any(run.logs.glob("**/.model.ckpt-*"))
            assert run.saved() >= before, job.output()
            assert "Traceback" not in job.output(), job.output()
    check_against_undisturbed(run, directory / "undisturbed")
    return told


def main() -> None:
    """Kills, and tells how often."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp())
    directory.mkdir(parents=True, exist_ok=True)
    begin = time.time()
    told = kill_again_and_again(options.kills, options.seed, directory)
    print(", ".join(f"{count} {what}" for what, count in told.items()), end=": ")
    print(f"parameters and metrics as undisturbed; {time.time() - begin:.0f} seconds")


if __name__ == "__main__":
    main()
