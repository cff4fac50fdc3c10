"""Learn a classifier's answers, softened by a temperature.

G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.

    Loss = (1 − λ)·CE(z, label) + λ·T²·KL( softmax(a/T) ‖ softmax(z/T) )

z  logits of the student    a  of the teacher    T  temperature    λ  weight of the teacher

A teacher that knows only some of the labels gives −∞ for the others [C]: both softmaxes then run
over the labels it knows, and an example whose label it does not know has λ = 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def loss(
    logits: Tensor,
    labels: Tensor,
    answers: Tensor,
    *,
    weight: float,
    temperature: float,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean over the batch; logits and answers [batch, labels], labels [batch]."""
    hard = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    known = torch.isfinite(answers[0])
    T = temperature
    soft = T * T * divergence(logits[:, known] / T, answers[:, known] / T)
    share = weight * known[labels].float()
    return ((1 - share) * hard + share * soft).mean()


def matching(logits: Tensor, answers: Tensor, *, temperature: float) -> Tensor:
    """The teacher's part alone, T²·KL, for pictures no label fits: mean over the batch.

    Mixtures of two pictures are such (L. Beyer et al., "Knowledge Distillation: A Good Teacher Is
    Patient and Consistent", CVPR 2022: answers to mixed views, long training, and no labels).
    """
    known, T = torch.isfinite(answers[0]), temperature
    return T * T * divergence(logits[:, known] / T, answers[:, known] / T).mean()


def divergence(logits: Tensor, answers: Tensor) -> Tensor:
    """KL( softmax(answers) ‖ softmax(logits) ) of each example [batch]."""
    student, teacher = F.log_softmax(logits, 1), F.log_softmax(answers, 1)
    return F.kl_div(student, teacher, log_target=True, reduction="none").sum(1)
