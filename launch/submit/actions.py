"""What programs of all kinds of clusters can do, beside submitting and following."""

from __future__ import annotations

import dataclasses

from distmnist.core.errors import InputError
from distmnist.core.options import option
from distmnist.core.rules import matching

_ACTION = "Action"  # group of the help
_NAME = matching(r"[\w.+-]+", "the name of a job")


@dataclasses.dataclass(frozen=True)
class Actions:
    """Options that choose an action."""

    dry_run: bool = option(
        False, "Print what would be submitted, without access to a cluster.", _ACTION
    )
    detach: bool = option(False, "Submit the job without following it.", _ACTION)
    logs: str | None = option(
        None, "Follow the job of this name, instead of submitting one.", _ACTION, _NAME
    )
    status: str | None = option(
        None, "Print the state of the job of this name.", _ACTION, _NAME
    )
    json: bool = option(False, "With --status: as JSON, a line for a job.", _ACTION)
    delete: str | None = option(
        None, "Delete the job of this name, with its processes.", _ACTION, _NAME
    )

    @property
    def there(self) -> str | None:
        """The job that is there already, if one is looked at."""
        return self.status or self.delete or self.logs

    def check_actions(self, *of_all: str) -> None:
        """Checks that options do not contradict each other.

        Args:
            of_all: names of options that are not only for submitting.

        Raises:
            InputError: they do.
        """
        actions = ("dry_run", "logs", "status", "delete")
        given = [name for name in actions if getattr(self, name)]
        if len(given) > 1:
            raise InputError(f"flags --{' and --'.join(given)}: give only one")
        if self.json and not self.status:
            raise InputError("flag --json: only with --status=NAME")
        if not self.there:
            return
        kept = {*actions, "json", *of_all}
        for field in dataclasses.fields(self):
            if field.name not in kept and getattr(self, field.name) != field.default:
                is_own = field.name != "training"
                what = f"flag --{field.name}" if is_own else "flags after --"
                raise InputError(f"{what}: has no effect with --{given[0]}")
