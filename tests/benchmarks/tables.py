"""Tables of the results, in Markdown aligned for terminals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.benchmarks import summary
from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.summary import EVALUATION_STEPS, Criterion, Spread

Summary = Mapping[str, Mapping[str, Spread]]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table with the first column left-aligned, the others right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows)]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        others = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
        return f"| {' | '.join([first, *others])} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(heads), line(rule), *map(line, rows)])


def steps_table(measured: Summary) -> str:
    """Returns the table of step times."""
    medians = take_medians(measured)
    rows = []
    for contender in CONTENDERS:
        values = measured.get(contender.name, {})
        if "step_seconds" not in values:
            continue
        own = medians.get(f"distmnist_{contender.ranks}", {}).get("step_seconds")
        step = values["step_seconds"].median
        rate = values.get("examples_per_second")
        start_up = values.get("start_up_seconds")
        share = values.get("allreduce_share") if contender.ranks > 1 else None
        rows.append(
            (
                contender.title,
                str(contender.ranks),
                f"{step * 1e3:.3f}",
                f"{rate.median:,.0f}" if rate else "",
                f"{rate.low:,.0f} to {rate.high:,.0f}" if rate else "",
                f"{step / own:.2f} x" if own and contender.kind == "peer" else "",
                f"{start_up.median:.1f}" if start_up else "",
                f"{values['memory_mb'].median:.0f}",
                f"{share.median:.0%}" if share else "",
            )
        )
    heads = (
        "",
        "ranks",
        "ms/step",
        "examples/s",
        "quartiles",
        "speed-up of distmnist",
        "start-up s",
        "MB per rank",
        "in allreduce",
    )
    return table(heads, rows)


def limits_table(measured: Summary) -> str:
    """Returns the table of step times relative to the hardware limit."""
    medians = take_medians(measured)
    rows = []
    for ranks in (1, 2):
        shortest = summary.limit(medians, ranks)
        step = medians.get(f"distmnist_{ranks}", {}).get("step_seconds")
        if shortest and step:
            rows.append(
                (
                    str(ranks),
                    f"{shortest * 1e3:.3f}",
                    f"{step * 1e3:.3f}",
                    f"{shortest / step:.2f}",
                )
            )
    return table(
        ("ranks", "limit ms/step", "distmnist ms/step", "fraction of limit"), rows
    )


def jobs_table(measured: Summary) -> str:
    """Returns the table of durations of complete jobs."""
    tutorial = measured.get("job_tutorial", {}).get("wall_seconds")
    rows = []
    for contender in CONTENDERS:
        wall = measured.get(contender.name, {}).get("wall_seconds")
        if contender.kind == "job" and wall:
            rows.append(
                (
                    contender.title,
                    str(contender.ranks),
                    f"{wall.median:.1f}",
                    f"{wall.low:.1f} to {wall.high:.1f}",
                    f"{wall.median / tutorial.median:.2f}" if tutorial else "",
                )
            )
    heads = ("complete job", "ranks", "seconds", "quartiles", "relative to tutorial")
    return table(heads, rows)


def evaluation_table(measured: Summary) -> str:
    """Returns the table of durations of a full evaluation."""
    rows = []
    for ranks in (1, 2, 4):
        values = measured.get(f"distmnist_{ranks}", {})
        if "evaluation_seconds" in values:
            evaluation = values["evaluation_seconds"].median
            steps = values["step_seconds"].median * EVALUATION_STEPS
            rows.append((str(ranks), f"{evaluation * 1e3:.0f}", f"{steps * 1e3:.0f}"))
    heads = (
        "ranks",
        "evaluation of 70,000 images, ms",
        f"{EVALUATION_STEPS} steps, ms",
    )
    return table(heads, rows)


def criteria_table(criteria: Sequence[Criterion]) -> str:
    """Returns the table of criteria."""
    rows = [
        (
            each.text + (f" ({each.than})" if each.than else ""),
            "" if each.ratio is None else f"{each.ratio:.2f}",
            "" if each.required is None else f"{each.required:.2f}",
            each.verdict,
        )
        for each in criteria
    ]
    return table(("criterion", "measured", "at least", ""), rows)


def take_medians(measured: Summary) -> dict[str, dict[str, float]]:
    """Returns only the medians."""
    return {
        name: {key: spread.median for key, spread in values.items()}
        for name, values in measured.items()
    }
