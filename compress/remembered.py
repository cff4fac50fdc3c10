"""A teacher's answers to the batches of a few epochs, remembered for the epochs that repeat them.

Z. Shen, E. Xing, "A Fast Knowledge Distillation Framework for Visual Recognition", ECCV 2022: a
student may learn from the same views many times, so the teacher, which costs more than the student,
need see each only once. They keep answers on disk, for any epochs; here they are kept in memory,
for `views` whole epochs that come again and again, mixtures included, in the same batches [C].
"""

from typing import Any

from torch import Tensor, nn

from device.errors import BadInputError


class Remembered(nn.Module):
    """A teacher that is asked about a batch once; in memory, so not beyond the process.

    Args:
        teacher: its answers depend on its input alone.

    Raises:
        BadInputError: when asked, if the teacher also hands on a state, as one that reads a text.
    """

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher
        self.waveform = bool(getattr(teacher, "waveform", False))
        self._answers: dict[tuple[int, int], list[Tensor]] = {}
        self._batch, self._asked = (0, 0), 0

    def turn(self, view: int, step: int) -> None:
        """What follows is about this batch of this epoch's views."""
        self._batch, self._asked = (view, step), 0

    def forward(self, *inputs: Any) -> Tensor:
        known = self._answers.setdefault(self._batch, [])
        if self._asked == len(known):
            answer = self.teacher(*inputs)
            if not isinstance(answer, Tensor):
                raise BadInputError(
                    "views: the teacher answers with more than one tensor, which cannot be "
                    "remembered: leave views out"
                )
            known.append(answer.detach().cpu())
        found = known[self._asked].to(inputs[0].device)
        self._asked += 1
        return found
