"""One channel of a sound file through the streaming enhancer: same length out, aligned."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device.audio import Resampler, SoundReader, writing
from device.enhancer import StreamEnhancer
from device.errors import BadInputError
from device.samples import Array, dbfs, energy, without_broken
from device.speech_meter import Factors, Percentiles

BLOCK = 0.5  # seconds read at a time


@dataclass(frozen=True)
class Enhanced:
    """What was done: sound in seconds, levels in dBFS (RMS), broken samples heard as silence."""

    seconds: float
    rtf: Percentiles | None
    level_in: float
    level_out: float
    bad_samples: int
    bad_frames: int


def enhance_file(
    enhancer: StreamEnhancer,
    source: Path,
    target: Path,
    channel: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Enhanced:
    """Enhance `channel` of `source` into `target` at the enhancer's rate, mono, 16 bits.

    `target` appears whole or not at all; it may be `source`. The real-time factors are those of
    single hops, front end included, resampling and files not. The enhancer begins and ends with
    no stream in it, also where a file fails.

    Args:
        progress: called with the share done, 0…1.
    Raises:
        BadInputError: a file that cannot be read or written, or no such channel.
    """
    rate = enhancer.rate
    factors = Factors()
    heard, said = _Level(), _Level()
    bad, bad_frames = 0, enhancer.bad_frames
    with _own_stream(enhancer), SoundReader(source) as reader, writing(target, rate) as writer:
        if channel >= reader.channels:
            raise BadInputError(
                f"{source}: has {reader.channels} channels (0…{reader.channels - 1}), "
                f"not channel {channel}"
            )
        resampler = Resampler(reader.rate, rate)

        def resampled() -> Iterator[Array]:
            nonlocal bad
            done = 0
            while block := reader.read(round(BLOCK * reader.rate)):
                samples, broken = without_broken(block.samples[:, channel])
                bad += broken
                done += len(samples)
                progress(done / reader.frames)
                yield resampler.process(samples)
            yield resampler.flush()

        late = enhancer.delay  # samples of silence before the stream
        for samples in resampled():
            heard.add(samples)
            for start in range(0, len(samples), enhancer.hop):
                begin = time.perf_counter()
                ready = enhancer.process(samples[start : start + enhancer.hop])
                if len(ready):
                    seconds = time.perf_counter() - begin
                    factors.add(seconds * rate / len(ready))
                dropped = min(late, len(ready))
                late -= dropped
                said.add(ready[dropped:])
                writer.write(ready[dropped:])
        rest = enhancer.flush()[late:]
        said.add(rest)
        writer.write(rest)
    return Enhanced(
        seconds=heard.count / rate,
        rtf=factors.percentiles(),
        level_in=heard.dbfs,
        level_out=said.dbfs,
        bad_samples=bad,
        bad_frames=enhancer.bad_frames - bad_frames,
    )


@contextmanager
def _own_stream(enhancer: StreamEnhancer) -> Iterator[None]:
    enhancer.reset()
    try:
        yield
    finally:
        enhancer.reset()


class _Level:
    """RMS of a stream."""

    def __init__(self) -> None:
        self._energy, self.count = 0.0, 0

    def add(self, samples: Array) -> None:
        self._energy += energy(samples)
        self.count += len(samples)

    @property
    def dbfs(self) -> float:
        return dbfs(self._energy, self.count)
