"""Options of launch/submit_k8s: the kinds of object that fit, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distmnist.core.errors import InputError
from launch.submit.k8s.options import KINDS, Options, parse

KINDS_THAT_FIT = [
    ({"workers": 1}, ("job", "mpijob")),
    ({"workers": 1, "gpus_per_worker": 1}, ("job", "mpijob")),
    ({"workers": 1, "gpus_per_worker": 2}, ("mpijob",)),
    ({"workers": 1, "elastic": True}, ("mpijob",)),
    ({"workers": 2}, ("mpijob", "trainjob")),
    ({"workers": 2, "name": "a" * 44}, ("mpijob", "trainjob")),
    ({"workers": 2, "name": "a" * 45}, ("mpijob",)),
    ({"workers": 2, "elastic": True}, ("mpijob",)),
    ({"workers": 2, "spread": True}, ("mpijob",)),
    ({"workers": 2, "priority_class": "high"}, ("mpijob",)),
]


@pytest.mark.parametrize(("flags", "kinds"), KINDS_THAT_FIT)
def test_kinds_that_can_run_a_job(flags: Any, kinds: tuple[str, ...]) -> None:
    options = Options(image="d:1", **flags)
    assert options.kinds == kinds
    for kind in KINDS:
        if kind in kinds:
            assert Options(image="d:1", kind=kind, **flags).kinds == (kind,)
            continue
        with pytest.raises(InputError, match=f"^flag --kind={kind}: ") as refused:
            Options(image="d:1", kind=kind, **flags)
        assert "\n" not in str(refused.value)


IMAGES = [
    "distmnist",
    "distmnist:cpu",
    "REGISTRY/distmnist:cpu",
    "localhost:5000/distmnist",
    "[::1]:5000/distmnist:1",
    "registry.example.com:443/team/dist-mnist__x.y/z:V1.2-rc_3",
    f"ghcr.io/team/distmnist@sha256:{'0a' * 32}",
    f"ghcr.io/team/distmnist:cpu@sha256:{'0a' * 32}",
]

NO_IMAGES = [
    " distmnist:cpu",
    "dist mnist:cpu",
    "distmnist:cpu\n",
    "distmnist:",
    "Distmnist:cpu",
    "registry.example.com/Team/distmnist:cpu",
    "registry.example.com/distmnist:cpu:2",
    "registry.example.com:/distmnist",
    "https://registry.example.com/distmnist:cpu",
    "registry.example.com//distmnist",
    "/distmnist",
    "distmnist/",
    "-distmnist",
    "dist..mnist",
    "distmnist:.cpu",
    f"distmnist:{'x' * 129}",
    "distmnist@sha256:abc",
    "d\u00edstmnist",
    "${IMAGE}",
]


@pytest.mark.parametrize("image", IMAGES)
def test_images_that_can_be_pulled(image: str) -> None:
    assert Options(image=image).image == image


@pytest.mark.parametrize("image", NO_IMAGES, ids=ascii)
def test_images_that_no_runtime_could_pull_are_refused(image: str) -> None:
    with pytest.raises(InputError, match=r"^flag --image="):
        Options(image=image)


PART = st.from_regex(r"[a-z0-9]{1,5}([._-][a-z0-9]{1,5})?", fullmatch=True)


@settings(deadline=None)
@given(
    st.lists(PART, min_size=1, max_size=4),
    st.one_of(
        st.none(), st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{,9}", fullmatch=True)
    ),
    st.sampled_from(" \t\nA#?%"),
    st.integers(0, 60),
)
def test_images_with_a_wrong_character_are_refused(
    parts: list[str], tag: str | None, wrong: str, where: int
) -> None:
    image = "registry.example.com/" + "/".join(parts) + (f":{tag}" if tag else "")
    assert Options(image=image).image == image
    begin = len("registry.example.com/")
    end = begin + len("/".join(parts))
    where = begin + where % (end - begin)
    broken = image[:where] + wrong + image[where:]
    with pytest.raises(InputError, match="--image"):
        Options(image=broken)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("kind", "jobset"),
        ("memory_per_worker", "4ki"),
        ("config_map", "My_Map"),
        ("priority_class", "High"),
        ("disk_per_worker", "ten"),
        ("node_selector", ("disk",)),
        ("node_selector", ("disk=ssd", "a b=c")),
        ("node_selector", ("=ssd",)),
        ("tolerations", (":NoSchedule",)),
        ("tolerations", ("gpu:Never",)),
        ("tolerations", ("gpu=a b",)),
    ],
)
def test_values_that_the_cluster_would_reject_are_refused(
    flag: str, value: Any
) -> None:
    with pytest.raises(InputError, match=f"^flag --{flag}="):
        Options(image="d:1", **{flag: value})


@pytest.mark.parametrize("value", ["500m", "2", "1.5", "4194304Ki", "4k", "4Gi", "1E"])
def test_quantities(value: str) -> None:
    assert Options(image="d:1", memory_per_worker=value).memory_per_worker == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--dry_run --delete=a", "flags --dry_run and --delete: give only one"),
        ("--status=a --logs=b", "flags --logs and --status: give only one"),
        ("--delete=a --image=d:1", "flag --image: has no effect with --delete"),
        ("--delete=a --detach", "flag --detach: has no effect with --delete"),
        ("--status=a --workers=3", "flag --workers: has no effect with --status"),
        ("--logs=a -- --seed=1", "flags after --: has no effect with --logs"),
        ("--image=d:1 --min_workers=2", "flag --min_workers: only with --elastic"),
        ("--image=d:1 -- --elastic", "flag --elastic after --: give it before --"),
        ("--image=d:1 -- --flagfile=f", "flag --flagfile after --: pods do not have"),
    ],
)
def test_flags_that_do_not_fit_are_refused(words: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        parse(["submit_k8s", *words.split()])


@pytest.mark.parametrize(
    "words", ["--logs=a --timeout=9 --namespace=b", "--delete=a --context=c"]
)
def test_flags_of_an_action(words: str) -> None:
    assert parse(["submit_k8s", *words.split()]).there == "a"
