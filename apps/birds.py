"""Watch a feeder and say over MQTT which birds come.

camera → latest frame → motion gate → regions → classifier → track → visit (vote, abstain)
       → outbox → MQTT
"""

import json
import logging
import signal
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from device import bundle, camera, config, errors, images, messages
from device.bird_reports import Counts, Reporter, history_file, undelivered
from device.classifier import Classifier
from device.errors import BadInputError, FieldwrenError, NonFiniteError
from device.frames import Camera, State
from device.history import History
from device.motion import MotionGate, Region
from device.signing import Policy
from device.station import Station
from device.visits import Sighting, Tracker

log = logging.getLogger("birds")

TICK = 0.5  # seconds without a frame after which visits and telemetry are looked after
FLUSH_AT_END = 15.0  # seconds for the broker to take what is left after a recording
FLUSH_AT_STOP = 3.0  # the same after SIGTERM, or without a broker
TOP = 5  # labels that `classify` reports

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Watch a feeder and say over MQTT which birds come.",
)


def look(
    source: Camera,
    gate: MotionGate,
    classifier: Classifier,
    tracker: Tracker,
    report: Reporter,
    counts: Counts,
    stop: threading.Event,
    margin: float,
) -> None:
    """The data flow, until the source ends or `stop` is set."""
    while not stop.is_set() and source.state is not State.ENDED:
        frame = source.read(TICK)
        if frame is None:
            finished = tracker.update(time.monotonic(), ())
        else:
            counts.frames += 1
            regions = gate(frame)
            counts.motion_frames += bool(regions)
            sightings = _classified(regions, classifier, counts, margin)
            finished = tracker.update(frame.time, sightings)
        for visit in finished:
            report.visit(visit)
        report.telemetry(source)
    for visit in tracker.finish():
        report.visit(visit)


def _classified(
    regions: tuple[Region, ...], classifier: Classifier, counts: Counts, margin: float
) -> list[Sighting]:
    sightings = []
    for region in regions:
        image = region.frame.image
        around = images.square(region.box, margin, image.shape[1], image.shape[0])
        try:
            scores = classifier(images.crop(image, around))
        except NonFiniteError as error:
            counts.failed += 1
            if counts.failed == 1:
                log.warning("%s: such regions are left out and counted", error)
            continue
        counts.classified += 1
        sightings.append(Sighting(region, scores))
    return sightings


@cli.command()
def watch(
    config_file: Annotated[Path, typer.Option("--config", help="The TOML file.")],
    source: Annotated[
        str | None, typer.Option(help="Video file, folder, rtsp://…, http://…, /dev/videoN or N.")
    ] = None,
) -> None:
    """Watch a camera, or play a recording to its end, and publish every visit."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = config.load(config_file)
    birds = settings.birds
    if birds is None:
        raise BadInputError(f"{config_file}: birds: this table is missing")
    where = source or _beside(config_file, birds.source)
    model = bundle.load(
        birds.bundle,
        threads=birds.threads,
        policy=settings.bundles.signature,
        key_folders=settings.bundles.trusted_keys,
    )
    classifier = Classifier(model)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    counts = Counts()
    opened = camera.connect(
        where,
        open_timeout=birds.open_timeout,
        read_timeout=birds.read_timeout,
        pace=birds.pace,
        max_fps=birds.max_fps,
    )
    with opened as eye:
        station = Station(settings, "birds")
        manifest = model.bundle.manifest
        report = Reporter(
            settings,
            birds.visits,
            messages.Source(settings.station, camera.kind(where), camera.public(where)),
            messages.ModelId(manifest.name, manifest.version, model.bundle.model_sha256),
            station,
            counts,
        )
        tracker = Tracker(birds.visits, birds.motion.margin)
        gate = MotionGate(birds.motion)
        station.start()
        try:
            log.info("watching %s with %s", camera.public(where), model.runtime.description)
            look(eye, gate, classifier, tracker, report, counts, stop, birds.motion.margin)
            hurry = stop.is_set() or not station.connected
            left = station.flush(FLUSH_AT_STOP if hurry else FLUSH_AT_END)
            report.telemetry(eye, now=True)
        finally:
            station.stop()
    log.info("%s", counts)
    missing = undelivered(settings, station.outbox, left)
    if missing and not stop.is_set():
        raise FieldwrenError(missing)
    if missing:
        log.warning("%s", missing)


@cli.command()
def classify(
    pictures: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="One bird each.")],
    bundle_folder: Annotated[Path, typer.Option("--bundle", help="Classifier bundle.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per picture.")] = False,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Name the bird in each picture; nothing is printed unless all can be read."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    camera.silence()
    classifier = Classifier(bundle.load(bundle_folder, threads=threads, policy=Policy.WARN))
    results = [(path, classifier(images.read(path))) for path in pictures]
    width = max(len(str(path)) for path in pictures)
    for path, scores in results:
        best, *others = scores.top(TOP)
        if as_json:
            line = {
                "file": str(path),
                "label": best.label,
                "confidence": best.confidence,
                "top5": [
                    {"label": guess.label, "confidence": guess.confidence}
                    for guess in (best, *others)
                ],
                "ms": scores.milliseconds,
            }
            print(json.dumps(line, ensure_ascii=False))
        else:
            rest = ", ".join(f"{g.label} {100 * g.confidence:.0f} %" for g in others[:2])
            print(f"{path!s:{width}}  {100 * best.confidence:5.1f} %  {best.label}  ({rest})")


@cli.command()
def history(
    config_file: Annotated[Path, typer.Option("--config", help="The TOML file.")],
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per detection.")] = False,
) -> None:
    """List the last detections of this machine."""
    for entry in History(history_file(config.load(config_file))).last(limit):
        if as_json:
            print(json.dumps(entry, ensure_ascii=False))
        else:
            print(
                f"{entry['Date']} {entry['Time']}  {100 * entry['Confidence']:3.0f} %  "
                f"{entry['CommonName']}"
            )


def _beside(config_file: Path, source: str) -> str:
    """A recording named in a configuration file lies beside it, as every path in it does."""
    return source if camera.is_live(source) else str(config_file.absolute().parent / source)


if __name__ == "__main__":
    errors.run(cli)
