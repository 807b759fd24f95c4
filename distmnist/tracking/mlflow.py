"""MLflow. Its environment variables say where to: MLFLOW_TRACKING_URI and so on."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from distmnist.tracking.tracker import Description, Point

_EXPERIMENT = "distmnist"  # unless MLFLOW_EXPERIMENT_NAME is set
_MOST_METRICS = 1000  # in a request
_MOST_PARAMS = 100


class MlflowTracker:
    """A run of MLflow; see `Tracker`."""

    def __init__(self, description: Description, run: str):
        """Creates or continues the run."""
        # The part of MLflow without its server, which imports little.
        from mlflow import MlflowClient
        from mlflow.entities import Param, RunTag

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self._client = MlflowClient()
        if run:
            self.run = run
            self._client.update_run(run, status="RUNNING")
        else:
            created = self._client.create_run(
                self._experiment(), run_name=description.name
            )
            self.run = created.info.run_id
            params = [Param(*item) for item in description.config.items()]
            for begin in range(0, len(params), _MOST_PARAMS):
                batch = params[begin : begin + _MOST_PARAMS]
                self._client.log_batch(self.run, params=batch)
            tags = [RunTag(*item) for item in description.software.items()]
            self._client.log_batch(self.run, tags=tags)
        self.where = f"run {self.run} at {self._client.tracking_uri}"

    def _experiment(self) -> str:
        """Returns the identifier of the experiment, which is created if missing."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        identifier: str = (
            found.experiment_id if found else self._client.create_experiment(name)
        )
        return identifier

    def log(self, points: Sequence[Point]) -> None:
        """Publishes points."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, int(point.time * 1000), point.step)
            for point in points
            for name, value in point.values.items()
        ]
        for begin in range(0, len(metrics), _MOST_METRICS):
            batch = metrics[begin : begin + _MOST_METRICS]
            self._client.log_batch(self.run, metrics=batch)

    def end(self, finished: bool) -> None:
        """Ends the run, which may be continued."""
        self._client.set_terminated(self.run, "FINISHED" if finished else "KILLED")
