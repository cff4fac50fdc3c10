"""Microphones → ring → STFT → mask net (streaming state) → ISTFT → MQTT; files with `enhance`."""

import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from device import bundle, config, errors
from device.audio import AudioSource
from device.enhancer import StreamEnhancer
from device.errors import BadInputError, FieldwrenError
from device.file_enhancement import Enhanced, enhance_file
from device.messages import SPEECH_TELEMETRY, audio_topic
from device.microphone import Microphone
from device.playback import Playback
from device.speech_stage import SpeechStage
from device.station import Station

log = logging.getLogger(__name__)

READ_TIMEOUT = 0.2  # seconds between looks at the clock and at signals while no sound comes
STEPS = 1000  # of the progress bar

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Clean speech, live or in files.",
)


@cli.command()
def run(
    file: Annotated[Path, typer.Option("--config", help="configuration file (TOML)")],
) -> None:
    """Enhance the microphone array's sound and publish it until told to stop."""
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout, force=True
    )
    settings = config.load(file)
    if settings.speech is None:
        raise BadInputError(f"{file}: has no [speech] table")
    speech, trust = settings.speech, settings.bundles
    model = bundle.load(
        speech.bundle,
        threads=speech.threads,
        policy=trust.signature,
        key_folders=trust.trusted_keys,
    )
    enhancer = StreamEnhancer(model, speech.wet, speech.max_attenuation)
    with (
        stop_requests() as stop,
        connected(settings) as station,
        # last: what is captured while the broker keeps us waiting would be late
        closing(open_source(speech, file.absolute().parent)) as source,
    ):
        stage = SpeechStage(source, enhancer, model.bundle, speech.reference)
        topic = audio_topic(settings.station)
        sent = publish(stage, source, station, topic, speech.telemetry_interval, stop)
    if not sent and not stop.is_set():
        mqtt = settings.mqtt
        raise FieldwrenError(
            f"nothing could be published: no broker at {mqtt.host}:{mqtt.port} took a frame"
        )


def open_source(speech: config.Speech, base: Path) -> AudioSource:
    """The configured microphone, capturing, or the configured file (relative to `base`).

    Raises:
        BadInputError: it cannot be opened.
    """
    if speech.device.lower().endswith(".wav"):
        return Playback(base / speech.device, speech.block)
    microphone = Microphone(
        speech.device,
        channels=speech.channels,
        rate=speech.rate,
        block=speech.block,
        buffer=speech.buffer,
        stall_timeout=speech.stall_timeout,
    )
    microphone.open()
    return microphone


def publish(
    stage: SpeechStage,
    source: AudioSource,
    station: Station,
    topic: str,
    interval: float,
    stop: threading.Event,
) -> int:
    """Move sound from the source to `topic` until it ends or `stop` is set; frames sent.

    Every `interval` seconds, and at the end, telemetry.

    Raises:
        FieldwrenError: nothing is sent any more.
    """
    outlet = Outlet(station, topic)
    due = time.monotonic() + interval
    while not source.ended and not stop.is_set():
        station.check()
        block = source.read(READ_TIMEOUT)
        if block is not None:
            outlet.send(stage.process(block))
        if time.monotonic() >= due:
            outlet.report(stage)
            due = time.monotonic() + interval
    outlet.send(stage.flush())
    outlet.report(stage)
    log.info("%d frames sent, %d not sent", outlet.sent, outlet.unsent)
    return outlet.sent


class Outlet:
    """Frames to the broker, now or never; both are counted."""

    def __init__(self, station: Station, topic: str) -> None:
        self.sent = self.unsent = 0
        self._station, self._topic = station, topic
        self._told = 0  # frames not sent up to the last report
        self._failing = False

    def send(self, frames: list[bytes]) -> None:
        """Publish frames in order."""
        for frame in frames:
            if self._station.send(self._topic, frame, qos=0):
                self.sent += 1
            else:
                self.unsent += 1

    def report(self, stage: SpeechStage) -> None:
        """Publish telemetry; log when frames begin or cease to be lost, not while it lasts."""
        telemetry = self._station.topic(SPEECH_TELEMETRY)
        self._station.send(telemetry, stage.telemetry().encode(), qos=0)
        failing, self._told = self.unsent > self._told, self.unsent
        if failing and not self._failing:
            log.warning("frames are not sent: the broker is away or the network too slow")
        elif self._failing and not failing:
            log.info("frames are sent again; %d were not", self.unsent)
        self._failing = failing


@contextmanager
def connected(settings: config.Config) -> Iterator[Station]:
    """The station's connection, or its attempts, while the block runs."""
    station = Station(settings, "speech")
    station.start()
    try:
        yield station
    finally:
        station.stop()


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set, so that the app ends in order."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@cli.command()
def enhance(
    source: Annotated[Path, typer.Argument(metavar="IN.wav", help="any rate and channel count")],
    target: Annotated[Path, typer.Argument(metavar="OUT.wav", help="mono, 16 bits; or .flac")],
    folder: Annotated[Path, typer.Option("--bundle", help="folder of the enhancer's bundle")],
    channel: Annotated[
        int, typer.Option(min=0, help="the one channel of IN that is enhanced; no mix")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON line on stdout")] = False,
    wet: Annotated[float, typer.Option(min=0, max=1, help="1 = enhanced only, 0 = dry")] = 1.0,
    max_attenuation: Annotated[
        float | None, typer.Option(min=0, help="dB; no bin is turned down further")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="of the model")] = 1,
) -> None:
    """Enhance one channel of a sound file: same length out, aligned, 16 kHz."""
    logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stderr, force=True)
    model = bundle.load(folder, threads=threads)
    enhancer = StreamEnhancer(model, wet, max_attenuation)
    with progress_bar() as progress:
        done = enhance_file(enhancer, source, target, channel, progress)
    print(json_line(done, target, model.bundle) if as_json else one_line(done, target))


@contextmanager
def progress_bar() -> Iterator[Callable[[float], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda share: None
        return
    with typer.progressbar(length=STEPS, file=sys.stderr) as bar:
        yield lambda share: bar.update(max(0, round(share * STEPS) - bar.pos))


def json_line(done: Enhanced, target: Path, made_by: bundle.Bundle) -> str:
    """The result for programs."""
    manifest = made_by.manifest
    model = {
        "name": manifest.name,
        "version": manifest.version,
        "sha256": made_by.model_sha256,
    }
    return json.dumps({"file": str(target), **asdict(done), "model": model})


def one_line(done: Enhanced, target: Path) -> str:
    """The result for people."""
    rtf = f", RTF p50 {done.rtf.p50:.3f} p99 {done.rtf.p99:.3f}" if done.rtf else ""
    faults = f", {done.bad_samples} samples were not numbers" if done.bad_samples else ""
    if done.bad_frames:
        faults += f", {done.bad_frames} frames passed dry: the model's output was not finite"
    return (
        f"{target}: {done.seconds:.2f} s, {done.level_in:.1f} → {done.level_out:.1f} dBFS"
        f"{rtf}{faults}"
    )


if __name__ == "__main__":
    errors.run(cli)
