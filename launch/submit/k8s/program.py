"""launch/submit_k8s: runs a command line, and returns the exit status."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
import uuid
from collections.abc import Sequence

from distmnist.core.errors import InputError
from launch.submit import running, training
from launch.submit.k8s import manifests, pending, state
from launch.submit.k8s import options as options_module
from launch.submit.k8s.api import Api
from launch.submit.k8s.connection import NO_OPERATOR
from launch.submit.k8s.follow import Follower
from launch.submit.k8s.manifests import Object
from launch.submit.k8s.options import Options
from launch.submit.k8s.pods import has_started, with_log
from launch.submit.screen import Screen

_TAIL = 200  # log lines in which the newest step is looked for
_SUBMISSION = "distmnist/submission"  # annotation: identifies the submission
_START_SECONDS = 10.0  # that --detach waits for the job to run


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
        _print_status(api, options.status, options.json)
        return 0
    begin = time.monotonic()
    job = api.find_job(options.logs) if options.logs else _submit(api, options, screen)
    follower = Follower(api, job, screen, is_own=not options.logs)

    def follow() -> int:
        if options.detach:
            return follower.start(_START_SECONDS)
        return follower.run(options.timeout and begin + options.timeout)

    name = job["metadata"]["name"]
    return running.follow(screen, name, follow, lambda: _delete(api, job, screen))


def _print_status(api: Api, name: str, as_json: bool) -> None:
    """Prints the state of a job, with its newest step."""
    job = api.find_job(name)
    pods = api.pods(job)
    warnings = pending.newest_first(api.warnings().values())
    last_step = training.last_step(manifests.training_flags(job))
    lines: list[str] = []
    for pod in with_log(pods):
        if has_started(pod):
            container = pod["spec"]["containers"][0]["name"]
            lines += api.tail(pod["metadata"]["name"], container, _TAIL)
    if as_json:
        found = state.summarize(job, pods, warnings)
        print(json.dumps({**found, **training.newest_step(lines, last_step)}))
        return
    steps = [step for line in lines if (step := training.progress(line, last_step))]
    text = ", ".join([state.describe(job, pods, warnings), *steps[-1:]])
    print(f"{name}: {text}")


def _submit(api: Api, options: Options, screen: Screen) -> Object:
    """Creates the job, and its volume's claim if missing; returns the job."""
    kind = api.available_kind(options.kinds)
    if kind is None:
        one = len(options.kinds) == 1
        raise InputError(options.no_such_jobs() if one else NO_OPERATOR)
    options = dataclasses.replace(options, kind=kind)
    *claims, job = manifests.render(options)
    name, submission = options.name, str(uuid.uuid4())
    job["metadata"]["annotations"] = {_SUBMISSION: submission}
    taken = InputError(
        f"a job {name} exists in namespace {api.namespace}: give another --name, "
        f"follow it with --logs={name}, or end it with --delete={name}"
    )
    api.check(job)
    if api.look_for_job(name)[0]:  # of another kind, too: they share the run directory
        raise taken
    if options.pvc:
        api.require_claim(options.pvc)
    for claim in claims:
        if not api.has_claim(claim["metadata"]["name"]):
            api.create(claim)
    created = api.create(job)
    annotations = created["metadata"].get("annotations") or {}
    if annotations.get(_SUBMISSION) != submission:
        raise taken  # meanwhile
    screen.report(f"{name} was submitted to namespace {api.namespace}")
    return created


def _delete(api: Api, job: Object, screen: Screen) -> None:
    api.delete_job(job)
    screen.report(f"{job['metadata']['name']} was deleted; its volume is kept")
