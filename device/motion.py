"""The gate before the classifier: where in the picture something is that was not there before.

    background   running mean B of the shrunk, blurred picture P
    light        P is scaled by the commonest B / P: the sun behind a cloud changes all pixels
                 alike, a bird, even one that fills half the picture, changes each differently
    flicker      running mean F of |P − P before|: high where leaves always move
    change       |P − B| > max(threshold, NOISE · F); |·| is the largest of the three colours, for
                 a green bird can be as bright as what is behind it
    regions      connected changed pixels, neighbours joined, too small ones left out
    ghosts       a region whose outline is sharper in B than in P is a hole that something left
                 behind (a bird that was there from the start): B takes the present picture there

B follows with time constant `memory`, inside regions with `patience`, so a bird that sits still
stays a region for about a minute. OpenCV's MOG2 has one rate for every pixel and no way to mend a
place: it forgets a bird that sits and keeps the ghost of one that left.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.config import Motion
from device.frames import Frame
from device.images import Box, Image

Picture = NDArray[np.float32]  # [height, width, 3], shrunk, BGR, 0…255
Plane = NDArray[np.float32]  # [height, width] of the shrunk picture
Mask = NDArray[np.uint8]  # the same, 0 or 1

NOISE = 4.0  # times the flicker that count as change
BLUR = 5  # pixels; takes sensor noise out of single pixels
JOIN = 9  # pixels; parts of one bird this near to each other are one region
REACH = 0.15  # of a region's longer side; smaller ones this near are parts of it
OUTLINE = 5  # pixels; how wide a region's outline is
GHOST = 1.5**2  # how much sharper in the background than now; sharpness is squared
LIGHT = 4.0  # times brighter or darker that is compensated
LIGHT_STEPS = 128  # how finely the change of light is measured, on a logarithmic scale
WHITE = 250  # grey levels; from here on a pixel is saturated and tells nothing of the light
SCENE = 1.0  # seconds a change of the whole picture must last to be the new scene


@dataclass(frozen=True)
class Region:
    """Something new in a frame; the box is in pixels of the full frame."""

    frame: Frame
    box: Box


class MotionGate:
    """Call it with every frame, in order of time."""

    def __init__(self, config: Motion) -> None:
        self._config = config
        self._background: Picture | None = None
        self._flicker: Plane = np.zeros((0, 0), np.float32)
        self._before: Picture = np.zeros((0, 0, 3), np.float32)  # the picture before
        self._started = self._time = 0.0  # of this scene, of the picture before
        self._changed_since: float | None = None  # the whole picture

    def __call__(self, frame: Frame) -> tuple[Region, ...]:
        """The frame's regions, largest first; none while the background is learned."""
        picture = self._shrunk(frame.image)
        if self._background is None or self._background.shape != picture.shape:
            self._begin(picture, frame.time)
            return ()
        picture *= _light(picture, self._background)
        if frame.time - self._started < self._config.warm_up:
            self._learn(picture, np.zeros(picture.shape[:2], np.uint8), frame.time)
            return ()
        changed = self._changed(picture, self._background)
        if changed.mean() > self._config.max_area:
            self._whole_picture_changed(picture, frame.time)
            return ()
        self._changed_since = None
        boxes, things = self._components(changed, picture, self._background)
        self._learn(picture, things, frame.time)
        return tuple(Region(frame, _full_size(box, picture, frame.image)) for box in boxes)

    def _shrunk(self, image: Image) -> Picture:
        height, width = image.shape[:2]
        wide = min(self._config.width, width)
        size = (wide, max(1, round(height * wide / width)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.GaussianBlur(small, (BLUR, BLUR), 0), np.float32)

    def _begin(self, picture: Picture, time: float) -> None:
        self._background, self._before = picture.copy(), picture
        self._flicker = np.zeros(picture.shape[:2], np.float32)
        self._started = self._time = time
        self._changed_since = None

    def _changed(self, picture: Picture, background: Picture) -> Mask:
        limit = np.maximum(self._config.threshold, NOISE * self._flicker)
        changed = (_difference(picture, background) > limit).astype(np.uint8)
        changed = cv2.morphologyEx(changed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (JOIN, JOIN))
        return np.asarray(cv2.morphologyEx(changed, cv2.MORPH_CLOSE, around), np.uint8)

    def _components(
        self, changed: Mask, picture: Picture, background: Picture
    ) -> tuple[list[Box], Mask]:
        """Boxes of the connected changed places, largest first; where there are new things.

        A ghost is mended and no box; a doubtful place is a box, but is forgotten quickly.
        """
        _, numbered, stats, _ = cv2.connectedComponentsWithStats(changed)
        found, things = [], np.zeros_like(changed)
        edges_then, edges_now = _edges(background), _edges(picture)
        for number, (x, y, width, height, area) in enumerate(stats.tolist()):
            if number == 0 or area < self._config.min_area * changed.size:
                continue
            window = (
                slice(max(0, y - OUTLINE), y + height + OUTLINE),
                slice(max(0, x - OUTLINE), x + width + OUTLINE),
            )
            place = (numbered[window] == number).astype(np.uint8)
            outline = _outline(place)
            then = float(edges_then[window][outline].mean())
            now = float(edges_now[window][outline].mean())
            if then > GHOST * now:
                background[window][place > 0] = picture[window][place > 0]
                continue
            found.append(Box(x, y, x + width, y + height))
            if now >= then:
                things[window] |= place
        return _joined(found)[: self._config.max_regions], things

    def _learn(self, picture: Picture, changed: Mask, time: float) -> None:
        assert self._background is not None
        passed = max(0.0, time - self._time)
        inside = np.asarray(cv2.dilate(changed, np.ones((OUTLINE, OUTLINE), np.uint8)), np.uint8)
        quick, slow = (
            1 - math.exp(-passed / constant)
            for constant in (self._config.memory, self._config.patience)
        )
        if time - self._started < self._config.warm_up:  # a plain mean of what was seen so far
            quick = passed / max(passed, time - self._started + passed)
        flicker = _difference(picture, self._before)
        for rate, where in ((quick, 1 - inside), (slow, inside)):
            cv2.accumulateWeighted(picture, self._background, rate, where)
            cv2.accumulateWeighted(flicker, self._flicker, rate, where)
        self._before, self._time = picture, time

    def _whole_picture_changed(self, picture: Picture, time: float) -> None:
        if self._changed_since is None:
            self._changed_since = time
        elif time - self._changed_since >= SCENE:
            self._begin(picture, time)


def _difference(one: Picture, other: Picture) -> Plane:
    """The largest of the three colours' differences."""
    return _largest(cv2.absdiff(one, other))


def _largest(planes: cv2.typing.MatLike) -> Plane:
    blue, green, red = cv2.split(planes)
    return np.asarray(cv2.max(cv2.max(blue, green), red), np.float32)


def _light(picture: Picture, background: Picture) -> np.float32:
    """The factor that brings the picture to the background's light."""
    before, now = background[::2, ::2, 1], picture[::2, ::2, 1]  # green: the least noise
    measured = (before < WHITE) & (now < WHITE)
    ratio = np.log((before[measured] + 1) / (now[measured] + 1))
    span = math.log(LIGHT)
    counts, edges = np.histogram(ratio, LIGHT_STEPS, (-span, span))
    peak = int(np.convolve(counts, (1, 2, 3, 2, 1), "same").argmax())
    near = ratio[np.abs(ratio - (edges[peak] + edges[peak + 1]) / 2) < 3 * span / LIGHT_STEPS]
    return np.float32(math.exp(near.mean())) if near.size else np.float32(1)


def _outline(place: Mask) -> NDArray[np.bool_]:
    around = np.ones((OUTLINE, OUTLINE), np.uint8)
    return np.asarray(cv2.dilate(place, around) - cv2.erode(place, around) > 0)


def _edges(picture: Picture) -> Plane:
    """How sharp the picture is at each pixel: the squared size of the gradient."""
    x, y = cv2.Sobel(picture, cv2.CV_32F, 1, 0), cv2.Sobel(picture, cv2.CV_32F, 0, 1)
    return _largest(cv2.multiply(x, x) + cv2.multiply(y, y))


def _joined(boxes: list[Box]) -> list[Box]:
    """Largest first; a box that lies mostly within a larger one's surroundings joins it."""
    result: list[Box] = []
    for box in sorted(boxes, key=lambda box: box.area, reverse=True):
        for index, larger in enumerate(result):
            reach = round(REACH * max(larger.width, larger.height))
            wide = Box(larger.x0 - reach, larger.y0 - reach, larger.x1 + reach, larger.y1 + reach)
            if wide.shared(box) > box.area / 2:
                result[index] = larger.joined(box)
                break
        else:
            result.append(box)
    return result


def _full_size(box: Box, plane: Plane, image: Image) -> Box:
    x, y = image.shape[1] / plane.shape[1], image.shape[0] / plane.shape[0]
    return Box(
        math.floor(box.x0 * x),
        math.floor(box.y0 * y),
        min(image.shape[1], math.ceil(box.x1 * x)),
        min(image.shape[0], math.ceil(box.y1 * y)),
    )
