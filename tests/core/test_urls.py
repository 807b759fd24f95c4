"""URLs in flags: what is one, and that no secret in one is repeated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distmnist import evaluate
from distmnist.core import registry, urls
from distmnist.core.config import Config
from distmnist.core.errors import InputError

PLAIN = ["https://host/data", "s3://bucket/a/b", "http://[::1]:80/x", "memory://x"]
PLAIN += ["abfs://container@account.dfs.core.windows.net/x", "sftp://me@host:22/x"]


@pytest.mark.parametrize("url", PLAIN)
def test_what_is_a_url(url: str) -> None:
    assert urls.is_url(url)
    assert not urls.has_secrets(url)
    assert urls.without_secrets(url) == url
    assert not registry.is_code(url, registry.DATASETS)
    assert not registry.is_path(url, registry.DATASETS)
    assert Config(dataset=url).dataset == url


@pytest.mark.parametrize("name", ["my_data:function", "a/b", "C:/x", "://x", "mnist"])
def test_what_is_none(name: str) -> None:
    assert not urls.is_url(name)
    assert not urls.has_secrets(name)


_SAFE = st.text("abcXYZ019-._~%", min_size=1, max_size=8)
_WORD = st.text("abcXYZ019-._~%/:@=&", max_size=8).map(lambda text: f"S3CR3T{text}")


@given(st.data())
def test_no_secret_is_repeated(data: st.DataObject) -> None:
    scheme = data.draw(st.sampled_from(["http", "https", "s3", "sftp"]))
    user, host, path = data.draw(_SAFE), data.draw(_SAFE), data.draw(_SAFE)
    word = data.draw(_WORD)
    url = data.draw(
        st.sampled_from(
            [
                f"{scheme}://{user}:{word}@{host}/{path}",
                f"{scheme}://{host}/{path}?{user}={word}",
                f"{scheme}://{host}/{path}#{word}",
            ]
        )
    )
    assert urls.has_secrets(url)
    message = f"404, url={data.draw(st.sampled_from(['', '(', chr(39)]))}{url}"
    assert "S3CR3T" not in urls.without_secrets(message)
    assert urls.without_secrets(message).startswith("404, url=")


@pytest.mark.parametrize(
    "fields",
    [
        {"dataset": "https://me:S3CR3T@host/data"},
        {"dataset": "https://S3CR3T@host/data"},
        {"dataset": "https://host/data?X-Amz-Signature=S3CR3T"},
        {"mnist_mirrors": ("https://host/data", "https://me:S3CR3T@host/data")},
        {"log_dir": "s3://key:S3CR3T@bucket/logs"},
    ],
)
def test_flags_with_secrets_are_refused(fields: dict[str, Any]) -> None:
    for options in (Config, evaluate.Options):
        known = {
            name: value for name, value in fields.items() if hasattr(options, name)
        }
        if not known:
            continue
        with pytest.raises(InputError) as caught:
            options(**known)
        assert "S3CR3T" not in str(caught.value)
        (name,) = known
        assert str(caught.value).startswith(f"flag --{name}=")
        assert "must be " in str(caught.value)
