"""Rooms: impulse responses from talkers and noises to a small round array of four microphones.

Image sources (Allen and Berkley, 1979) in shoebox rooms, by pyroomacoustics. The file
rooms/<split>.npz holds plain arrays:

    speech   float32 [room, microphone, tap]          talker → microphones
    noise    float32 [room, source, microphone, tap]  other places → microphones
    rt60     float32 [room]                           seconds, as asked for
    size     float32 [room, 3]                        metres
    array    float32 [room, 3]                        centre of the array, metres
    talker   float32 [room, 3]                        metres
    sources  float32 [room, source, 3]                metres
    microphones float32 [microphone, 3]               metres from the array's centre
    rate     int64 []                                 Hz

All responses of a room share one gain, which makes the talker's response at microphone 0 of unit
energy: convolved speech keeps its level, and level differences in the room stay true.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyroomacoustics
from numpy.typing import NDArray

from compress.defaults.seeds import stream

RATE = 16_000  # Hz
TAPS = RATE // 2
SPACING = 0.04  # metres between neighbouring microphones
NOISES = 2  # noise sources in a room
RT60 = (0.15, 0.5)  # seconds
SMALLEST, LARGEST = (2.5, 2.5, 2.3), (6.0, 5.0, 3.2)  # metres
WALL = 0.4  # metres that array and sources keep from every wall
HIGHEST_ORDER = 60  # reflections followed; enough for the longest decay in the lowest room

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Room:
    """One room; the fields are those of the file, without the first axis."""

    speech: NDArray[np.float32]
    noise: NDArray[np.float32]
    rt60: float
    size: Points
    array: Points
    talker: Points
    sources: Points


def microphones() -> Points:
    """Places [4, 3] on a circle around the array's centre, metres; microphone 0 points along x."""
    angle = np.arange(4) * np.pi / 2
    radius = SPACING / np.sqrt(2)
    circle = np.stack((np.cos(angle), np.sin(angle), np.zeros(4)), axis=1)
    return np.asarray(radius * circle)


def simulate(random: np.random.Generator) -> Room:
    """One random room."""
    # one thread: sums of floats in one order, so the same seed gives the same bytes
    pyroomacoustics.constants.set("num_threads", 1)
    size = random.uniform(SMALLEST, LARGEST)
    rt60, absorption, order = _walls(size, random)
    array = random.uniform(WALL, size - WALL)
    array[2] = random.uniform(0.7, 1.5)
    talker = _place(size, array, (0.5, 2.5), random)
    sources = np.stack([_place(size, array, (0.8, 4.0), random) for _ in range(NOISES)])
    room = pyroomacoustics.ShoeBox(
        size,
        fs=RATE,
        materials=pyroomacoustics.Material(absorption),
        max_order=min(order, HIGHEST_ORDER),
    )
    for place in (talker, *sources):
        room.add_source(place)
    room.add_microphone_array((array + microphones()).T)
    room.compute_rir()
    responses = np.zeros((1 + NOISES, 4, TAPS))
    for microphone, row in enumerate(room.rir):
        for source, response in enumerate(row):
            kept = response[:TAPS]
            responses[source, microphone, : len(kept)] = kept
    responses /= np.sqrt(np.square(responses[0, 0]).sum())
    whole = responses.astype(np.float32)
    return Room(whole[0], whole[1:], rt60, size, array, talker, sources)


def _walls(size: Points, random: np.random.Generator) -> tuple[float, float, int]:
    """A reverberation time these walls can give (seconds), their absorption, reflections."""
    while True:
        rt60 = float(random.uniform(*RT60))
        try:
            absorption, order = pyroomacoustics.inverse_sabine(rt60, size)
        except ValueError:  # a room this large cannot be this dry
            continue
        return rt60, float(absorption), int(order)


def _place(
    size: Points, array: Points, distance: tuple[float, float], random: np.random.Generator
) -> Points:
    """A point in the room at sitting or standing height, this far from the array."""
    low, high = np.array((WALL, WALL, 0.9)), np.array((size[0] - WALL, size[1] - WALL, 1.9))
    while True:
        place = random.uniform(low, high)
        if distance[0] <= np.linalg.norm(place - array) <= distance[1]:
            return place


def build(
    folder: Path, counts: Mapping[str, int], seed: int, tick: Callable[[float], None]
) -> dict[str, int]:
    """Write <split>.npz with `counts[split]` rooms; return the number of rooms per split."""
    folder.mkdir(parents=True)
    done = 0
    for split, count in counts.items():
        made = []
        for number in range(count):
            made.append(simulate(stream(seed, "rooms", split, number)))
            done += 1
            tick(done / sum(counts.values()))
        _save(folder / f"{split}.npz", made)
    return dict(counts)


def _save(path: Path, rooms: list[Room]) -> None:
    def stacked(field: str) -> NDArray[np.float32]:
        return np.stack([getattr(room, field) for room in rooms]).astype(np.float32)

    np.savez_compressed(
        path,
        speech=stacked("speech"),
        noise=stacked("noise"),
        rt60=stacked("rt60"),
        size=stacked("size"),
        array=stacked("array"),
        talker=stacked("talker"),
        sources=stacked("sources"),
        microphones=microphones().astype(np.float32),
        rate=np.int64(RATE),
    )
