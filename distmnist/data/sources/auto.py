"""--dataset=auto: MNIST if available, else scikit-learn's digits."""

from __future__ import annotations

from absl import logging

from distmnist.core.config import Config
from distmnist.data.dataset import Dataset
from distmnist.data.sources.digits import Digits
from distmnist.data.sources.mnist import SPEC, Mnist

_FALLBACK = """
**************************************************************************
*  THIS IS NOT MNIST. Training falls back to the 1,797 small digits of
*  scikit-learn, because MNIST is not available:
*    %s.
*  To train on MNIST, put its four files (plain or .gz) into
*    %s
*  or name a server that has them with --mnist_mirrors.
*  --dataset=mnist fails instead of falling back; --dataset=digits selects
*  the digits without this warning.
**************************************************************************"""


class Auto:
    """MNIST if its files are present or can be downloaded, else the digits.

    It falls back only if none of MNIST's four files is present: an incomplete
    directory is an error.
    """

    spec = SPEC

    def __init__(self, config: Config):
        self._mnist = Mnist(config)
        self._digits = Digits(config)

    def prepare(self) -> None:
        """Downloads MNIST; if that fails, logs a warning."""
        problem = self._mnist.download_missing()
        if problem is None:
            return
        if self._mnist.find_files():
            raise self._mnist.incomplete(problem)
        logging.warning(_FALLBACK, problem, self._mnist.directory.absolute())

    def load(self) -> Dataset:
        """Loads MNIST if any of its files is present, else the digits."""
        return (self._mnist if self._mnist.find_files() else self._digits).load()
