"""The benchmark: statistics, tables, criteria, and a short run."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import (
    measuring,
    plot,
    predictions,
    processes,
    ring,
    run,
    scaling,
    scaling_plot,
    summary,
    tables,
)
from tests.benchmarks.contenders import CONTENDERS, Contender
from tests.benchmarks.ring import Point, Ring
from tests.benchmarks.summary import Criterion, Spread


def steps(seconds: float, **more: float) -> dict[str, float]:
    """Returns the report of a contender."""
    return {"step_seconds": seconds, "start_up_seconds": 4, "memory_mb": 700, **more}


# Reports of a run that meets all criteria but one.
GOOD: dict[str, dict[str, Any]] = {
    "distmnist_1": steps(0.5e-3, evaluation_seconds=0.1),
    "distmnist_2": steps(0.6e-3, evaluation_seconds=0.1, allreduce_share=0.2),
    "distmnist_4": steps(1.3e-3, evaluation_seconds=0.1, allreduce_share=0.3),
    "feed_dict": steps(1.5e-3),
    "keras_fit": steps(2e-3),
    "keras_fit_tuned": steps(1e-3),
    "horovod_2": steps(4e-3),
    "horovod_2_tuned": steps(2e-3),
    "torch_ddp_2": steps(3e-3),
    "products_1x1_eigen": steps(0.45e-3),
    "products_1x1_onednn": steps(0.4e-3),
    "products_2x1_eigen": steps(0.4e-3),
    "allreduce_2": {"step_seconds": 0.1e-3, "memory_mb": 40, "seconds": [0.1e-3]},
    "job_tutorial": {"wall_seconds": 9.0},
    "job_1": {"wall_seconds": 6.0},
    "job_2": {"wall_seconds": 8.0},
    "job_2_mpirun": {"wall_seconds": 10.0},
}


def summarized(**changed: dict[str, Any]) -> dict[str, dict[str, Spread]]:
    """Returns the summary of GOOD, with changed reports."""
    results = {**GOOD, **changed}
    return summary.summarize({name: [result] for name, result in results.items()})


def criteria(measured: tables.Summary, model: str = "mlp") -> dict[str, Criterion]:
    found = summary.criteria(tables.take_medians(measured), model)
    assert len({each.text for each in found}) == len(found)
    return {each.text: each for each in found}


def test_spread_is_median_and_quartiles() -> None:
    assert summary.spread([5, 1, 2, 4, 3]) == (3, 2, 4)
    assert summary.spread([7]) == (7, 7, 7)
    assert summary.spread([1, 2]).median == 1.5


def test_summarize_counts_the_examples_of_all_ranks() -> None:
    rows = [steps(0.001), steps(0.003), steps(0.002)]
    measured = summary.summarize({"distmnist_2": rows, "feed_dict": []})
    assert measured.keys() == {"distmnist_2"}
    assert measured["distmnist_2"]["step_seconds"] == (0.002, 0.0015, 0.0025)
    assert measured["distmnist_2"]["examples_per_second"].median == pytest.approx(1e5)
    only_numbers = summarized()["allreduce_2"]
    assert only_numbers.keys() == {"step_seconds", "memory_mb"}


def test_limit_is_the_best_products_plus_the_allreduce() -> None:
    medians = tables.take_medians(summarized())
    assert summary.limit(medians, 1) == pytest.approx(0.4e-3)
    assert summary.limit(medians, 2) == pytest.approx(0.5e-3)
    assert summary.limit(medians, 4) is None
    assert summary.limit({}, 1) is None


def test_criteria_of_a_good_run() -> None:
    found = criteria(summarized())
    ratios = {text: each.ratio for text, each in found.items()}
    assert ratios == pytest.approx(
        {
            "1 rank: speed-up over the tutorial's loop": 3,
            "1 rank: speed-up over the best peer, tuned peers included": 2,
            "1 rank: fraction of the limit": 0.8,
            "2 ranks: speed-up over the best peer": 5,
            "2 ranks: speed-up over the best peer, tuned peers included": 2 / 0.6,
            "2 ranks: fraction of the limit": 0.5 / 0.6,
            "4 ranks: throughput relative to 2 ranks": 2 * 0.6 / 1.3,
            "1 rank: time of 300 steps / full evaluation": 1.5,
            "2 ranks: time of 300 steps / full evaluation": 1.8,
            "1 rank: complete job, tutorial / distmnist.train": 1.5,
            "2 ranks: complete job, tutorial / distmnist.train, horovodrun": 9 / 8,
            "2 ranks: complete job, tutorial / distmnist.train, mpirun": 0.9,
        }
    )
    assert found["2 ranks: speed-up over the best peer"].than == "PyTorch DDP, Gloo"
    assert {text for text, each in found.items() if each.verdict != "pass"} == {
        "1 rank: speed-up over the best peer, tuned peers included",  # for comparison
        "2 ranks: speed-up over the best peer, tuned peers included",
        "2 ranks: complete job, tutorial / distmnist.train, mpirun",  # FAIL
    }


def test_criteria_without_measurements() -> None:
    for model in measuring.TASKS:
        verdicts = {each.verdict for each in summary.criteria({}, model)}
        assert verdicts == {"not measured"}


def test_criteria_of_the_cnn_include_tuned_peers() -> None:
    found = criteria(summarized(torch_1=steps(0.9e-3)), "cnn").values()
    assert [(each.ratio, each.than, each.verdict) for each in found] == [
        (pytest.approx(1.8), "PyTorch", "pass"),
        (pytest.approx(2 / 0.6), "Horovod's example, 1 thread, 0.1 ms cycle", "pass"),
    ]
    found = criteria(summarized(torch_1=steps(0.55e-3)), "cnn").values()
    assert [each.verdict for each in found] == ["FAIL", "pass"]


@pytest.mark.parametrize(
    ("ratio", "required", "verdict"),
    [
        (2.7, 2.7, "pass"),
        (2.6999, 2.7, "FAIL"),
        (9.0, None, "for comparison"),
        (None, 2.7, "not measured"),
    ],
)
def test_verdict(ratio: float | None, required: float | None, verdict: str) -> None:
    assert Criterion("it", ratio, required).verdict == verdict


def test_table_is_aligned() -> None:
    text = tables.table(("name", "a"), [("x", "1"), ("longer", "1,000")])
    assert text.splitlines() == [
        "| name   |     a |",
        "| ------ | ----: |",
        "| x      |     1 |",
        "| longer | 1,000 |",
    ]


def test_tables_show_the_measurements(
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured = summarized()
    run.show(measured, list(criteria(measured).values()))
    text = capsys.readouterr().out
    for line in text.splitlines():
        assert not line or line.startswith("| ")
    for expected in (" 200,000 |", "3.00 x", " 20% |", " 0.80 |", " 6.0 |", "FAIL |"):
        assert expected in text
    run.show({}, [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("names", [list(GOOD), ["distmnist_1"], ["job_1"], []])
def test_plot(tmp_path: Path, names: list[str]) -> None:
    measured = {name: summarized()[name] for name in names}
    plot.draw(measured, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").exists() == bool(names)


def test_names_are_unique_and_modules_exist() -> None:
    assert len({each.name for each in CONTENDERS}) == len(CONTENDERS)
    for contender in CONTENDERS:
        path = Path(run.__file__).parent / f"{contender.module.replace('.', '/')}.py"
        assert path.exists() or not contender.module


def test_only_takes_patterns_and_rejects_unknown_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = run.parse(["--only=job_1,products_1x*", "--data="])
    assert options.data == ""
    names = {each.name for each in options.contenders}
    assert {"job_1", "products_1x1_eigen", "products_1x1_onednn"} <= names
    assert all(name == "job_1" or name.startswith("products_1x") for name in names)
    with pytest.raises(SystemExit):
        run.parse(["--only=job_1,bogus"])
    assert "no contender matches 'bogus'" in capsys.readouterr().err


def test_model_selects_contenders_and_the_length_of_blocks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mlp, cnn = run.parse([]), run.parse(["--model=cnn"])
    assert (mlp.block_steps, cnn.block_steps) == (100, 10)
    assert run.parse(["--model=cnn", "--block_steps=3"]).block_steps == 3
    assert mlp.contenders == list(CONTENDERS)
    assert {each.kind for each in cnn.contenders} == {"distmnist", "peer"}
    assert {each.ranks for each in cnn.contenders} == {1, 2}
    with pytest.raises(SystemExit):
        run.parse(["--model=cnn", "--only=feed_dict"])
    assert "no contender matches 'feed_dict'" in capsys.readouterr().err


def test_contender_with_a_missing_package() -> None:
    contender = Contender("it", "it", "peer", 1, "it", needs="no_such_package")
    assert contender.lacks() == "no_such_package"
    assert contender._replace(needs="json").lacks() == ""


def test_report_is_found_between_a_launchers_tags() -> None:
    line = f'[1,0]<stdout>:{measuring.MARK}{{"a": [1, 2.5]}}[1,0]<stdout>:'
    assert processes.parse(f"noise {{}}\n{line}\nmore") == {"a": [1, 2.5]}
    assert processes.parse("noise") == {}


@pytest.mark.parametrize(
    ("command", "failure"),
    [
        (("bash", "-c", "echo oh no; exit 3"), "ended with 3:\noh no"),
        (
            ("bash", "-c", "echo still here; sleep 60"),
            "timed out after 1 s:\nstill here",
        ),
        (("true",), "printed no report"),
        (("no-such-command",), "cannot be started"),
    ],
)
def test_failure_includes_the_output(command: tuple[str], failure: str) -> None:
    outcome = processes.run(command, timeout=1)
    assert failure in outcome.failure
    assert outcome.result == {}
    assert outcome.wall_seconds < 10


def test_number_of_gradients() -> None:
    assert measuring.NUM_GRADIENTS == 784 * 128 + 128 + 128 * 32 + 32 + 32 * 10 + 10


# --- The scaling model.

POINTS = [(size, workers) for size in (1 << 10, 1 << 16, 1 << 22) for workers in (2, 4)]


def test_fit_recovers_the_constants_of_exact_measurements() -> None:
    truth = Ring(alpha=5e-6, beta=1e-10)
    points = [Point(*point, truth.seconds(*point)) for point in POINTS]
    found = ring.fit(points)
    assert found == pytest.approx(truth)
    assert scaling.errors(points, found)["largest_error"] < 1e-6


def test_fit_weighs_errors_relatively() -> None:
    # Small messages matter, although their absolute errors are tiny.
    truth = Ring(alpha=5e-6, beta=1e-10)
    noise = (1.1, 0.9, 0.9, 1.1, 1.1, 0.9)
    points = [Point(*p, truth.seconds(*p) * n) for p, n in zip(POINTS, noise)]
    found = ring.fit(points)
    assert found == pytest.approx(truth, rel=0.15)
    assert 0 < scaling.errors(points, found)["median_error"] < 0.15


@pytest.mark.parametrize("seconds", [lambda size: 1e-9 * size**1.2, lambda size: 1e-3])
def test_fit_has_non_negative_constants(seconds: Any) -> None:
    found = ring.fit([Point(size, 2, seconds(size)) for size, _ in POINTS])
    assert found.alpha >= 0
    assert found.beta >= 0


def test_ring_takes_two_passes() -> None:
    # 4 workers: 6 messages of a quarter of the data each.
    assert Ring(1.0, 0.0).seconds(100, 4) == 6
    assert Ring(0.0, 1.0).seconds(100, 4) == 150
    assert Ring(1.0, 1.0).seconds(100, 1) == 0


def test_efficiency_with_and_without_overlap() -> None:
    model = Ring(0.0, 1.0)  # 2 workers send as many bytes as there are, in seconds
    assert model.step(3, 1, 2) == 4
    assert model.step(4, 2, 2, buckets=4) == 4.5  # only the last is waited for
    assert model.step(4, 8, 2, buckets=4) == 9  # the network is never idle
    assert model.step(6, 2, 2, buckets=4, forward=2) == 6.5


def test_efficiency_falls_with_workers_and_rises_with_overlap() -> None:
    rows = predictions.predict([predictions.RESNET])
    assert len(rows) == len(predictions.FABRICS) * len(predictions.WORKERS)
    for before, row in itertools.pairwise(rows):
        assert 0 < row["efficiency"] <= row["efficiency_with_buckets"] <= 1
        if before["fabric"] == row["fabric"]:
            assert row["efficiency"] < before["efficiency"]


def test_scaling_plot(tmp_path: Path) -> None:
    truth = Ring(alpha=5e-6, beta=1e-10)
    points = [Point(*point, truth.seconds(*point)) for point in POINTS]
    path = tmp_path / "scaling.png"
    fits = scaling.fit_each(points)
    assert fits.keys() == {2, 4}
    scaling_plot.draw(points, fits, predictions.FABRICS, [predictions.RESNET], path)
    assert path.exists()


# --- With processes.


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("model", "names", "criterion"),
    [
        (
            "mlp",
            ["distmnist_1", "products_1x1_eigen", "allreduce_2"],
            "1 rank: fraction of the limit (matrix products, 1 thread, Eigen)",
        ),
        (
            "cnn",
            ["distmnist_1", "distmnist_2", "keras_fit_tuned", "multi_worker_2"],
            "2 ranks: speed-up over the best peer, tuned peers included "
            "(MultiWorkerMirroredStrategy)",
        ),
    ],
)
def test_runs(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    names: list[str],
    criterion: str,
) -> None:
    status = run.main(
        [
            *(f"--model={model}", f"--only={','.join(names)}"),
            *("--repeats=1", "--blocks=2", "--block_steps=5", "--data="),
            f"--out={tmp_path / 'new/directory'}",
        ]
    )
    printed = capsys.readouterr().out
    assert status == 0, printed
    results = json.loads((tmp_path / "new/directory/results.json").read_text())
    assert results["model"] == model
    assert results["summary"].keys() == set(names)
    for spreads in results["summary"].values():
        assert 0 < spreads["step_seconds"]["median"] < (1 if model == "mlp" else 10)
    assert results["environment"]["versions"]["tensorflow"]
    assert "| distmnist " in printed
    assert criterion in printed
