from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedefm.data.intensity import PERCENTILES, percentiles, rescale, to_unit


def test_percentiles_come_from_the_reference() -> None:
    volume = np.linspace(0, 1000, 10_000).reshape(100, 100)
    slice_of_it = np.full((4, 4), 500.0)
    assert np.allclose(to_unit(slice_of_it, reference=volume), 0.5, atol=0.01)
    assert to_unit(slice_of_it).max() == 0  # alone it is constant


def test_outliers_do_not_darken_the_rest() -> None:
    values = np.linspace(0, 100, 10_000).reshape(100, 100)
    values[0, 0] = 1e9
    assert to_unit(values)[99, 50] > 0.95


def test_an_empty_range_gives_zeros() -> None:
    assert rescale(np.ones((2, 2)), 1, 1).max() == 0


@given(
    st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.int64, np.float64]).flatmap(
        lambda kind: arrays(kind, st.tuples(st.integers(1, 40), st.integers(1, 40)))
    )
)
def test_counted_percentiles_are_those_of_numpy(values: Any) -> None:
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, posinf=1e9, neginf=-1e9).clip(-1e9, 1e9)
    wide = values if values.dtype == np.int64 else values.astype(np.float64)
    assert np.allclose(percentiles(values), np.percentile(wide, PERCENTILES), rtol=1e-12)
