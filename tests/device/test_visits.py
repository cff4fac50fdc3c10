"""Votes, abstentions and who is who. No clock: time is what the test says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from device.classifier import Scores
from device.config import Visits
from device.images import Box
from device.motion import Region
from device.visits import Abstention, Sighting, Tracker, Visit
from tests.scenes import frame

LABELS = ("tit", "wren", "background")
TIT, WREN, NOTHING = (0.9, 0.06, 0.04), (0.05, 0.9, 0.05), (0.05, 0.05, 0.9)
HERE, THERE = Box(100, 100, 140, 140), Box(400, 100, 440, 140)
IMAGE = np.zeros((480, 640, 3), np.uint8)


def sighting(
    time: float, box: Box = HERE, votes: tuple[float, ...] = TIT, shade: int = 0
) -> Sighting:
    image = IMAGE + np.uint8(shade) if shade else IMAGE
    return Sighting(Region(frame(image, time), box), Scores(LABELS, np.array(votes), 8.0))


def run(*timed: tuple[float, list[Sighting]], config: Visits | None = None) -> list[Visit]:
    tracker, visits = Tracker(config or Visits()), list[Visit]()
    for time, sightings in timed:
        visits += tracker.update(time, sightings)
    return visits + tracker.finish()


def sitting(
    times: list[float], box: Box = HERE, votes: tuple[float, ...] = TIT
) -> list[tuple[float, list[Sighting]]]:
    return [(time, [sighting(time, box, votes)]) for time in times]


def test_one_bird_is_one_visit() -> None:
    (visit,) = run(*sitting([10.0, 10.1, 10.2, 10.3]))

    assert visit.named and visit.label == "tit"
    assert visit.confidence == pytest.approx(0.9)
    assert (visit.frames, visit.milliseconds) == (4, 8.0)
    assert visit.end - visit.start == pytest.approx(0.3)
    assert visit.start == frame(IMAGE, 10.0).wall


def test_visit_ends_after_the_gap_and_not_before() -> None:
    tracker = Tracker(Visits(gap=2))
    for time in (0.0, 0.1, 0.2):
        assert tracker.update(time, [sighting(time)]) == []

    assert tracker.update(2.1, []) == []
    assert len(tracker.update(2.2, [])) == 1
    assert tracker.finish() == []


def test_short_pause_is_bridged() -> None:
    assert len(run(*sitting([0.0, 0.1, 1.9, 2.0, 3.9]), config=Visits(gap=2))) == 1


def test_coming_back_later_is_a_new_visit() -> None:
    visits = run(*sitting([0.0, 0.1, 0.2, 9.0, 9.1, 9.2]))

    assert [visit.frames for visit in visits] == [3, 3]


def test_long_visit_is_split_and_nothing_is_lost() -> None:
    times = [k / 10 for k in range(250)]

    visits = run(*sitting(times), config=Visits(max_length=10))

    assert [visit.frames for visit in visits] == [100, 100, 50]
    assert all(visit.end - visit.start < 10 for visit in visits)


def test_two_birds_at_once_are_two_visits() -> None:
    visits = run(
        *(
            (k / 10, [sighting(k / 10), sighting(k / 10, THERE, WREN)][:: 1 - 2 * (k % 2)])
            for k in range(6)
        )
    )  # their order in the frame changes

    assert sorted((visit.label, visit.frames) for visit in visits) == [("tit", 6), ("wren", 6)]


def test_hopping_bird_stays_itself() -> None:
    boxes = [Box(x, 100, x + 40, 140) for x in range(0, 600, 60)]

    visits = run(*((k / 10, [sighting(k / 10, box)]) for k, box in enumerate(boxes)))

    assert [visit.frames for visit in visits] == [10]


def test_birds_that_pass_each_other_keep_their_nearest_track() -> None:
    def at(k: int) -> list[Sighting]:
        left, right = 100 + 20 * k, 400 - 20 * k
        return [
            sighting(k / 10, Box(left, 100, left + 40, 140), TIT),
            sighting(k / 10, Box(right, 180, right + 40, 220), WREN),
        ]

    visits = run(*((k / 10, at(k)) for k in range(16)))

    assert sorted((v.label, v.frames, v.named) for v in visits) == [
        ("tit", 16, True),
        ("wren", 16, True),
    ]


def test_one_odd_frame_does_not_name_the_bird() -> None:
    (visit,) = run(*sitting([0.0, 0.1, 0.2]), (0.3, [sighting(0.3, votes=(0.0, 1.0, 0.0))]))

    assert visit.label == "tit"
    assert visit.confidence == pytest.approx((3 * 0.9 + 0) / 4)


@pytest.mark.parametrize(
    ("times", "votes", "reason"),
    [
        ([0.0, 0.1], TIT, Abstention.FEW_FRAMES),
        ([0.0, 0.1, 0.2], NOTHING, Abstention.BACKGROUND),
        ([0.0, 0.1, 0.2], (0.45, 0.3, 0.25), Abstention.UNSURE),
        ([0.0, 0.1, 0.2], (float("nan"),) * 3, Abstention.UNSURE),
    ],
)
def test_unclear_visit_abstains_and_says_why(
    times: list[float], votes: tuple[float, ...], reason: Abstention
) -> None:
    (visit,) = run(*sitting(times, votes=votes))

    assert visit.abstention is reason and not visit.named
    assert visit.label != "background"


def test_background_counts_against_the_bird() -> None:
    mostly_empty = [(k / 10, [sighting(k / 10, votes=NOTHING)]) for k in range(3, 12)]

    (visit,) = run(*sitting([0.0, 0.1, 0.2]), *mostly_empty)

    assert visit.abstention is Abstention.BACKGROUND


def test_picture_is_the_clearest_of_the_named_bird() -> None:
    (visit,) = run(
        (0.0, [sighting(0.0, votes=(0.6, 0.3, 0.1), shade=10)]),
        (0.1, [sighting(0.1, votes=(0.8, 0.1, 0.1), shade=20)]),
        (0.2, [sighting(0.2, votes=(0.0, 1.0, 0.0), shade=30)]),
        (0.3, [sighting(0.3, votes=(0.7, 0.2, 0.1), shade=40)]),
        (0.4, [sighting(0.4, votes=(0.7, 0.2, 0.1), shade=40)]),
    )

    assert visit.label == "tit"
    assert visit.picture.shape == (50, 50, 3)  # the box with its margin, not the frame
    assert (visit.picture == 20).all()


def test_kept_picture_does_not_keep_the_frame() -> None:
    (visit,) = run(*sitting([0.0, 0.1, 0.2]))

    assert visit.picture.base is None


def probabilities(raw: list[float]) -> tuple[float, ...]:
    values: NDArray[np.float64] = np.array(raw) + 1e-9
    return tuple(values / values.sum())


votes = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(probabilities)
boxes = st.builds(
    lambda x, y, s: Box(x, y, x + s, y + s),
    st.integers(0, 500),
    st.integers(0, 300),
    st.integers(5, 120),
)
scenes = st.lists(
    st.tuples(st.floats(0.01, 3), st.lists(st.tuples(boxes, votes), max_size=3)), max_size=30
)


@settings(max_examples=80, deadline=None)
@given(scenes)
def test_every_sighting_is_in_exactly_one_visit(
    scenes: list[tuple[float, list[tuple[Box, tuple[float, ...]]]]],
) -> None:
    config = Visits(max_length=5)
    tracker, visits, time, given_in = Tracker(config), list[Visit](), 0.0, 0
    for step, found in scenes:
        time += step
        visits += tracker.update(time, [sighting(time, box, vote) for box, vote in found])
        given_in += len(found)
        assert tracker.present <= given_in - sum(visit.frames for visit in visits)
    visits += tracker.finish()

    assert sum(visit.frames for visit in visits) == given_in
    assert tracker.finish() == []
    for visit in visits:
        assert 0 <= visit.confidence <= 1
        assert 0 <= visit.end - visit.start < config.max_length
        assert visit.label != "background"
        if visit.named:
            assert visit.frames >= config.min_frames
            assert visit.confidence >= config.min_confidence


@given(st.lists(st.sampled_from([TIT, WREN, (float("nan"), 0.9, 0.1)]), min_size=3, max_size=9))
def test_nan_never_becomes_a_name(history: list[tuple[float, ...]]) -> None:
    (visit,) = run(*((k / 10, [sighting(k / 10, votes=v)]) for k, v in enumerate(history)))

    if any(np.isnan(v).any() for v in history):
        assert not visit.named
