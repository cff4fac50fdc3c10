"""What becomes of a finished visit: snapshot and history on disk, then the broker."""

import logging
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from device import config, images, messages
from device.frames import Camera, State
from device.history import History
from device.outbox import Outbox
from device.snapshots import Snapshots
from device.station import Station
from device.visits import Visit

log = logging.getLogger("birds")

TELEMETRY_INTERVAL = 10.0  # seconds
SOURCE_STATES: dict[State, str] = {
    State.READING: "live",
    State.REOPENING: "stalled",
    State.ENDED: "ended",
}


@dataclass
class Counts:
    """What happened since the start."""

    frames: int = 0
    motion_frames: int = 0
    classified: int = 0
    failed: int = 0  # classifications that came out NaN
    visits: int = 0
    detections: int = 0

    def __str__(self) -> str:
        return (
            f"{self.frames} frames, {self.motion_frames} with motion, {self.classified} regions "
            f"classified, {self.failed} failed, {self.visits} visits, {self.detections} detections"
        )


class Reporter:
    """Tells the world of finished visits: disk first, then the broker."""

    def __init__(
        self,
        settings: config.Config,
        visits: config.Visits,
        source: messages.Source,
        model: messages.ModelId,
        station: Station,
        counts: Counts,
    ) -> None:
        self._source, self._model = source, model
        self._station, self._counts = station, counts
        self._snapshots = Snapshots(settings.state_dir / "snapshots", visits.snapshot_bytes)
        self._history = History(history_file(settings))
        self._told = time.monotonic()
        self._frames_told = 0

    def visit(self, visit: Visit) -> None:
        """A named visit becomes a detection, an event and a snapshot; others are counted."""
        self._counts.visits += 1
        if visit.abstention is not None:
            log.debug(
                "no name for a visit of %d frames: %s (%s %.2f)",
                visit.frames,
                visit.abstention.value,
                visit.label,
                visit.confidence,
            )
            return
        self._counts.detections += 1
        picture = images.jpeg(visit.picture)
        begin = datetime.fromtimestamp(visit.start).astimezone()
        name = f"{begin:%Y%m%dT%H%M%S}-{self._counts.detections:06d}-{visit.label}.jpg"
        kept = self._snapshots.keep(name.replace("/", "_"), picture)
        detection = messages.Detection.of_visit(
            visit.label,
            visit.confidence,
            visit.frames,
            begin=visit.start,
            end=visit.end,
            seconds=visit.milliseconds / 1000,
            source=self._source,
            model=self._model,
            clip_name=kept.name if kept else "",
        )
        event = messages.BirdEvent(species=detection.common_name, confidence=visit.confidence)
        self._history.add(detection.encode())
        topic = self._station.topic
        self._station.send(topic(messages.SNAPSHOT), picture, qos=1, retain=True)
        self._station.post(topic(messages.DETECTION), detection)
        self._station.send(topic(messages.EVENT), event.encode(), qos=1, retain=False)
        log.info(
            "%s %s %.0f %% (%d frames, %.1f s)",
            f"{begin:%H:%M:%S}",
            detection.common_name,
            100 * visit.confidence,
            visit.frames,
            visit.end - visit.start,
        )

    def telemetry(self, source: Camera, *, now: bool = False) -> None:
        """Counts, every TELEMETRY_INTERVAL seconds.

        Raises:
            FieldwrenError: nothing is sent any more.
        """
        self._station.check()
        passed = time.monotonic() - self._told
        if passed < TELEMETRY_INTERVAL and not now:
            return
        counts, kept = self._counts, self._station.outbox.counters
        payload = messages.BirdsTelemetry.model_validate(
            {
                "time": messages.utc(time.time()),
                "source": SOURCE_STATES[source.state],
                "fps": (counts.frames - self._frames_told) / passed if passed > 0 else 0.0,
                "frames_seen": counts.frames,
                "frames_dropped": source.counters.dropped,
                "motion_frames": counts.motion_frames,
                "classified": counts.classified,
                "visits": counts.visits,
                "detections": counts.detections,
                "abstained": counts.visits - counts.detections,
                "outbox_pending": len(self._station.outbox),
                "outbox_dropped": kept.dropped,
                "outbox_lost": kept.lost,
                "outbox_corrupt": kept.corrupt,
            }
        )
        self._told, self._frames_told = time.monotonic(), counts.frames
        topic = self._station.topic(messages.BIRDS_TELEMETRY)
        self._station.send(topic, payload.encode(), qos=0, retain=False)


def undelivered(settings: config.Config, outbox: Outbox, left: int) -> str:
    """One line on every detection that may not have arrived, and where it is; empty when all have.

    Args:
        left: how many still wait.
    """
    happened, told = outbox.counters, []
    if left:
        told.append(
            f"broker {settings.mqtt.host}:{settings.mqtt.port}: {left} detections not delivered, "
            f"they wait in {outbox.path} and go out at the next start"
        )
    if happened.lost:
        told.append(
            f"{happened.lost} detections could not be written to {outbox.path} (disk full or "
            "failing?), so each was sent once or not at all"
        )
    if happened.dropped:
        told.append(f"{happened.dropped} detections dropped to keep the bounds in [outbox]")
    if happened.corrupt:
        told.append(f"the outbox was damaged: what it held is in {outbox.path}.corrupt")
    return "; ".join(told)


def history_file(settings: config.Config) -> Path:
    """Where finished visits are written down."""
    return settings.state_dir / "birds-history.jsonl"
