"""The model card: what was trained on what, how, and with what result.

After Mitchell et al. 2019, "Model Cards for Model Reporting", section 4: what the
framework knows; what a model is for is left to who publishes it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from distmnist.checkpoint.metadata import Metadata
from distmnist.core import resuming
from distmnist.core.config import Config
from distmnist.core.errors import RunError
from distmnist.core.options import as_text, default_of
from distmnist.core.run_directory import RunDirectory
from distmnist.data.spec import DatasetSpec
from distmnist.distributed import devices

_SOFTWARE = ("distmnist", "tensorflow", "horovod", "python", "system", "device")
_MOST_CLASSES = 50  # that are named
# Where it was, rather than what it is.
_OMITTED = ("log_dir", "restart", "progress")


def write(
    directory: RunDirectory,
    metadata: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, float]],
) -> None:
    """Writes the model card of a run, whole or not at all.

    Args:
        directory: of the run.
        metadata: fields of `Metadata`.
        metrics: of `text`.

    Raises:
        RunError: it cannot be written.
    """
    checked = Metadata.from_json(json.dumps(metadata).encode())
    card = text(checked, metrics, devices.describe())
    try:
        directory.rewritten.write_text(card, "utf-8", "replace")
        os.replace(directory.rewritten, directory.card)
    except OSError as error:
        raise RunError(
            f"{directory.card}: cannot be written ({error.strerror}); "
            f"{resuming.how_to_continue()}"
        ) from None


def text(
    metadata: Metadata,
    metrics: Mapping[str, Mapping[str, float]],
    software: Mapping[str, Any],
    raw_weights: bool = False,
) -> str:
    """Returns the model card of a checkpoint, as Markdown.

    Args:
        metadata: of the checkpoint.
        metrics: of each split at its step, by name; empty if it was not evaluated.
        software: fields of the "start" line of metrics.jsonl.
        raw_weights: the model has the parameters, of which the run, if it has a moving
            average of them, evaluates that.
    """
    config, data = metadata.config, metadata.dataset
    average = config.get("ema_decay")
    averaged = f"their moving average, {average:g} a step" if average else ""
    if average and raw_weights:
        averaged, metrics = "of the last step, without their moving average", {}
    rows = {
        "network": "given to fit as an object"
        if metadata.own_network
        else config.get("model", ""),
        "parameters": averaged,
        "data set": f"{data.name}: {data.source}",
        "SHA-256 of the data": data.fingerprint,
        **(_of_spec(metadata.spec) if metadata.spec else {}),
        "trained": f"{metadata.step:,} steps, {metadata.consumed:,} examples, on "
        f"{metadata.size} worker{'s' if metadata.size != 1 else ''}",
        **{name: str(software.get(name) or "") for name in _SOFTWARE},
    }
    return "\n".join(
        [
            "# Model card",
            "",
            *_table(("", ""), [row for row in rows.items() if row[1]]),
            "",
            "## Metrics",
            "",
            *(_metrics(metrics) if metrics else ["It was not evaluated at this step."]),
            "",
            "## Configuration",
            "",
            "Of the last start, all that is not a default:",
            "",
            *(f"    --{name}={as_text(value)}" for name, value in _changed(config)),
            "",
            "## Intended use, limitations",
            "",
            "To be written by who publishes the model.",
            "",
        ]
    )


def _of_spec(spec: DatasetSpec) -> dict[str, str]:
    features = f"{spec.feature_dtype} {[*spec.feature_shape]}"
    if spec.num_classes is None:
        return {"features": features, "targets": f"numbers {[*spec.target_shape]}"}
    names = ", ".join(spec.class_names[:_MOST_CLASSES])
    more = ", …" if spec.num_classes > _MOST_CLASSES else ""
    return {"features": features, "classes": f"{spec.num_classes}: {names}{more}"}


def _metrics(metrics: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    names = list(dict.fromkeys(name for each in metrics.values() for name in each))
    rows = [
        (split, *(f"{each[name]:.5g}" if name in each else "" for name in names))
        for split, each in metrics.items()
    ]
    return _table(("split", *names), rows)


def _changed(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the options that are not the defaults."""
    for field in dataclasses.fields(Config):
        value = config.get(field.name)
        if field.name in _OMITTED or value in (None, "", (), [], {}):
            continue
        if as_text(value) != as_text(default_of(field)):
            yield field.name, value


def _table(head: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield _row(head)
    yield "|" + "---|" * len(head)
    for row in rows:
        yield _row(row)


def _row(cells: Any) -> str:
    """Returns a row; names come from data sets, which anyone may have made."""
    escaped = (
        " ".join(str(cell).split())
        .replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("<", "&lt;")
        for cell in cells
    )
    return f"| {' | '.join(escaped)} |"
