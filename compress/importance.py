"""How the channels' scores of every group are spread: what a criterion had to choose from.

A group whose curve is flat has no channel that matters less than another: there a criterion chooses
nearly at chance. One that starts at zero and ends steeply has channels to spare.
"""

from collections.abc import Sequence

import numpy as np

from compress.figures import Figure, Series
from compress.prune import Scored

POINTS = 21  # of a curve: every 5 % of the channels
TINY = 1e-30


def distribution(groups: Sequence[Scored]) -> Figure:
    """Quantiles of each group's scores, over the mean of their sizes."""
    share = np.linspace(0, 1, POINTS)
    series = []
    for group in groups:
        scores = group.scores.detach().double().cpu().numpy()
        curve = np.quantile(scores, share) / max(float(np.abs(scores).mean()), TINY)
        series.append(
            Series(
                name=group.layer,
                x=tuple((100 * share).tolist()),
                y=tuple(round(value, 5) for value in curve.tolist()),
            )
        )
    return Figure(
        title="Importance: each group's channels, the least first",
        x="channels, %",
        y="score over the group's mean",
        series=tuple(series),
    )
