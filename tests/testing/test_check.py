"""check_network: which networks pass, and what it says of those that do not."""

from __future__ import annotations

import pytest

from distmnist.testing import Problem, failures
from tests.testing import networks

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    """What is found of all networks, in one launch of each number of ranks."""
    wrong = {name: Problem(*given[:2]) for name, given in networks.WRONG.items()}
    return failures({**networks.RIGHT, **wrong})


@pytest.mark.parametrize("name", networks.RIGHT)
def test_a_right_network_passes(found: dict[str, str], name: str) -> None:
    assert name not in found


@pytest.mark.parametrize("name", networks.WRONG)
def test_a_wrong_network_is_found_and_the_reason(
    found: dict[str, str], name: str
) -> None:
    _, _, *words = networks.WRONG[name]
    message = found.get(name, "passes")
    for word in words:
        assert word in message
    assert message.count("\n") == 0
