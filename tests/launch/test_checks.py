"""The checks before a commit are those that CI runs."""

from __future__ import annotations

import yaml

from tests.launching import ROOT


def test_pre_commit_runs_the_checks_of_the_test_command() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (local,) = config["repos"]
    assert all(hook["language"] == "system" for hook in local["hooks"])
    hooks = [hook["entry"].split(".venv/bin/")[1] for hook in local["hooks"]]
    end = " || status=1"
    script = (ROOT / "launch/test.sh").read_text().splitlines()
    checks = [line[: -len(end)] for line in script if line.endswith(end)]
    assert hooks == checks
    assert len(checks) == 4
