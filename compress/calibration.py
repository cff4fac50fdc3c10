"""Temperature scaling: confidence that means what it says.

C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.

    p = softmax(z / T),   T = argmin over T of  −Σ_i log p_i[label_i]

z_i  logits of validation example i   T  one number for the whole classifier
Label smoothing and distillation teach a network to doubt itself (T < 1); long training teaches
it to be too sure (T > 1). The order of the labels stays the same, whatever T.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

LIMITS = (0.1, 10.0)  # a classifier beyond these needs training, not scaling


def temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """T for logits [examples, labels] whose right answers are `labels` [examples]."""
    z = logits.astype(np.float64)

    def loss(log_T: float) -> float:
        scaled = z / np.exp(log_T)
        scaled -= scaled.max(1, keepdims=True)
        right = scaled[np.arange(len(labels)), labels]
        return float((np.log(np.exp(scaled).sum(1)) - right).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(LIMITS)), method="bounded")
    return round(float(np.exp(found.x)), 4)
