"""Tiny real packages for the tests of the default data: .deb and .whl with drawn content."""

import io
import subprocess
import zipfile
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from compress.defaults import birds, recording, speech
from compress.defaults.build import Amounts

AMOUNTS = Amounts(
    pictures={"train": 2, "test": 1},
    minutes=speech.Minutes(train=0.2, test=0.2, babble=0.05, test_babble=0.05, demo=0.2),
    noises={"train": (1, 1), "test": (1, 1)},
    rooms={"train": 1, "test": 1},
)
FRAMES = 100
PROMPTS = 14  # of two seconds, per speaker


def cutout(random: np.random.Generator, width: int = 48, height: int = 36) -> NDArray[np.uint8]:
    """An ellipse of one random colour [height, width, BGRA] on nothing."""
    image = np.zeros((height, width, 4), np.uint8)
    colour = (*(int(v) for v in random.integers(0, 256, 3)), 255)
    cv2.ellipse(
        image, (width // 2, height // 2), (width // 2 - 2, height // 3), 0, 0, 360, colour, -1
    )
    return image


def stamps(seed: int = 0) -> dict[str, bytes]:
    """PNG files where the stamps' package has its photographs."""
    random = np.random.default_rng(seed)
    names = [f"{birds.BIRDS}{view}" for views in birds.SPECIES.values() for view in views]
    names += [f"{folder}thing{number}" for folder in birds.CLUTTER for number in range(2)]
    return {f"{name}.png": png(cutout(random)) for name in names}


def png(image: NDArray[np.uint8]) -> bytes:
    """The image as a PNG file."""
    return cv2.imencode(".png", image)[1].tobytes()


def voice(seconds: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Syllables of a harmonic tone: no speech, but it comes and goes like it."""
    time = np.arange(int(seconds * speech.RATE)) / speech.RATE
    pitch = random.uniform(90, 250)
    tone = sum(np.sin(2 * np.pi * pitch * k * time + k) / k for k in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 4 * time) + 0.3, 0, 1)
    return (0.2 * tone * syllables).astype(np.float32)


def g722(audio: NDArray[np.float32]) -> bytes:
    """Samples at 16 kHz, G.722 encoded."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="g722") as container:
        stream = container.add_stream("g722", rate=speech.RATE, layout="mono")
        pcm = (np.clip(audio, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.rate = speech.RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def recordings(seed: int) -> dict[str, bytes]:
    """A speaker's package: phrases, and what must not be taken for speech."""
    random = np.random.default_rng(seed)
    files = {f"en/phrase{n:02d}.g722": g722(voice(2.0, random)) for n in range(PROMPTS)}
    tone = np.sin(np.arange(2 * speech.RATE) * 0.4).astype(np.float32) * 0.3
    return {
        **files,
        "en/beeperr.g722": g722(tone),
        "en/silence/2.g722": g722(np.zeros(2 * speech.RATE, np.float32)),
        "en/quiet.g722": g722(np.zeros(2 * speech.RATE, np.float32)),
        "en/digits/7.g722": g722(voice(0.4, random)),
        "en/is.g722": b"",
    }


def place(number: int) -> tuple[int, int]:
    """Centre (x, y) of the drawn bird in a frame: it moves on every 20 frames."""
    return 100 + 100 * (number // 20), 200 + number % 3


def video() -> bytes:
    """A cage of constant texture through which a dark ellipse hops, 640×360, 25 Hz."""
    random = np.random.default_rng(1)
    cage = random.integers(150, 200, (recording.HEIGHT, recording.WIDTH, 3)).astype(np.uint8)
    cage = cv2.GaussianBlur(cage, (0, 0), 2)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = recording.WIDTH, recording.HEIGHT, "yuv420p"
        for number in range(FRAMES):
            image = cage.copy()
            cv2.ellipse(image, place(number), (14, 10), 20, 0, 360, (30, 40, 60), -1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def make_deb(cache: Path, name: str, folder: str, files: dict[str, bytes]) -> Path:
    """Build name_1.0_all.deb with the files below `folder`."""
    root = cache / f".{name}"
    for path, content in files.items():
        target = root / folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: T <t@example.org>\n"
        "Description: made by a test\n"
    )
    deb = cache / f"{name}_1.0_all.deb"
    subprocess.run(("dpkg-deb", "--build", "-Znone", root, deb), check=True, capture_output=True)
    return deb


def make_wheel(cache: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    """A zip archive named like a wheel."""
    path = cache / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, content in files.items():
            wheel.writestr(inside, content)
    return path


def fill(cache: Path) -> None:
    """Put every package the default data needs into a cache folder."""
    cache.mkdir(parents=True)
    make_deb(cache, birds.PACKAGE.name, birds.PACKAGE_FOLDER, stamps())
    for number, package in enumerate([*speech.TRAIN.values(), *speech.TEST.values()]):
        make_deb(cache, package.name, speech.PACKAGE_FOLDER, recordings(number))
    make_wheel(
        cache,
        recording.PACKAGE.name,
        recording.PACKAGE.version,
        {f"{recording.PACKAGE_FOLDER}/finch.mp4": video()},
    )
