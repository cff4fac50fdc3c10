"""Curves that a stage found out; the report draws them, so stages know nothing of plotting."""

from typing import Literal

from pydantic import Field

from device.manifest import Frozen


class Series(Frozen):
    """One curve of a figure: y over x."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


class Figure(Frozen):
    """Axes with one or more curves; `marks` are single points, "line" is for ordered x."""

    title: str
    x: str = Field(description="label of the axis, with its unit")
    y: str
    series: tuple[Series, ...]
    kind: Literal["line", "marks"] = "line"
