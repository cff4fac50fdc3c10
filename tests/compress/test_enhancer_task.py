"""The enhancer as a task: it learns, it repeats, and what is deployed is what was trained."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from compress import stream_frames
from compress.spectra import ideal_mask
from compress.tasks import enhancer
from compress.tasks.enhancer import Enhancer, Settings
from device import bundle
from device.manifest import SpectrumInput
from models.tcn import TCN
from tests import bundles
from tests.compress import sounds
from tests.compress.sounds import SMALL


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sounds.make_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def task(data: Path) -> Enhancer:
    made = enhancer.make(Settings.model_validate(SMALL), (data,), seed=0)
    assert isinstance(made, Enhancer)
    return made


@pytest.fixture(scope="module")
def trained(task: Enhancer) -> tuple[TCN, list[float]]:
    """A network after a few epochs, and its losses."""
    torch.manual_seed(0)
    net = task.build()
    assert isinstance(net, TCN)
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    losses = []
    for epoch in range(25):
        for batch in task.batches(epoch, seed=0):
            loss = task.loss(net, batch, None)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    return net, losses


def test_a_grade_is_the_validation_score_in_twentieths(task: Enhancer) -> None:
    """All mixtures as one minibatch: what a search is rewarded for is what the task scores."""
    torch.manual_seed(0)
    net = task.build().eval()
    count = task.minibatches(1)
    with torch.no_grad():
        grade = task.grade(net, task.minibatch(0, count))
    assert 20 * grade == pytest.approx(task.evaluate(net, "validation").value, abs=0.1)
    first, again = task.minibatch(0, count), task.minibatch(1, count)
    assert not torch.equal(first[0], again[0])  # another order
    assert float((first[0].sum() - again[0].sum()).abs()) < 1e-2  # of the same mixtures


def test_complex_masks_are_graded_in_bfloat16(data: Path) -> None:
    model = {**SMALL["model"], "feature": "compressed_complex", "mask": "complex"}
    made = enhancer.make(Settings.model_validate(SMALL | {"model": model}), (data,), seed=0)
    torch.manual_seed(0)
    net, batch = made.build().eval(), made.minibatch(0, 2)
    with torch.no_grad():
        exact = made.grade(net, batch)
        with torch.autocast("cpu", torch.bfloat16):
            assert made.grade(net, batch) == pytest.approx(exact, abs=0.05)


def test_batches_repeat_for_epoch_and_seed(task: Enhancer) -> None:
    one, same = ([b[0] for b in task.batches(1, seed=5)] for _ in range(2))
    assert len(one) == task.steps() == 3
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    for epoch, seed in ((2, 5), (1, 6)):
        assert not torch.equal(one[0], next(task.batches(epoch, seed))[0])
    assert not torch.equal(one[0], one[1])


def test_training_lowers_the_loss_and_raises_the_score(
    task: Enhancer, trained: tuple[TCN, list[float]]
) -> None:
    net, losses = trained
    assert np.mean(losses[-6:]) < np.mean(losses[:6]) - 3
    quality = task.evaluate(net, "validation")
    assert quality.primary == "si_sdr"
    assert quality.value > quality.scores["noisy_si_sdr"] + 2
    gain = quality.value - quality.scores["noisy_si_sdr"]
    assert quality.scores["si_sdr_gain"] == pytest.approx(gain)


def test_a_teacher_adds_what_the_student_differs_by(
    task: Enhancer, trained: tuple[TCN, list[float]]
) -> None:
    net, _ = trained
    batch = next(task.batches(0, seed=9))
    alone = task.loss(net.eval(), batch, None)
    assert torch.allclose(task.loss(net, batch, copy.deepcopy(net)), alone)
    assert task.loss(net, batch, task.build().eval()) > alone + 0.01


def test_the_loss_over_frames_stands_in_for_that_of_the_sound(
    data: Path, task: Enhancer, trained: tuple[TCN, list[float]]
) -> None:
    """Near it, never better than it, and with the same share of a teacher and of silence."""
    frames = enhancer.make(
        Settings.model_validate(SMALL | {"loss": {"target": "frames"}}), (data,), seed=0
    )
    net, other = trained[0].eval(), task.build().eval()
    batch = next(task.batches(0, seed=9))
    for one in (net, other):
        exact, bound = (float(each.loss(one, batch, None).detach()) for each in (task, frames))
        assert exact - 0.3 < bound < exact + 2.0
    alone = frames.loss(net, batch, None)
    taught = [
        float(each.loss(net, batch, other)) - float(each.loss(net, batch, None))
        for each in (task, frames)
    ]
    assert taught[1] == pytest.approx(taught[0], rel=0.02) and taught[0] > 0.01
    assert torch.allclose(frames.loss(net, batch, copy.deepcopy(net)), alone)
    silent = frames.loss(net, (batch[0], torch.zeros_like(batch[1])), None)
    assert torch.isfinite(silent)
    with pytest.raises(ValidationError, match=r'loss.target "frames" needs model.mask "magnitude"'):
        model = {"feature": "compressed_complex", "mask": "complex"}
        Settings.model_validate(SMALL | {"loss": {"target": "frames"}, "model": model})


def test_complex_masks_can_be_the_target(data: Path) -> None:
    """FullSubNet's own loss: none for the ideal mask, and what a teacher differs by is added."""
    table = {"kind": "fullsubnet", "mask": "complex", "full": [8], "sub": [6], "reach": 2}
    wanted = SMALL | {"model": table, "loss": {"target": "cirm"}}
    made = enhancer.make(Settings.model_validate(wanted), (data,), seed=0)
    batch = next(made.batches(0, seed=9))
    spectra = [made._end.analyse(sound) for sound in batch]  # type: ignore[attr-defined]
    ideal = ideal_mask(*spectra)

    class Ideal(torch.nn.Module):
        def forward(self, feature: torch.Tensor) -> torch.Tensor:
            return ideal

    torch.manual_seed(0)
    net = made.build().eval()
    assert made.loss(Ideal(), batch, None) == 0
    alone = made.loss(net, batch, None)
    assert alone > 0.01
    assert torch.allclose(made.loss(net, batch, net), alone, rtol=1e-3)
    assert torch.allclose(
        made.loss(Ideal(), batch, net), alone, rtol=1e-2
    )  # silent bins have no mask
    heavy = enhancer.make(
        Settings.model_validate(wanted | {"loss": {"target": "cirm", "teacher": 3}}), (data,), 0
    )
    assert torch.allclose(heavy.loss(Ideal(), batch, net), 3 * made.loss(Ideal(), batch, net))
    with pytest.raises(ValidationError, match=r'loss.spectrum needs loss.target "sound"'):
        Settings.model_validate(wanted | {"loss": {"target": "cirm", "spectrum": 20}})
    with pytest.raises(ValidationError, match=r'loss.target "cirm" needs model.mask "complex"'):
        Settings.model_validate(SMALL | {"loss": {"target": "cirm"}})


