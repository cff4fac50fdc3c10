"""What a Pi core would need is computed as the module says."""

import pytest

from scripts import arithmetic


def test_multiplications_bound_a_net_whose_weights_stay_in_the_cache() -> None:
    low, high = arithmetic.pi4(macs=1_800_000, size=300_000, nodes=100, period=0.016)
    assert low == pytest.approx(0.0004 / 0.016)
    assert high == pytest.approx((0.009 + 0.0005) / 0.016)


def test_memory_bounds_a_net_whose_weights_do_not() -> None:
    low, high = arithmetic.pi4(macs=100_000, size=16_000_000, nodes=0, period=0.016)
    assert low == pytest.approx(0.008 / 0.016)
    assert high == pytest.approx(1)
