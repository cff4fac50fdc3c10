"""The speech app's own figures."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device import bundle, speech_meter
from device.speech_meter import BINS, Factors, SpeechMeter, temperature


def test_a_report_covers_the_time_since_the_last_one(enhancer: Path) -> None:
    meter = SpeechMeter(bundle.read(enhancer))
    for rtf in np.linspace(0, 1, 101):
        meter.block(np.full(320, 0.1, np.float32), lag=rtf / 10, rtf=float(rtf))
    meter.block(np.full(320, 0.1, np.float32), lag=0.05, rtf=None)
    report = meter.report(frames=5, bypasses=1, xruns=2, drops=3)
    assert (report.rtf_p50, report.rtf_p95, report.rtf_p99) == pytest.approx(
        (0.5, 0.95, 0.99), rel=0.011
    )
    assert report.latency == pytest.approx(100)  # ms, the worst
    assert report.level == pytest.approx(-20, abs=1e-4)
    assert (report.frames, report.bypasses, report.xruns, report.drops) == (5, 1, 2, 3)
    report = meter.report(frames=5, bypasses=1, xruns=2, drops=3)
    assert (report.rtf_p99, report.latency, report.level) == (0, 0, -120)


def test_a_file_far_beyond_full_scale_can_be_reported(enhancer: Path) -> None:
    meter = SpeechMeter(bundle.read(enhancer))
    meter.block(np.full(320, 30_000, np.float32), lag=0, rtf=0.1)
    assert meter.report(frames=1, bypasses=0, xruns=0, drops=0).level == 20


def test_nothing_has_no_percentiles() -> None:
    assert Factors().percentiles() is None


def test_any_factor_counts_and_none_is_kept() -> None:
    factors = Factors()
    for factor in (0.0, 1e-9, 0.25, 0.25, 0.25):
        factors.add(factor)
    for _ in range(95):
        factors.add(1e9)
    found = factors.percentiles()
    assert found is not None
    assert found.p50 == found.p99 > 1000
    assert len(factors._counts) == BINS


@given(st.lists(st.floats(1e-4, 100), min_size=1, max_size=50))
def test_percentiles_are_those_of_the_factors_to_a_bin(values: list[float]) -> None:
    factors = Factors()
    for value in values:
        factors.add(value)
    found = factors.percentiles()
    assert found is not None
    expected = np.percentile(values, (50, 95, 99), method="inverted_cdf")
    assert (found.p50, found.p95, found.p99) == pytest.approx(tuple(expected), rel=0.006)


def test_temperature_where_the_system_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temp"
    monkeypatch.setattr(speech_meter, "TEMPERATURE", place)
    assert temperature() is None
    place.write_text("48312\n")
    assert temperature() == 48.312
    place.write_text("hot")
    assert temperature() is None
