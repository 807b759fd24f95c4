"""Checks of a network of your own, on real ranks, for your own tests.

from distmnist import testing
def test_my_network():
    testing.check_network(MyNetwork, my_data_set)
"""

from __future__ import annotations

from distmnist.testing.check import check_network, failures
from distmnist.testing.problem import Problem

__all__ = ["Problem", "check_network", "failures"]
