"""Which pods are a job's: a label has only its name, which an earlier job may share."""

from __future__ import annotations

import math
from collections.abc import Mapping

from kubernetes.client.exceptions import ApiException

from distmnist.core.errors import InputError
from launch.submit.k8s.connection import KINDS, Connection
from launch.submit.k8s.manifests import Object


class Owners:
    """Follows the owner references of pods to a job, directly or through others."""

    def __init__(self, connection: Connection):
        """Reads nothing yet."""
        self._connection = connection
        self._known: dict[str, bool] = {}  # whether it is the job's, by uid

    def pods(self, job: Object, pods: Mapping[str, Object]) -> dict[str, Object]:
        """Returns those pods that are a job's."""
        return {name: pod for name, pod in pods.items() if self._owns(job, pod)}

    def _owns(self, job: Object, thing: Object) -> bool:
        for owner in thing["metadata"].get("ownerReferences", ()):
            uid = owner["uid"]
            if uid == job["metadata"]["uid"]:
                return True
            if owner["kind"] in KINDS:
                if uid not in self._known:
                    is_owned = self._is_owned(job, owner)
                    if is_owned is None:
                        return False
                    self._known[uid] = is_owned
                return self._known[uid]
        return False

    def _is_owned(self, job: Object, owner: Object) -> bool | None:
        """Returns whether an owner is a job's; None if it is not there, or not yet."""

        def read() -> Object | None:
            try:
                return self._connection.read(owner["kind"], owner["name"])
            except ApiException as error:
                if error.status == 404:
                    return None
                raise

        try:
            found = self._connection.retried(read, math.inf)
        except InputError:  # not permitted: then the label decides
            return True
        if found is None:
            return None
        return found["metadata"]["uid"] == owner["uid"] and self._owns(job, found)
