"""One shape for everything that enhances speech, so that all are fed, aligned and timed alike.

    noisy hop [hop] → step → enhanced hop [hop], `delay` samples late

A system says by how much its output lags behind its input. Whole recordings go through the same
steps as a stream, and are moved back by exactly that much: nothing is searched for, so a system
that is late by its own account is scored as late.
"""

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.nodes import nodes
from compress.speech import Samples
from device import bundle
from device.enhancer import StreamEnhancer
from device.errors import BadInputError

RATE = 16_000  # Hz, of every system's input and output
UNPROCESSED = "unprocessed"
PEERS_EXTRA = "pip install '.[peers]'"

Step = Callable[[Samples], Samples]
"""The next hop of a stream, float32 in −1…1 at RATE, both ways."""


class MissingPeerError(Exception):
    """A peer is not on this machine; the message says what to do about it."""


@dataclass(frozen=True)
class System:
    """Something that enhances speech frame by frame."""

    name: str
    origin: str
    """Package, bundle or files, with version."""
    hop: int
    """Samples that a step takes and gives."""
    delay: int
    """Samples by which the output lags behind the input."""
    parameters: int | None
    """None: there are none, or their number is not stored with the model."""
    bytes: int | None
    """Size of what holds the network; None where there is none."""
    start: Callable[[], Step]
    """A new stream; one at a time is used."""
    macs: int | None = None
    """Multiply-accumulates a hop, where they are known."""
    nodes: int | None = None
    """Operators of the model file."""

    @property
    def latency_ms(self) -> float:
        """From a sound to its output at worst, computing not counted: delay and wait for a hop."""
        return 1000 * (self.delay + self.hop) / RATE

    @property
    def period(self) -> float:
        """Seconds of sound in a hop."""
        return self.hop / RATE

    def enhance(self, samples: Samples) -> Samples:
        """A whole recording [n] → [n], aligned."""
        step = self.start()
        missing = self.delay + -(len(samples) + self.delay) % self.hop
        hops = np.pad(samples.astype(np.float32), (0, missing)).reshape(-1, self.hop)
        whole = np.concatenate([step(hop) for hop in hops])
        found: Samples = whole[self.delay : self.delay + len(samples)].astype(np.float32)
        return found


def unprocessed() -> System:
    """The input as it is."""
    return System(UNPROCESSED, "the input as it is", RATE // 100, 0, None, None, lambda: _same)


def of_bundle(folder: Path) -> System:
    """A bundle of this project, checked and run as the device does it, on one thread.

    Raises:
        BadInputError: no bundle, one that does not prove itself, no enhancer, or another rate.
    """
    model = bundle.load(folder, threads=1)
    enhancer = StreamEnhancer(model)  # refuses what is no enhancer
    if enhancer.rate != RATE:
        raise BadInputError(f"{folder}: works at {enhancer.rate} Hz; the others need {RATE} Hz")
    manifest = model.bundle.manifest
    return System(
        name=manifest.name,
        origin=f"bundle {manifest.version} ({model.bundle.model_sha256[:12]})",
        hop=enhancer.hop,
        delay=enhancer.delay,
        parameters=manifest.result.parameters,
        bytes=model.bundle.model.stat().st_size,
        start=lambda: StreamEnhancer(model).process,
        macs=manifest.result.macs,
        nodes=nodes(model.bundle.model),
    )


def _same(hop: Samples) -> Samples:
    return hop


def folder(package: str, install: str = PEERS_EXTRA) -> Path:
    """Where a package's files are. It is not imported: some peers' packages import a framework,
    or do not import beside today's SciPy, and only their networks are wanted.

    Raises:
        MissingPeerError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPeerError(install)
    return Path(spec.submodule_search_locations[0])


def module(name: str, install: str) -> Any:
    """An optional package, imported.

    Raises:
        MissingPeerError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPeerError(install) from error


def origin(package: str) -> str:
    """Name and version of an installed package."""
    return f"{package} {importlib.metadata.version(package)}"
