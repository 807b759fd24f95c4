"""The metadata of a checkpoint: their schema, which a stranger's have to meet."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import msgspec

from distmnist.core.errors import InputError
from distmnist.core.progress import Progress, Ramp
from distmnist.data.spec import DatasetSpec, check_classes, check_sizes

_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]


class Data(msgspec.Struct, frozen=True):
    """The data set of a run.

    Attributes:
        name: as in `Dataset.name`.
        source: where it came from, in words.
        fingerprint: SHA-256 of its content.
    """

    name: str
    source: str
    fingerprint: str


class Validation(msgspec.Struct, frozen=True):
    """What made the best checkpoint the best.

    Attributes:
        num_examples: size of the validation split.
        metrics: value by name; version 0.1 had only:
        num_correct: examples that were classified correctly.
    """

    num_examples: _Count = 0
    metrics: dict[str, float] = {}
    num_correct: _Count = 0

    def metric(self, name: str) -> float | None:
        """Returns a metric; None if it was not logged."""
        if name == "accuracy" and self.num_examples and not self.metrics:
            return self.num_correct / self.num_examples
        return self.metrics.get(name)


class Metadata(msgspec.Struct, frozen=True):
    """Metadata of a checkpoint.

    Attributes:
        step: completed steps.
        consumed: training examples consumed by all ranks.
        config: fields of the run's `Config`, not checked.
        dataset: the data set.
        size: number of ranks.
        ramp: learning rate ramp that was active.
        spec: shapes and classes of the data set; None in version 0.1.
        own_network: whether the network is another than `config` names.
        directory: working directory of the run, to which its paths are relative; ""
            in earlier versions.
        validation: of the best checkpoint.
    """

    step: _Count
    consumed: _Count
    config: dict[str, Any]
    dataset: Data
    size: _Count = 0
    ramp: Ramp | None = None
    spec: DatasetSpec | None = None
    own_network: bool = False
    directory: str = ""
    validation: Validation | None = None

    @classmethod
    def from_json(cls, content: bytes) -> Metadata:
        """Returns the metadata in a JSON object; fields of later versions are ignored.

        Raises:
            ValueError: they do not meet the schema.
        """
        try:
            # Not msgspec's own parser: NaN, which Python writes, is no JSON.
            values = json.loads(content)
            check_classes(values)
            found = msgspec.convert(values, cls)
            if found.spec:
                check_sizes(found.spec)
            if found.ramp and not (
                found.ramp.steps > 0 and math.isfinite(sum(found.ramp))
            ):
                raise ValueError("no valid ramp")
        except (ValueError, OverflowError, RecursionError, InputError) as error:
            raise ValueError(f"invalid metadata: {str(error)[:200]}") from None
        return found

    @property
    def progress(self) -> Progress:
        """Progress of the run."""
        return Progress(self.step, self.consumed, ramp=self.ramp)
