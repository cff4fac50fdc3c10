"""Top-1 and top-5 accuracy of a classifier."""

import numpy as np
from numpy.typing import NDArray

from compress import images
from compress.task import Quality

NAMES = ("top1", "top5")


def quality(parts: dict[str, images.Photos], logits: dict[str, NDArray[np.float32]]) -> Quality:
    """Top-1 and top-5 accuracy in percent, over all photos and, if named, over each part."""
    scores: dict[str, float] = {}
    every = np.concatenate([logits[name] for name in parts])
    truth = np.concatenate([photos.labels for photos in parts.values()])
    scores["top1"], scores["top5"] = top(every, truth, 1), top(every, truth, 5)
    if len(parts) > 1:
        for name, photos in parts.items():
            for k in (1, 5):
                scores[f"top{k}_{name}"] = top(logits[name], photos.labels, k)
    return Quality("top1", scores)


def top(logits: NDArray[np.float32], labels: NDArray[np.int64], k: int) -> float:
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]  # equal ones as the device ranks them
    return 100 * float((best == labels[:, None]).any(1).mean())
