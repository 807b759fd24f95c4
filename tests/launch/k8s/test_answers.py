"""What a real API server answers, recorded, and the fake server that must agree."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes.client.exceptions import ApiException

from launch.submit.k8s import manifests
from launch.submit.k8s.options import Options
from tests.launch.k8s.cluster import Client, Object, wait_for
from tests.launch.k8s.fake_api_server import FakeApiServer, status
from tests.launch.k8s.team import Team

RECORDED = Path(__file__).with_name("recorded_answers.json")
# Set to 1, a test against a cluster writes RECORDED instead of comparing with it.
RECORD = "DISTMNIST_TEST_RECORD"


def normalized(answer: Any, team: Team) -> Any:
    """Returns an answer without what differs from cluster to cluster."""
    text = json.dumps(answer).replace(team.name, "team")
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", text)
    return json.loads(re.sub(r"too old resource version: [\d ()]+", "too old", text))


def shape(value: Any) -> Any:
    """Returns the fields of an object, without their values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in sorted(value.items())}
    return type(value).__name__


def ask_for_all(team: Team) -> dict[str, Object]:
    """Returns what the server answers to what the submit command may ask."""
    job = manifests.render(Options(image="r/d:1", workers=1, namespace=team.name))[-1]
    core, batch = (f"/{p}/namespaces/{team.name}" for p in ("api/v1", "apis/batch/v1"))
    jobs = f"{batch}/jobs"
    team.allow(user="nobody")
    admin, user = team.admin, Client(team.kubeconfig)
    team.change_kubeconfig(lambda _, user: user.update(token="wrong"))
    stranger = Client(team.kubeconfig)
    second = json.loads(json.dumps(job))
    second["metadata"]["name"] = "second"
    wrong = json.loads(json.dumps(job))
    wrong["metadata"]["name"] = "Wrong"
    unknown = {**job, "spec": {**job["spec"], "unknown": 1}}
    strict = {"fieldValidation": "Strict"}
    claim = manifests.render(Options(image="r/d:1", namespace="nowhere"))[0]
    admin.create(job)
    requests: dict[str, Callable[[], Object]] = {
        "exists": lambda: admin.ask("POST", jobs, job),
        "forbidden": lambda: user.ask("POST", jobs, job),
        "unauthorized": lambda: stranger.ask("GET", jobs),
        "invalid": lambda: admin.ask("POST", jobs, wrong),
        "unknown field": lambda: admin.ask("POST", jobs, unknown, **strict),
        "no such name": lambda: admin.ask("GET", f"{jobs}/none"),
        "no such kind": lambda: admin.ask("GET", f"{batch}/nothings"),
        "no such group": lambda: admin.ask("GET", "/apis/nothing.org/v1/nothings"),
        "no such namespace": lambda: admin.create(claim),
    }
    answers = {name: answer(ask) for name, ask in requests.items()}
    team.create("ResourceQuota", "one", spec={"hard": {"count/jobs.batch": "1"}})
    quota = f"{core}/resourcequotas/one"
    wait_for(lambda: admin.ask("GET", quota)["status"].get("hard"), team.show)
    answers["quota"] = answer(lambda: admin.ask("POST", jobs, second))
    events = wait_for(lambda: of_jobs(admin.items(f"{core}/events")), team.show)
    # A server that starts knows nothing of what was before.
    team.kubelet.cluster.restart_apiserver()
    answers["watch of an old version"] = watch(admin, f"{core}/pods")
    answers = {name: normalized(each, team) for name, each in answers.items()}
    answers["event"] = shape(events[0])
    answers["fields of a list"] = fields_of_list(admin.ask("GET", jobs))
    return answers


def of_jobs(events: list[Object]) -> list[Object]:
    """Returns those of a controller of the real server, not of the tests' kubelet."""
    return [event for event in events if event["involvedObject"]["kind"] == "Job"]


def fields_of_list(listed: Object) -> Object:
    """Returns the fields of a list, and of its items."""
    return {"list": sorted(listed), "item": sorted(listed["items"][0])}


def answer(ask: Callable[[], Object]) -> Object:
    """Returns code and body of an answer."""
    try:
        return {"code": 200, "body": ask()}
    except ApiException as error:
        try:
            return {"code": error.status, "body": json.loads(error.body)}
        except ValueError:
            return {"code": error.status, "body": error.body.decode()}


def watch(client: Client, path: str) -> Object:
    """Returns code and first event of a watch from a version that is long gone."""
    old = {"watch": 1, "resourceVersion": 1, "timeoutSeconds": 5}
    return answer(lambda: client.ask("GET", path, **old))


def test_a_real_server_answers_as_recorded(team: Team) -> None:
    answers = ask_for_all(team)
    if os.environ.get(RECORD) == "1":
        RECORDED.write_text(json.dumps(answers, indent=1, sort_keys=True) + "\n")
    recorded = json.loads(RECORDED.read_text())
    assert answers.keys() == recorded.keys()
    for name, expected in recorded.items():
        # The wording of a message may change from release to release.
        assert shape(answers[name]) == shape(expected), name
        assert answers[name].get("code") == expected.get("code"), name


def test_the_fake_server_answers_as_a_real_one(tmp_path: Path) -> None:
    recorded = json.loads(RECORDED.read_text())
    job = manifests.render(Options(image="r/d:1", workers=1, namespace="team"))[-1]
    jobs = "/apis/batch/v1/namespaces/team/jobs"
    with FakeApiServer() as server:
        server.write_kubeconfig(tmp_path / "kubeconfig")
        user = Client(tmp_path / "kubeconfig")
        text = (tmp_path / "kubeconfig").read_text().replace("secret", "wrong")
        (tmp_path / "other").write_text(text)
        stranger = Client(tmp_path / "other")
        user.create(job)
        requests: dict[str, Callable[[], Object]] = {
            "exists": lambda: user.create(job),
            "unauthorized": lambda: stranger.ask("GET", jobs),
            "no such name": lambda: user.ask("GET", f"{jobs}/none"),
            "no such group": lambda: user.ask("GET", f"/apis/nothing.org/v1/{jobs}"),
        }
        answers = {name: answer(ask) for name, ask in requests.items()}
        server.expire_watches = True
        answers["watch of an old version"] = watch(user, jobs)
        listed = fields_of_list(user.ask("GET", jobs))
        for name in ("forbidden", "quota", "invalid"):  # those that tests inject
            body = recorded[name]["body"]
            about = body["details"].get("name")
            injected = status(body["code"], body["message"], about)
            server.refuse["POST jobs"] = body["code"], injected
            answers[name] = answer(lambda: user.create(job))
    for name, answered in answers.items():
        expected = recorded[name]
        assert answered["code"] == expected["code"], name
        assert essence(answered["body"]) == essence(expected["body"]), name
    for part, fields in recorded["fields of a list"].items():
        assert ("kind" in listed[part]) == ("kind" in fields)


def essence(body: Any) -> Any:
    """Returns what matters of the body of an answer: fields, reason and name."""
    if not isinstance(body, dict):
        return body
    if "object" in body:
        return {**body, "object": essence(body["object"])}
    name = body.get("details", {}).get("name")
    return sorted(body.keys() - {"details"}), body["reason"], body["status"], name
