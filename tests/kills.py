"""Kills a job again and again, at random moments, and resumes it.

usage: python -m tests.kills [--kills=100] [--seed=0] [--directory=DIR]

It runs on 2 ranks; some kills fall into the writing of a checkpoint, which happens
every few milliseconds. At the end its parameters and metrics must be those of an
uninterrupted run. The suite runs the short form.
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
from tests.test_faults import Run, check_against_uninterrupted

# A checkpoint every 20 steps: one is being written almost always.
_FLAGS = (*launching.TRAIN, "--dataset=digits", "--max_steps=1000000")
_OFTEN = ("--log_every=50", "--eval_every=1000", "--checkpoint_every=20")


def kill_again_and_again(kills: int, seed: int, directory: Path) -> dict[str, int]:
    """Kills a run, resumes it, and checks its end.

    Args:
        kills: number of kills.
        seed: of the random moments.
        directory: empty; the runs' files stay there.

    Returns:
        The number of kills that it survived, of those before the first step, and of
        those that left a partial checkpoint.
    """
    chance = random.Random(seed)
    run = Run(directory)
    counts = {"kills": 0, "before the first step": 0, "during a save": 0}
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
            counts["kills"] += 1
            counts["before the first step"] += early
            counts["during a save"] += any(run.logs.glob("**/.model.ckpt-*"))
            assert run.saved() >= before, job.output()
            assert "Traceback" not in job.output(), job.output()
    check_against_uninterrupted(run, directory / "uninterrupted")
    return counts


def main() -> None:
    """Kills a job, and prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp())
    directory.mkdir(parents=True, exist_ok=True)
    begin = time.time()
    counts = kill_again_and_again(options.kills, options.seed, directory)
    print(", ".join(f"{count} {what}" for what, count in counts.items()), end=": ")
    print(f"same results as an uninterrupted run; {time.time() - begin:.0f} seconds")


if __name__ == "__main__":
    main()
