"""What Kubeflow Trainer makes of a TrainJob, for tests: the pods of its JobSet.

It follows Trainer 2.3.0 as far as the runtime of k8s/trainer goes: runtimePatches and
spec.trainer (pkg/runtime/core/trainingruntime.go, plugins/jobset/builder.go), and the
MPI plugin (plugins/mpi/mpi.go). The names of pods are those of JobSet 0.12.
"""

from __future__ import annotations

import copy
from typing import Any

from launch.submit.k8s.manifests import Object

_ANCESTOR = "trainer.kubeflow.org/trainjob-ancestor-step"
# Lists that a strategic merge patch merges by a key; it replaces all others.
_KEYS = {
    "replicatedJobs": "name",
    "containers": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "env": "name",
}


def merge(base: Any, patch: Any, field: str = "") -> Any:
    """Returns a strategic merge of a patch, without directives, into an object."""
    if isinstance(patch, dict) and isinstance(base, dict):
        names = {**base, **patch}
        return {
            name: merge(base[name], patch[name], name)
            if name in base and name in patch
            else copy.deepcopy(names[name])
            for name in names
        }
    if field in _KEYS and isinstance(patch, list):
        key = _KEYS[field]
        items = {item[key]: item for item in base}
        for item in patch:
            items[item[key]] = merge(items.get(item[key], {}), item)
        return list(items.values())
    return copy.deepcopy(patch)


def jobset(runtime: Object, trainjob: Object) -> Object:
    """Returns the JobSet of a TrainJob."""
    name, trainer = trainjob["metadata"]["name"], trainjob["spec"]["trainer"]
    mpi = runtime["spec"]["mlPolicy"]["mpi"]
    spec = copy.deepcopy(runtime["spec"]["template"]["spec"])
    for patch in trainjob["spec"].get("runtimePatches", ()):
        spec = merge(spec, patch["trainingRuntimeSpec"]["template"]["spec"])
    for job in spec["replicatedJobs"]:
        _fill_in(job, name, trainer, runtime["spec"]["mlPolicy"]["numNodes"], mpi)
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name},
        "spec": spec,
    }


def _fill_in(
    job: Object, name: str, trainer: Object, launchers: int, mpi: Object
) -> None:
    """Fills in spec.trainer, and what the MPI plugin adds."""
    ancestor = job["template"]["metadata"]["labels"].get(_ANCESTOR) == "trainer"
    spec = job["template"]["spec"]
    pod = spec["template"]["spec"]
    count = launchers if ancestor else spec.get("parallelism", 1)
    if job["name"] == "node":
        count = max(trainer["numNodes"] - mpi["runLauncherAsNode"], 1)
    spec["parallelism"] = spec["completions"] = count
    spec["completionMode"] = "Indexed"
    secret = {"secretName": f"{name}-mpi-ssh-auth", "defaultMode": 0o400}
    pod["volumes"].append({"name": "mpi-ssh-auth", "secret": secret})
    if job["name"] == "launcher":
        hosts = {"name": f"{name}-mpi-hostfile"}
        pod["volumes"].append({"name": "mpi-hostfile", "configMap": hosts})
    for container in pod["containers"]:
        if container["name"] != "node":
            continue
        if ancestor:
            given = {key: trainer[key] for key in ("image", "args") if key in trainer}
            container.update(given)
        resources = trainer.get("resourcesPerNode", {})
        container["resources"] = merge(container["resources"], resources)
        mounts = container["volumeMounts"]
        mounts.append({"name": "mpi-ssh-auth", "mountPath": mpi["sshAuthMountPath"]})
        if job["name"] == "launcher":
            mounts.append({"name": "mpi-hostfile", "mountPath": "/etc/mpi"})
            added = launcher_env(trainer.get("numProcPerNode", mpi["numProcPerNode"]))
            container.setdefault("env", []).extend(
                {"name": key, "value": value} for key, value in added.items()
            )


def launcher_env(slots: int) -> dict[str, str]:
    """Returns the variables that the MPI plugin sets in a launcher."""
    return {
        "OMPI_MCA_orte_default_hostfile": "/etc/mpi/hostfile",
        "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
        "OMPI_MCA_orte_set_default_slots": str(slots),
        "OMPI_MCA_plm_rsh_args": "-o ConnectionAttempts=10",
    }


def templates(jobset: Object) -> dict[str, Object]:
    """Returns the pod templates of a JobSet by the names of their jobs."""
    jobs = jobset["spec"]["replicatedJobs"]
    return {job["name"]: job["template"]["spec"]["template"] for job in jobs}


def hostfile(jobset: Object, slots: int) -> str:
    """Returns the host file that the MPI plugin writes: nodes, then the launcher."""
    name = jobset["metadata"]["name"]
    return "".join(
        f"{name}-{job['name']}-0-{i}.{name} slots={slots}\n"
        for job in jobset["spec"]["replicatedJobs"]
        for i in range(job["template"]["spec"]["parallelism"])
    )
