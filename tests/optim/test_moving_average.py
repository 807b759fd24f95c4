"""The moving average of the parameters."""

from __future__ import annotations

import pytest
import tensorflow as tf

from distmnist.optim.moving_average import MovingAverage


def test_it_follows_the_variable() -> None:
    variable, expected = tf.Variable([1.0, 2.0]), [1.0, 2.0]
    average = MovingAverage(0.7, {"layer/w": variable})
    assert list(average.variables) == ["moving_average/layer/w"]
    for step in range(1, 40):
        variable.assign(variable * 0.9 + 0.3)
        average.update(tf.constant(step, tf.int64))
        decay = min(0.7, (1 + step) / (10 + step))
        values = variable.numpy().tolist()
        expected = [decay * e + (1 - decay) * v for e, v in zip(expected, values)]
        (found,) = average.variables.values()
        assert found.numpy() == pytest.approx(expected, rel=1e-5)


def test_it_is_in_place_inside_and_gone_afterwards() -> None:
    variable = tf.Variable([1.0, 0.1])
    average = MovingAverage(0.9, {"w": variable})
    variable.assign([3.3, 0.7])
    average.update(tf.constant(1))
    kept = average.variables["moving_average/w"].numpy().tolist()
    assert kept != pytest.approx([3.3, 0.7])
    with pytest.raises(ValueError), average.in_place():
        assert variable.numpy().tolist() == kept
        raise ValueError
    assert variable.numpy() == pytest.approx([3.3, 0.7])
    assert average.variables["moving_average/w"].numpy().tolist() == kept


def test_without_a_decay_there_is_none() -> None:
    variable = tf.Variable([1.0])
    average = MovingAverage(0.0, {"w": variable})
    average.update(tf.constant(5))
    with average.in_place():
        assert variable.numpy() == [1.0]
    assert average.variables == {}