def test_examples_without_speech_still_teach(task: Enhancer) -> None:
    hiss = 0.01 * torch.randn(2, 8000)
    net = task.build()
    loss = task.loss(net, (hiss, torch.zeros(2, 8000)), None)
    loss.backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert any(g.abs().max() > 0 for g in gradients)
    assert all(torch.isfinite(g).all() for g in gradients)


def test_the_deployed_model_scores_what_the_network_scores(
    task: Enhancer, trained: tuple[TCN, list[float]], tmp_path: Path
) -> None:
    """The same mixtures through torch offline and, converted, through the device's stream."""
    net, _ = trained
    deployed = task.deploy(net.eval())
    assert len(deployed.examples) >= 16
    inputs = {name: value.shape for name, value in deployed.examples[0].items()}
    assert inputs == {"frame": (1, 257), "delayed": (1, 2 * 2 * 24)}
    assert list(inputs) == list(deployed.inputs)
    folder = bundles._write(
        tmp_path / "tones",
        deployed.net,
        "enhance",
        deployed.examples[:3],
        tuple(deployed.outputs),
        deployed.preprocessing,
        states=deployed.states,
    )
    offline = task.evaluate(net, "test").scores
    streamed = task.evaluate_deployed(bundle.load(folder), "test").scores
    assert {"si_sdr", "pesq_wb", "stoi", "estoi", "pairs_si_sdr", "noisy_pairs_stoi"} <= set(
        offline
    )
    assert streamed == pytest.approx(offline, abs=1e-2, nan_ok=True)


