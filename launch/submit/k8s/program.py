"""launch/submit_k8s: runs a command line, and returns the exit status."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Sequence

from distmnist.core.errors import InputError
from launch.submit import running, training
from launch.submit.k8s import manifests, state
from launch.submit.k8s import options as options_module
from launch.submit.k8s.api import Api
from launch.submit.k8s.follow import Follower
from launch.submit.k8s.manifests import Object
from launch.submit.k8s.options import Options
from launch.submit.screen import Screen

_TAIL = 200  # log lines in which the newest step is looked for
_SUBMISSION = "distmnist/submission"  # annotation: identifies the submission


def main(argv: Sequence[str]) -> int:
    """Runs a command line.

    Args:
        argv: the program's name and its arguments.

    Returns:
        The exit status.
    """
    return running.run(
        "submit_k8s", lambda screen: _run(options_module.parse(argv), screen)
    )


def _run(options: Options, screen: Screen) -> int:
    if options.dry_run:
        sys.stdout.write(manifests.to_yaml(manifests.render(options)))
        return 0
    api = Api(options.context, options.namespace)
    if options.delete:
        _delete(api, api.find_job(options.delete), screen)
        return 0
    if options.status:
        print(_status(api, options.status))
        return 0
    job = api.find_job(options.logs) if options.logs else _submit(api, options, screen)
    if options.detach:
        return 0
    begin = time.monotonic()

    def follow() -> int:
        follower = Follower(api, job, screen)
        return follower.run(options.timeout and begin + options.timeout)

    name = job["metadata"]["name"]
    return running.follow(screen, name, follow, lambda: _delete(api, job, screen))


def _status(api: Api, name: str) -> str:
    """Returns the state of a job on one line, with its newest step."""
    job = api.find_job(name)
    pods = api.pods(state.selector(name))
    last_step = training.last_step(manifests.training_flags(job))
    steps = ""
    for pod in state.with_log(pods):
        if state.has_started(pod):
            container = pod["spec"]["containers"][0]["name"]
            for line in api.tail(pod["metadata"]["name"], container, _TAIL):
                steps = training.progress(line, last_step) or steps
    return f"{name}: {state.describe(job, pods)}{f', {steps}' if steps else ''}"


def _submit(api: Api, options: Options, screen: Screen) -> Object:
    """Creates the job, and its volume's claim if missing; returns the job."""
    *claims, job = manifests.render(options)
    name, submission = options.name, str(uuid.uuid4())
    job["metadata"]["annotations"] = {_SUBMISSION: submission}
    api.check(job)
    if options.pvc:
        api.require_claim(options.pvc)
    for claim in claims:
        api.create(claim, lambda there: False)

    def mine(there: Object) -> bool:
        annotations = there["metadata"].get("annotations") or {}
        return bool(annotations.get(_SUBMISSION) == submission)

    if not api.create(job, mine):
        raise InputError(
            f"a job {name} exists in namespace {api.namespace}: give another --name, "
            f"follow it with --logs={name}, or end it with --delete={name}"
        )
    screen.report(f"{name} was submitted to namespace {api.namespace}")
    return job


def _delete(api: Api, job: Object, screen: Screen) -> None:
    api.delete_job(job)
    screen.report(f"{job['metadata']['name']} was deleted; its volume is kept")
