"""Draws curves.svg: loss and test accuracy of runs over the same epochs.

python docs/images/curves.py LOG_DIR...; docs/scaling.md has the commands of the runs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean

import matplotlib
from matplotlib.figure import Figure

STYLES = ("-", "--", ":", "-.")
MEAN_OF = 10  # logged losses in each point


def draw(log_dirs: list[str]) -> Figure:
    """Draws the metrics of runs."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    loss.set(title="Loss of the global batches", ylabel="cross-entropy (nats)")
    accuracy.set(title="Accuracy on the test split", ylim=(0.85, 1))
    for log_dir, style in zip(log_dirs, STYLES):
        text = Path(log_dir, "metrics.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        train = [line for line in lines if line["kind"] == "train"]
        test = [line for line in lines if line.get("split") == "test"]
        size = train[0]["size"]
        name = f"{size} worker" + "s" * (size > 1)
        per_step = train[-1]["epoch"] / train[-1]["step"]
        ends = range(MEAN_OF, len(train) + 1, MEAN_OF)
        loss.plot(
            [train[end - 1]["epoch"] for end in ends],
            [mean(line["loss"] for line in train[end - MEAN_OF : end]) for end in ends],
            style,
            label=name,
        )
        accuracy.plot(
            [line["step"] * per_step for line in test],
            [line["precision"] for line in test],
            style,
            label=name,
        )
    for axes in (loss, accuracy):
        axes.set(xlabel="epochs")
        axes.grid(color="#dddddd")
        axes.legend(loc="lower right" if axes is accuracy else "upper right")
    return figure


if __name__ == "__main__":
    matplotlib.rcParams["svg.hashsalt"] = "distmnist"  # the same file each time
    draw(sys.argv[1:]).savefig(
        Path(__file__).with_suffix(".svg"), metadata={"Date": None}
    )
