"""The ends of what is drawn at random, as a recipe gives them: the lower one first."""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, FiniteFloat, PositiveInt

Ends = TypeVar("Ends", tuple[float, float], tuple[int, int])


def _ordered(ends: Ends) -> Ends:
    low, high = ends
    if low > high:
        raise ValueError(f"{low:g} is above {high:g}: give the lower one first")
    return ends


PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]

Range = Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_ordered)]
PositiveRange = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ordered)]
ShareRange = Annotated[tuple[Share, Share], AfterValidator(_ordered)]
CountRange = Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_ordered)]
