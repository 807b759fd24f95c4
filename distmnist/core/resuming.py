"""How a run that ends early is continued, as messages say it."""

from __future__ import annotations

restarted = False
"""Whether --restart has had its effect: given again, it would start from scratch."""


def how_to_continue(saved: bool = False, flags: str = "the same flags") -> str:
    """Returns what to do to continue a run, as a clause.

    Args:
        saved: whether there is a checkpoint; without it, there may be none.
        flags: to start again with.
    """
    but = ", without --restart," if restarted else ""
    checkpoint = "" if saved else " from the newest checkpoint, if there is one"
    return f"start again with {flags}{but} to continue{checkpoint}"