def test_recipes_of_another_rate_are_scored(data: Path) -> None:
    table = SMALL | {"data": {**SMALL["data"], "rate": 8000}, "score": {"seconds": 3.0, "test": 2}}
    made = enhancer.make(Settings.model_validate(table), (data,), seed=0)
    scores = made.evaluate(made.build(), "test").scores
    assert all(1 <= scores[name] <= 4.7 for name in ("pesq_wb", "noisy_pesq_wb", "pairs_pesq_wb"))


def test_examples_of_a_network_with_states_are_moments_of_a_stream(data: Path) -> None:
    table = {"kind": "fast-fullsubnet", "bands": 8, "encoder": [6], "sub": [5], "decoder": [7]}
    made = enhancer.make(Settings.model_validate(SMALL | {"model": table}), (data,), seed=0)
    torch.manual_seed(0)
    deployed = made.deploy(made.build().eval())
    assert isinstance(deployed.preprocessing, SpectrumInput)
    assert deployed.preprocessing.lookahead == 2
    assert deployed.outputs["mask"] == "magnitude mask of the frame 2 frames ago"
    example = deployed.examples[-1]
    assert list(example) == list(deployed.inputs)
    assert {"frame", "encoder1_h", "sub1_c", "turn", "heard"} < set(example)
    assert example["frames"] > 70 / 1024
    assert all(np.abs(value).max() > 0 for name, value in example.items() if name != "turn")
    mask, *new = deployed.net(*map(torch.from_numpy, example.values()))
    assert len(new) == len(deployed.states) == len(deployed.outputs) - 1
    assert mask.shape == (1, 257)
    assert {int(e["turn"][0, 0]) for e in deployed.examples} == {0, 1}


@pytest.mark.parametrize("stride", [3, 6])
def test_examples_meet_every_turn_of_a_stride(data: Path, stride: int) -> None:
    """Mixtures so long that one in three frames would do."""
    table = {"kind": "fast-fullsubnet", "bands": 12, "encoder": [2], "sub": [2], "decoder": [2]}
    score = {"seconds": 2.0, "validation": 4, "test": 1}
    settings = SMALL | {"model": table | {"stride": stride}, "score": score}
    made = enhancer.make(Settings.model_validate(settings), (data,), seed=0)
    deployed = made.deploy(made.build().eval())
    turns = {tuple(example["turn"][0]) for example in deployed.examples}
    assert len(turns) == stride


@pytest.mark.parametrize("hop", [128, 512, 1024])
def test_golden_vectors_are_made_up_at_every_hop(data: Path, hop: int) -> None:
    wanted = SMALL | {
        "model": {**SMALL["model"], "n_fft": 4 * hop, "hop": hop},
        "mixing": {**SMALL["mixing"], "seconds": 2.0},
        "score": {"seconds": 6.0, "validation": 1, "test": 1},
    }
    made = enhancer.make(Settings.model_validate(wanted), (data,), seed=0)
    deployed = made.deploy(made.build().eval())
    assert len(deployed.golden) >= stream_frames.GOLDEN
    heard = {example["frame"].tobytes() for example in deployed.examples}
    assert not heard & {vector["frame"].tobytes() for vector in deployed.golden}


def test_head_and_example(task: Enhancer) -> None:
    net = task.build()
    assert isinstance(net, TCN)
    assert task.head(net) == [net.leave]
    assert net.eval()(task.example()).shape[1] == 257


def test_data_tells_what_was_learned_from(task: Enhancer) -> None:
    origin = task.data()
    assert (origin.description, origin.licence) == ("hiss in rumble", "none")
    assert len(origin.fingerprint) == 64


def test_training_goes_on_from_named_weights(tmp_path: Path, data: Path) -> None:
    def task(**model: object) -> Enhancer:
        settings = Settings.model_validate({**SMALL, "model": {**SMALL["model"], **model}})
        made = enhancer.make(settings, (data, tmp_path), seed=0)
        assert isinstance(made, Enhancer)
        return made

    state = task().build().state_dict()
    save_file(state, tmp_path / "mine.safetensors")
    again = task(start="mine.safetensors")
    for name, value in again.build().state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)
    assert again.data().fingerprint != task().data().fingerprint
