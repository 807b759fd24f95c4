"""Errors in the user's code: one line, with their file and line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from distmnist.core import registry, user_code
from distmnist.core.errors import InputError, RunError, UserError

HERE = Path(__file__).name


def explained(function: object) -> str:
    with pytest.raises(RunError) as caught, user_code.reported():
        function()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_innermost_line_of_the_user_is_named() -> None:
    def fail() -> None:
        raise KeyError("missing")

    assert explained(fail).endswith(": KeyError: 'missing'")
    assert f"{HERE}:{fail.__code__.co_firstlineno + 1}: " in explained(fail)


def test_the_line_that_called_a_library_is_named() -> None:
    def fail() -> None:
        tf.ones([2, 3]) @ tf.ones([2, 3])

    message = explained(fail)
    assert f"{HERE}:{fail.__code__.co_firstlineno + 1}: " in message
    assert "Matrix size-incompatible" in message


def test_errors_while_a_graph_is_traced() -> None:
    @tf.function
    def fail() -> tf.Tensor:
        return tf.reshape(tf.ones([4]), [3])

    message = explained(fail)
    assert f"{HERE}:" in message
    assert "in user code" not in message
    assert "4" in message


def test_errors_while_a_graph_runs() -> None:
    @tf.function
    def fail(x: tf.Tensor) -> tf.Tensor:
        tf.debugging.assert_less(x, 1.0, message="too large")
        return x

    message = explained(lambda: fail(tf.constant(2.0)))
    assert f"{HERE}:" in message
    assert "too large" in message


def test_what_xla_cannot_compile() -> None:
    @tf.function(jit_compile=True)
    def fail(x: tf.Tensor) -> tf.Tensor:
        return tf.strings.length(tf.strings.as_string(x))

    message = explained(lambda: fail(tf.constant(2.0)))
    assert f"{HERE}:" in message
    assert "train without --xla" in message


def test_syntax_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("x = 1\ny = = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RunError, match=r"broken_module.py:2: SyntaxError: invalid"):
        registry.load("model", "broken_module:Net", registry.MODELS)


def test_a_module_that_is_missing_is_another_error() -> None:
    with pytest.raises(InputError, match=r"--model=no_module:Net: cannot import"):
        registry.load("model", "no_module:Net", registry.MODELS)


def test_errors_for_the_user_pass_unchanged() -> None:
    error = InputError("as it is")
    with pytest.raises(UserError) as caught, user_code.reported():
        raise error
    assert caught.value is error


def test_errors_outside_the_users_code_are_no_ones() -> None:
    program = (
        "from distmnist.core import user_code\n"
        "try: user_code.reason(None)\n"
        "except Exception as error: print(user_code.explain(error))"
    )
    command = (sys.executable, "-c", program)
    assert subprocess.check_output(command, text=True).strip() == "None"


def test_long_messages_are_cut() -> None:
    def fail() -> None:
        raise ValueError("long " * 1000)

    assert len(explained(fail)) < 500


def test_an_allocation_that_fails_is_named_with_its_size() -> None:
    message = "OOM when allocating tensor with shape[1024,1024,256] and type float on"
    explained = user_code.out_of_memory(RuntimeError(message))
    assert "shape [1024,1024,256], 1.0 GiB" in str(explained)
    assert user_code.out_of_memory(RuntimeError("other")) is None
    missing = user_code.explain(MemoryError("Unable to allocate 3 GiB"))
    assert "out of memory Unable to allocate 3 GiB: choose a smaller" in str(missing)
