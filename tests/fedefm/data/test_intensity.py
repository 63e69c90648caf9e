import numpy as np

from fedefm.data.intensity import rescale, to_unit


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
