"""The benchmark of enhancers on made-up sound: delays, scores, speeds, reports, bad input."""

import csv
import importlib.util
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
import typer
from scipy.signal import firwin

from compress import busy
from compress.speech import Pair, Samples
from device import bundle, errors
from device.errors import BadInputError
from scripts import dnsmos, speech_bench, speech_peers, speech_report, speech_rtf, speech_scores
from scripts.interleaved import in_turns
from scripts.speech_bench import Split
from scripts.speech_frames import RESAMPLING_DELAY, Overlap, Threefold
from scripts.speech_systems import RATE, MissingPeerError, Step, System, folder, of_bundle
from tests.bundles import rewrite_manifest
from tests.scripts import voices
from tests.scripts.voices import noise

ROOT = Path(__file__).parents[2]
ZOO = ROOT / "models" / "zoo"


def late(samples: int, stated: int, hop: int = 64) -> System:
    """A system whose output is its input, `samples` late, and that states another delay."""

    def start() -> Step:
        held = np.zeros(samples, np.float32)

        def step(new: Samples) -> Samples:
            nonlocal held
            held = np.concatenate((held, new))
            ready, held = held[: len(new)], held[len(new) :]
            return ready

        return step

    return System("late", "made up", hop, stated, None, None, start)


def call(*arguments: str | Path) -> int:
    """The command line in this process: its exit code."""
    cli = typer.Typer()
    cli.command()(speech_bench.main)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["speech_bench.py", *map(str, arguments)])
        errors.run(cli)
    return int(ended.value.code or 0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six speakers' clean sound, bursts of noise, and six steady noises; a recipe beside them."""
    return voices.write(tmp_path)


@pytest.mark.parametrize("length", [1, 63, 64, 5000])
def test_outputs_are_moved_back_by_the_stated_delay(length: int) -> None:
    sound = noise(1, 0)[:length]
    np.testing.assert_array_equal(late(100, 100).enhance(sound), sound)
    assert late(100, 100).latency_ms == pytest.approx(1000 * 164 / RATE)


@pytest.mark.parametrize("wrong", [-40, 0, 7, 250])
def test_a_wrong_delay_is_not_forgiven_but_seen(wrong: int) -> None:
    pair = Pair("one", noise(1, 0), noise(1, 0))
    [row] = speech_scores.of_set("made up", [pair], late(300 + wrong, 300), None, lambda *_: None)
    assert row.lag == wrong
    assert (row.scores["si_sdr"] > 50) == (wrong == 0)


def test_front_ends_are_as_late_as_they_say() -> None:
    slow = np.convolve(noise(1, 0), firwin(101, 6_000, fs=RATE), "same").astype(np.float32)

    def up_and_down() -> Step:
        ways = Threefold()
        return lambda hop: ways.down(ways.up(hop))

    def overlapped() -> Step:
        overlap = Overlap(np.hanning(321)[:-1], 80)
        return lambda hop: overlap.add(overlap.frame(hop))

    for start, hop, delay, rest in (
        (up_and_down, 160, RESAMPLING_DELAY, 3e-3),
        (overlapped, 80, 240, 1e-6),
    ):
        found = System("one", "", hop, delay, None, None, start).enhance(slow)
        assert np.abs(found - slow)[100:-100].max() < rest * np.abs(slow).max() + 1e-7


@pytest.mark.parametrize("lookahead", [0, 1])
def test_bundles_say_their_own_latency(enhancer: Path, lookahead: int) -> None:
    front = bundle.read(enhancer).manifest.preprocessing
    rewrite_manifest(enhancer, preprocessing=front.model_copy(update={"lookahead": lookahead}))
    system = of_bundle(enhancer)
    assert system.latency_ms == pytest.approx(32 + 16 * lookahead)
    sound = noise(1, 0)
    np.testing.assert_allclose(system.enhance(sound), sound, atol=1e-5)  # its mask is one


def test_dtln_is_the_published_network(data_folder: Path) -> None:
    """Frame by frame against the whole recording at once."""
    from models import dtln

    system = speech_peers.dtln(data_folder)
    net = dtln.load(data_folder / "peers" / "dtln" / "model.h5").eval()
    sound = noise(1, 0)
    with torch.no_grad():
        whole = net(torch.from_numpy(sound)[None])[0].numpy()
    np.testing.assert_allclose(system.enhance(sound), whole, atol=1e-4)
    assert system.parameters == pytest.approx(sum(p.numel() for p in net.parameters()), rel=1e-2)
    first = 512 * (257 + 128 + 128 + 128) + 128 * 257
    second = 512 * 256 + 512 * (256 + 128 + 128 + 128) + 128 * 256 + 256 * 512
    assert (system.macs, system.nodes) == (first + second, 43 + 60)


def test_mel_filters_are_slaneys() -> None:
    """torchaudio's, whose bins end at a whole number of Hz."""
    ours = dnsmos.mel_filters()
    highest = RATE * (dnsmos.WINDOW // 2) / dnsmos.WINDOW
    theirs = torchaudio.functional.melscale_fbanks(
        dnsmos.WINDOW // 2 + 1, 0.0, RATE / 2, dnsmos.MELS, int(2 * highest), "slaney", "slaney"
    )
    np.testing.assert_allclose(ours, theirs.numpy().T, atol=0.02 * ours.max())


def test_turns_alternate() -> None:
    order: list[str] = []

    def block(name: str) -> Callable[[], "np.ndarray[tuple[int], np.dtype[np.float64]]"]:
        return lambda: (order.append(name), np.ones(2))[1]

    taken = in_turns({"a": block("a"), "b": block("b")}, 3)
    assert "".join(order) == "abbaab"
    assert [len(blocks) for blocks in taken.values()] == [3, 3]


def test_speed_is_time_per_hop_over_the_hop() -> None:
    speeds, others = speech_rtf.measure([late(0, 0, hop=160)], noise(0.5, 0), rounds=2)
    found = speeds["late"]
    assert 0 <= others < 1
    assert 0 < found.low <= found.rtf <= found.high
    assert found.rtf == pytest.approx(found.hop_ms / 10)
    assert found.hops == 2 * 200
    with pytest.raises(BadInputError, match="less than a hop"):
        speech_rtf.measure([late(0, 0)], noise(0.001, 0), rounds=1)


def test_report_of_a_real_bundle(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busy.Attention, "others", lambda _: 0.91)
    out = tmp_path / "out"
    code = call(
        "--bundle", ZOO / "enhancer-tcn", "--data", data, "--recipe", tmp_path / "tiny.toml",
        "--out", out, "--split", "validation", "--split", "test", "--peer", "none",
        "--dnsmos", "off", "--rounds", "2",
    )  # fmt: skip
    assert code == 0
    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (3 + 2) * 2
    assert {row["system"] for row in rows} == {"unprocessed", "enhancer-tcn"}
    table = json.loads((out / "report.json").read_text())
    ours = [float(r["si_sdr"]) for r in rows if (r["set"], r["system"]) == ("test", "enhancer-tcn")]
    assert table["sets"]["test"]["enhancer-tcn"]["si_sdr"] == pytest.approx(np.mean(ours), abs=1e-4)
    assert table["sets"]["validation"]["unprocessed"]["lag"] == 0
    manifest = json.loads((ZOO / "enhancer-tcn" / "manifest.json").read_text())
    cost = table["systems"]["enhancer-tcn"]
    assert cost["parameters"] == manifest["result"]["parameters"]
    assert cost["bytes"] == (ZOO / "enhancer-tcn" / "model.tflite").stat().st_size
    assert 0 < cost["speed"]["rtf"] < 1
    told = table["conditions"]["other work while timing"]
    assert told.startswith("not a measurement: for 91 % of the time")
    report = (out / "report.md").read_text()
    assert "## test: mean of 2 recordings" in report and "| enhancer-tcn |" in report
    heard = sorted(path.name for path in (out / "listen").iterdir())
    assert len(heard) == 2 * 2 * 3 and "test-input-worst-enhancer-tcn.wav" in heard
    assert soundfile.info(out / "listen" / heard[0]).duration == 1.2


def test_scores_without_a_value_are_left_out(tmp_path: Path) -> None:
    rows = [
        speech_scores.Row("s", str(i), "late", {"pesq_wb": v}, 0)
        for i, v in enumerate((2.0, np.nan))
    ]
    results = speech_report.Results([late(0, 0)], rows, {}, {"dtln": "put it there"}, {})
    speech_report.write(tmp_path, results)
    report = (tmp_path / "report.md").read_text()
    assert "| late | 2.00 | 0 |" in report and "skipped: dtln (put it there)" in report
    assert json.loads((tmp_path / "report.json").read_text())["sets"]["s"]["late"]["pesq_wb"] == 2


def test_a_recording_for_which_there_is_no_room_is_named(tmp_path: Path) -> None:
    rows = [speech_scores.Row("s", "a", "", {"si_sdr": 1.0}, 0)]
    listening = speech_report.Listening(tmp_path, "s", rows)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as raised:
            listening.keep(Pair("a", noise(1, 0), noise(1, 0)), "late", noise(1, 0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.filename == str(tmp_path / "s-input-worst-late.wav")


def test_recordings_without_a_value_are_not_listened_to(tmp_path: Path) -> None:
    values = {"a": 3.0, "b": np.nan, "c": -2.0, "d": np.nan, "e": 9.0}
    rows = [speech_scores.Row("s", n, "", {"si_sdr": v}, 0) for n, v in values.items()]
    for inputs, kept in ((rows, {"middle": "a", "worst": "c"}), (rows[1:2], {})):
        listening = speech_report.Listening(tmp_path / str(len(inputs)), "s", inputs)
        for place, name in enumerate(values, 1):
            sound = noise(place, 0)  # so many seconds
            listening.keep(Pair(name, sound, sound), "late", sound)
        found = {
            path.stem.split("-")[2]: list(values)[round(soundfile.info(path).duration) - 1]
            for path in (tmp_path / str(len(inputs))).glob("*.wav")
        }
        assert found == kept


def test_peers_that_are_not_there_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    systems, skipped = speech_bench.systems_of([], [], tmp_path)
    assert [system.name for system in systems] == ["unprocessed"]
    assert list(skipped) == list(speech_peers.PEERS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(skipped)
    assert all("pip install" in line or "model_1.tflite" in line for line in lines)
    with pytest.raises(MissingPeerError):
        folder("pyrnnoise")


def test_bad_input_is_named(data: Path, classifier: Path, enhancer: Path, tmp_path: Path) -> None:
    tiny = str(tmp_path / "tiny.toml")
    with pytest.raises(BadInputError, match="no such data folder"):
        speech_bench.recordings(tiny, tmp_path / "nowhere", [Split.TEST])
    with pytest.raises(BadInputError, match="not a recipe of a speech enhancer"):
        speech_bench.recordings("birds-quick", data, [Split.TEST])
    with pytest.raises(BadInputError, match="no recordings to score in pairs"):
        speech_bench.recordings(tiny, data, [Split.PAIRS])
    with pytest.raises(BadInputError, match="--peer magic"):
        speech_bench.systems_of([], ["magic"], data)
    with pytest.raises(BadInputError, match="not a speech enhancer"):
        speech_bench.systems_of([classifier], ["none"], data)
    with pytest.raises(BadInputError, match="two systems of one name"):
        speech_bench.systems_of([enhancer, enhancer], ["none"], data)


def test_bad_input_is_one_line_and_code_2(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--bundle", tmp_path, "--data", data, "--recipe", tmp_path / "tiny.toml")
    assert call(*options, "--split", "test", "--out", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and told.startswith("error: ")
    assert not (tmp_path / "out").exists()
