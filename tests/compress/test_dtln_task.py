"""DTLN's task: what is exported has frames to be checked on, and foreign teachers are heard."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress.distillation import guided
from compress.listening import Listeners
from compress.steps import Distil
from compress.task import every_score
from compress.tasks import dtln
from device.errors import BadInputError
from models.dtln import DTLN
from tests.compress import sounds
from tests.compress.distillation import tflite_files


def _settings(seconds: float) -> dtln.Settings:
    return dtln.Settings.model_validate(
        {
            **{name: sounds.SMALL[name] for name in ("data", "mixing", "batches")},
            "model": {"weights": "weights.h5"},
            "score": {"seconds": seconds, "validation": 1, "test": 1},
        }
    )


@pytest.fixture
def task(tmp_path: Path) -> dtln.Dtln:
    """On the shortest mixtures that will do."""
    sounds.make_folder(tmp_path)
    (tmp_path / "weights.h5").write_bytes(b"not read here")
    return dtln.make(_settings(0.833), (tmp_path,), 0)


def test_a_score_without_a_frame_to_check_is_refused(task: dtln.Dtln) -> None:
    with pytest.raises(ValueError, match=r"score\.seconds 0\.83 is too short .* 0\.84 or more"):
        _settings(0.83)
    parts = task.one_step(DTLN(units=4).eval())
    assert [len(part.examples) for part in parts.values()] == [1, 1]


def test_validation_has_every_score_on_request(tmp_path: Path) -> None:
    sounds.make_folder(tmp_path)
    (tmp_path / "weights.h5").write_bytes(b"not read here")
    task, net = dtln.make(_settings(2.0), (tmp_path,), 0), DTLN(units=4)
    usual, every = task.evaluate(net, "validation"), every_score(task, net, "validation")
    assert set(usual.scores) == {"si_sdr"}
    assert set(every.scores) == {"si_sdr", "pesq_wb", "stoi", "estoi"} == set(task.score_names())
    assert usual.value == every.value


class _Loud(nn.Module):
    """The mixture itself, far too loud."""

    def __init__(self, waveform: bool) -> None:
        super().__init__()
        self.waveform = waveform

    def forward(self, noisy: Tensor) -> Tensor:
        return 50 * noisy


def test_a_teacher_from_a_file_is_heard_at_the_mixtures_level(task: dtln.Dtln) -> None:
    net, batch = DTLN(units=4).eval(), next(task.batches(0, 0))
    noisy, _ = batch
    with torch.no_grad():
        alone = task.loss(net, batch, None)
        own = task.loss(net, (noisy, noisy), None)
        foreign = task.loss(net, batch, _Loud(waveform=True))
        assert foreign == pytest.approx(float(alone + own), rel=1e-3)
        assert task.loss(net, batch, _Loud(waveform=False)) != pytest.approx(
            float(foreign), rel=0.1
        )
    path = task._weights.parent / "double.tflite"
    path.write_bytes(tflite_files.double())
    with guided(Distil(teacher=str(path)), net, task, None, task.example()) as guide:
        assert guide.teacher is not None
        torch.testing.assert_close(guide.teacher(noisy), 2 * noisy)
    with (
        pytest.raises(BadInputError, match="no such teacher"),
        guided(Distil(teacher="nothing"), net, task, None, task.example()),
    ):
        pass


def test_listeners_join_the_loss(tmp_path: Path) -> None:
    sounds.make_folder(tmp_path)
    (tmp_path / "weights.h5").write_bytes(b"not read here")
    table = _settings(0.833).model_dump()
    weights = {"perceptual": 3.0, "intelligibility": 20.0}
    settings = dtln.Settings.model_validate({**table, "loss": weights})
    with_them, without = (
        dtln.make(own, (tmp_path,), 0) for own in (settings, dtln.Settings.model_validate(table))
    )
    noisy, target = batch = torch.randn(2, 2, 16_000, generator=torch.Generator().manual_seed(0))
    net = DTLN(units=4).eval()
    with torch.no_grad():
        heard = Listeners(settings.loss).sounds(net(noisy), target, noisy)
        difference = with_them.loss(net, batch, None) - without.loss(net, batch, None)
    assert float(difference) == pytest.approx(float(heard), rel=1e-4)
    assert float(heard) > 0.1
    with pytest.raises(ValueError, match=r"seconds must be 0\.32 or more for loss\.perceptual"):
        short = {**table["mixing"], "seconds": 0.2}
        dtln.Settings.model_validate({**table, "mixing": short, "loss": weights})
