"""bfloat16 is used where it is multiplied as such, and only if it is asked for."""

import pytest
import torch

from compress import distributed, precision


def test_float32_stays_float32() -> None:
    assert precision.usable("32-true") == "32-true"
    assert not precision.half("32-true")


def test_bfloat16_needs_a_processor_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.accelerator.is_available():
        pytest.skip("an accelerator has it")
    fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert precision.half("bf16-mixed") == fast
    assert distributed.fabric("bf16-mixed")._precision.precision == (
        "bf16-mixed" if fast else "32-true"
    )
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert precision.usable("bf16-mixed") == "32-true"
