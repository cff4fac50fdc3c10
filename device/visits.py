"""From single classifications to visits: one bird, from when it comes to when it has gone.

A region continues the nearest visit whose last box is within REACH of it. A visit's vote is the
mean of the probability vectors of its frames, so one odd frame cannot name a bird. Frames that
look like background count against every bird. A visit without a clear vote abstains: it ends
without a name, but it ends, and says why. Nothing here reads a clock.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from device import images
from device.classifier import Scores
from device.config import Visits
from device.images import Box, Image
from device.motion import Region

REACH = 2.0  # how far a bird moves between two frames, in diagonals of the larger box

NOWHERE = Box(0, 0, 0, 0)


class Abstention(Enum):
    """Why a visit has no name."""

    FEW_FRAMES = "too few frames"
    BACKGROUND = "looks like background"
    UNSURE = "no label is clear"


@dataclass(frozen=True)
class Sighting:
    """A region of a frame and what the classifier says of it."""

    region: Region
    scores: Scores


@dataclass(frozen=True)
class Visit:
    """A finished visit. Without a name, `label` is the best guess and `abstention` says why."""

    start: float  # seconds since the epoch, first frame
    end: float  # last frame
    label: str
    confidence: float  # mean probability of the label, 0…1
    frames: int
    milliseconds: float  # mean time of one classification
    picture: Image  # the crop in which the label was most probable, BGR
    abstention: Abstention | None

    @property
    def named(self) -> bool:
        """Whether the vote was clear."""
        return self.abstention is None


class Tracker:
    """Follows every bird in view and ends its visit. Times are those of the frames.

    Args:
        config: gap, length and vote.
        margin: of the pictures kept, as for the crops that were classified.
    """

    def __init__(self, config: Visits, margin: float = 1.25) -> None:
        self._config, self._margin = config, margin
        self._tracks: list[_Track] = []

    def update(self, time: float, sightings: Sequence[Sighting]) -> list[Visit]:
        """Take what one frame showed (or nothing) and return the visits that ended before it."""
        finished = self._ended(time)
        for track, sighting in self._matched(sightings):
            if track is None:
                track = _Track(time, sighting.region.frame.wall)
                self._tracks.append(track)
            track.add(time, sighting, self._margin, self._config.background)
        return finished

    def finish(self) -> list[Visit]:
        """End every visit: the source has ended."""
        tracks, self._tracks = self._tracks, []
        return [track.visit(self._config) for track in tracks]

    @property
    def present(self) -> int:
        """Visits that have not ended."""
        return len(self._tracks)

    def _ended(self, time: float) -> list[Visit]:
        config = self._config
        over = [
            t
            for t in self._tracks
            if time - t.last >= config.gap or time - t.first >= config.max_length
        ]
        self._tracks = [t for t in self._tracks if t not in over]
        return [track.visit(config) for track in over]

    def _matched(self, sightings: Sequence[Sighting]) -> list[tuple["_Track | None", Sighting]]:
        """Each sighting with its track, nearest pairs first; None where a new visit begins."""
        pairs = [
            (distance, t, s)
            for t, track in enumerate(self._tracks)
            for s, sighting in enumerate(sightings)
            if (distance := _distance(track.box, sighting.region.box)) <= REACH
        ]
        track_of: dict[int, int] = {}
        for _, t, s in sorted(pairs):
            if s not in track_of and t not in track_of.values():
                track_of[s] = t
        return [
            (self._tracks[track_of[s]] if s in track_of else None, sighting)
            for s, sighting in enumerate(sightings)
        ]


@dataclass(eq=False)
class _Track:
    """A visit that has not ended."""

    first: float
    wall: float
    last: float = 0.0
    box: Box = NOWHERE
    frames: int = 0
    milliseconds: float = 0.0
    labels: tuple[str, ...] = ()
    total: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    picture: Image = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))
    pictured: int = -1  # the label the picture shows
    clearest: float = 0.0  # its probability there

    def add(
        self, time: float, sighting: Sighting, margin: float, background: Sequence[str]
    ) -> None:
        """One more frame with this bird."""
        scores, frame = sighting.scores, sighting.region.frame
        if not self.frames:
            self.labels, self.total = scores.labels, np.zeros(len(scores.labels))
        self.last, self.box = time, sighting.region.box
        self.frames += 1
        self.milliseconds += scores.milliseconds
        self.total += scores.probabilities
        leader = _leader(self.total, self.labels, background)
        if leader != self.pictured or scores.probabilities[leader] > self.clearest:
            height, width = frame.image.shape[:2]
            around = images.square(self.box, margin, width, height)
            self.picture = images.crop(frame.image, around)
            self.pictured, self.clearest = leader, float(scores.probabilities[leader])

    def visit(self, config: Visits) -> Visit:
        """The vote."""
        mean = self.total / self.frames
        leader = _leader(mean, self.labels, config.background)
        confidence = float(np.clip(mean[leader], 0, 1))  # rounding; NaN stays NaN
        return Visit(
            start=self.wall,
            end=self.wall + self.last - self.first,
            label=self.labels[leader],
            confidence=confidence,
            frames=self.frames,
            milliseconds=self.milliseconds / self.frames,
            picture=self.picture,
            abstention=self._abstention(config, confidence, int(mean.argmax())),
        )

    def _abstention(self, config: Visits, confidence: float, top: int) -> Abstention | None:
        if self.frames < config.min_frames:
            return Abstention.FEW_FRAMES
        if self.labels[top] in config.background:
            return Abstention.BACKGROUND
        # written so that NaN, for which every comparison is false, is refused
        if not (confidence >= config.min_confidence):
            return Abstention.UNSURE
        return None


def _leader(votes: NDArray[np.float64], labels: Sequence[str], background: Sequence[str]) -> int:
    """The label ahead, background only if there is no other."""
    birds = [i for i, label in enumerate(labels) if label not in background]
    return max(birds or range(len(labels)), key=lambda i: votes[i])


def _distance(one: Box, other: Box) -> float:
    """Between centres, in diagonals of the larger box."""
    (ax, ay), (bx, by) = one.centre, other.centre
    diagonal = max(math.hypot(box.width, box.height) for box in (one, other))
    return math.hypot(ax - bx, ay - by) / diagonal if diagonal else math.inf
