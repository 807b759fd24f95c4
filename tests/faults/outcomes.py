"""What became of faults, and the table of it."""

from __future__ import annotations

import collections
import enum
from collections.abc import Sequence
from typing import NamedTuple


class Outcome(enum.Enum):
    """What became of one fault."""

    SURVIVED = "survived"
    TOLD = "told in one line"
    HUNG = "hung"
    LOST = "lost"
    TRACEBACK = "traceback"
    SILENT = "silent difference"


GOOD = (Outcome.SURVIVED, Outcome.TOLD)


class Fault(NamedTuple):
    """One fault that was tried.

    Attributes:
        kind: row of the table.
        what: the point, enough to repeat it.
        outcome: what became of it.
        output: of the program, shown if the outcome is not a good one.
    """

    kind: str
    what: str
    outcome: Outcome
    output: str = ""


def table(faults: Sequence[Fault]) -> str:
    """Returns a Markdown table: a row for each kind, a column for each outcome."""
    columns = ["tried", *(outcome.value for outcome in Outcome)]
    lines = [f"| fault | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    kinds = list(dict.fromkeys(fault.kind for fault in faults))
    for kind in [*kinds, "all"]:
        counts = collections.Counter(
            f.outcome for f in faults if kind in (f.kind, "all")
        )
        values = [counts.total(), *(counts[outcome] for outcome in Outcome)]
        lines.append(f"| {kind} | {' | '.join(map(str, values))} |")
    return "\n".join(lines)
