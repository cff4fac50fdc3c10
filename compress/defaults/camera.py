"""What a cheap camera does to a picture: blur, few pixels, wrong light, noise, JPEG."""

import cv2
import numpy as np

from compress.defaults.pixels import Canvas, blurred, enlarged, reduced

SIZE = 96  # pixels of a finished picture


def shoot(canvas: Canvas, random: np.random.Generator) -> bytes:
    """BGR [h, w, 3], 0…255 → JPEG of 96×96 pixels as a feeder camera would have taken it."""
    picture = canvas
    if random.random() < 0.25:
        picture = _moved(picture, random)
    if random.random() < 0.35:
        picture = blurred(picture, random.uniform(0.4, 1.8))
    if random.random() < 0.5:  # a distant bird is small before its region is stretched
        pixels = int(random.integers(22, SIZE))
        picture = enlarged(reduced(picture, pixels, pixels), SIZE)
    else:
        picture = reduced(picture, SIZE, SIZE)
    return jpeg(_noisy(_lit(picture, random), random), int(random.integers(45, 96)))


def jpeg(picture: Canvas, quality: int) -> bytes:
    """JPEG bytes of a BGR picture, 0…255."""
    pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    written, content = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))
    assert written  # OpenCV always has JPEG, and the picture is an ordinary one
    return content.tobytes()


def _moved(picture: Canvas, random: np.random.Generator) -> Canvas:
    """Motion blur along a random direction."""
    length = int(random.integers(3, 11))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), random.uniform(0, 180), 1)
    kernel = np.asarray(cv2.warpAffine(kernel, turn, (length, length)), np.float32)
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()), np.float32)


def _lit(picture: Canvas, random: np.random.Generator) -> Canvas:
    """Exposure (stops), white balance, contrast, and light that falls off to one side."""
    side = picture.shape[0]
    gain = 2 ** random.uniform(-0.7, 0.45) * random.uniform(0.88, 1.12, 3).astype(np.float32)
    contrast = random.uniform(0.75, 1.2)
    slope = np.linspace(-1, 1, side, dtype=np.float32)
    fall = 1 + random.uniform(-0.2, 0.2) * slope[:, None] + random.uniform(-0.2, 0.2) * slope
    bright = picture * gain * fall[..., None]
    if random.random() < 0.05:  # infrared night mode
        bright = np.repeat(bright.mean(axis=2, keepdims=True), 3, axis=2)
    return np.asarray((bright - 110) * contrast + 110, np.float32)


def _noisy(picture: Canvas, random: np.random.Generator) -> Canvas:
    """Shot noise that grows with the light, and read noise."""
    level = np.clip(picture, 0, 255)
    spread = np.sqrt(random.uniform(0, 0.5) * level + random.uniform(0, 6) ** 2)
    grain = random.standard_normal(picture.shape).astype(np.float32)
    return np.asarray(level + spread * grain, np.float32)
