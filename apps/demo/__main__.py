"""The whole chain on this machine, from recordings: what a station on the network shows.

    recording of a bird ──────→ apps.birds  ─┐
                                             ├─→ Mosquitto ─→ an independent subscriber
    noisy speech → 4 microphones → apps.speech ─┘

Everything is started here and stopped at the end: broker, virtual microphones, both apps. The
exit code is 1 when any part delivered nothing.
"""

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
import typer

from apps.demo import summary
from apps.demo.broker import Broker
from apps.demo.child import Child
from apps.demo.listener import Listener, save_audio
from apps.demo.microphone import VirtualMicrophone
from device import bundle, errors

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("FIELDWREN_CACHE", ROOT / ".cache" / "fieldwren")).expanduser()
STATION = "demo"
RATE = 16_000
CHANNELS = 4
BUNDLES = ("birds-baseline", "birds", "enhancer-bands-baseline", "enhancer-bands")
START_TIMEOUT = 60.0  # seconds until both apps are up
VIDEO_TIMEOUT = 120.0  # seconds for the recording to play and its visits to arrive
COUNT_INTERVAL = 5  # seconds of sound between two lines about it
DRAIN_TIMEOUT = 10.0  # seconds for the last audio frames
SILENCE = np.zeros((RATE // 10, CHANNELS), np.int16)

CONFIG = """\
station = "{station}"
state_dir = "{state}"
[mqtt]
port = {port}
[birds]
source = "{video}"
bundle = "{zoo}/birds"
[speech]
device = "{microphone}"
channels = {channels}
rate = {rate}
bundle = "{zoo}/enhancer-bands"
telemetry_interval = 1
"""


def main(
    out: Annotated[Path, typer.Option(help="where the results go")] = ROOT / "var" / "demo",
    data: Annotated[Path, typer.Option(help="default data, built by make data")] = CACHE,
    zoo: Annotated[Path, typer.Option(help="bundles to run")] = ROOT / "models" / "zoo",
) -> None:
    """Run both pipelines on recordings and show what arrives over MQTT."""
    scene = data / "demo"
    if not (data / "manifest.json").is_file():
        raise errors.BadInputError(f"{data}: the default data is not built: run make data")
    for name in BUNDLES:
        bundle.read(zoo / name)
    out.mkdir(parents=True, exist_ok=True)
    for old in summary.RESULTS:
        (out / old).unlink(missing_ok=True)
    with ExitStack() as stack:
        scratch = Path(tempfile.mkdtemp(prefix="fieldwren-demo-"))
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        broker = stack.enter_context(Broker(scratch / "broker"))
        microphone = stack.enter_context(VirtualMicrophone(scratch / "microphone", CHANNELS, RATE))
        listener = Listener(broker.port, STATION, _show)
        stack.callback(listener.close)
        config = scratch / "demo.toml"
        config.write_text(
            CONFIG.format(
                station=STATION,
                state=scratch / "state",
                port=broker.port,
                video=scene / "zebrafinch.mp4",
                zoo=zoo.absolute(),
                microphone=microphone.device,
                channels=CHANNELS,
                rate=RATE,
            )
        )
        print(f"broker on 127.0.0.1:{broker.port}; listening to fieldwren/{STATION}/#")
        speech = stack.enter_context(
            Child("apps.speech", "run", "--config", str(config), environment=microphone.environment)
        )
        birds = stack.enter_context(Child("apps.birds", "watch", "--config", str(config)))
        try:
            heard = _speak(scene, microphone, speech, listener)
        except errors.FieldwrenError:
            speech.check()  # when the app has ended, its reason is the better one
            raise
        birds.wait(VIDEO_TIMEOUT)
        listener.wait(lambda all_: len(all_.detections) > 0, DRAIN_TIMEOUT)
        speech.stop()
        listener.wait(lambda all_: all_.audio_frames * 320 >= heard, DRAIN_TIMEOUT)
        save_audio(out / "enhanced.wav", listener.audio(), RATE)
        if listener.snapshot:
            (out / "snapshot.jpg").write_bytes(listener.snapshot)
        for child in (birds, speech):
            child.check()
    shutil.copyfile(scene / "speech-noisy-4ch.wav", out / "noisy.wav")
    table = summary.measure(out, scene, zoo, listener)
    summary.show(table, out)
    if missing := table.missing():
        raise errors.FieldwrenError(f"the demo delivered no {', no '.join(missing)}")


def _speak(scene: Path, microphone: VirtualMicrophone, speech: Child, listener: Listener) -> int:
    """Play the scene to the microphones once the app listens; samples played."""
    samples, _ = soundfile.read(scene / "speech-noisy-4ch.wav", dtype="int16", always_2d=True)
    waited = 0.0
    while not listener.wait(lambda all_: all_.audio_frames > 0, 0):
        speech.check()
        if waited > START_TIMEOUT:
            raise errors.FieldwrenError("apps.speech sent no audio frame")
        microphone.feed(SILENCE)  # a pipe has no clock: the app's first callback needs samples
        waited += len(SILENCE) / RATE
    print(f"playing {len(samples) / RATE:.0f} s of noisy speech to {CHANNELS} microphones")
    for start in range(0, len(samples), COUNT_INTERVAL * RATE):
        microphone.feed(samples[start : start + COUNT_INTERVAL * RATE])
        print(f"  {listener.audio_frames:5} audio frames so far")
    microphone.feed(np.concatenate([SILENCE] * 10))
    return len(samples)


def _show(detection: dict[str, Any]) -> None:
    print(
        f"  {detection['Time']}  {detection['CommonName']} ({detection['ScientificName']})  "
        f"{100 * detection['Confidence']:.0f} %"
    )


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    cli = typer.Typer(add_completion=False)
    cli.command()(main)
    errors.run(cli)
