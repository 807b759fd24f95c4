"""Sources whose spec is known only once their examples are read."""

from __future__ import annotations

from collections.abc import Callable

from distmnist.core import user_code
from distmnist.core.errors import InputError
from distmnist.data.dataset import Dataset
from distmnist.data.spec import DatasetSpec


class FunctionSource:
    """A source that is a function which returns a `Dataset`.

    It is called on every rank, once for the spec and the examples together, and must
    return the same on each.
    """

    def __init__(self, label: str, function: Callable[[], Dataset]):
        """Calls nothing yet.

        Args:
            label: what names the function, for messages.
            function: returns the data set.
        """
        self._label = label
        self._function = function
        self._dataset: Dataset | None = None

    @property
    def spec(self) -> DatasetSpec:
        """Shapes and classes of the examples, which are read for it.

        Raises:
            UserError: the function fails, or does not return a data set.
        """
        if self._dataset is None:
            with user_code.reported():
                dataset = self._function()
            if not isinstance(dataset, Dataset):
                raise InputError(
                    f"{self._label}: returned a {type(dataset).__name__}; return a "
                    "Dataset, as distmnist.create_dataset does"
                )
            self._dataset = dataset
        return self._dataset.spec

    def prepare(self) -> None:
        """Does nothing: the function does everything."""

    def load(self) -> Dataset:
        """Returns the data set, and keeps it no longer."""
        _ = self.spec
        dataset, self._dataset = self._dataset, None
        assert dataset is not None
        return dataset
