"""What a recipe may ask of the enhancer task, and what the shipped ones build."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from compress import recipe
from compress.tasks import enhancer
from compress.tasks.enhancer import Settings
from tests.compress import sounds
from tests.compress.sounds import SMALL


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"n_fft": 512, "hop": 200}, "n_fft 512 is not a multiple of twice the hop 200"),
        ({"dilations": [1, 0]}, "greater than 0"),
        ({"dilations": []}, "at least 1 item"),
        ({"width": 3}, "Extra inputs"),
    ],
)
def test_networks_that_cannot_be(table: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Settings.model_validate(SMALL | {"model": table})


def test_examples_of_less_than_a_frame_are_refused() -> None:
    def settings(seconds: float) -> Settings:
        return Settings.model_validate(SMALL | {"mixing": {"seconds": seconds}})

    with pytest.raises(ValidationError, match=r"mixing.seconds 0.01 is less than a frame of 512"):
        settings(0.01)
    assert settings(0.032).mixing.seconds == 0.032


def test_mixtures_too_short_to_check_a_file_with_are_refused_before_training(
    tmp_path: Path,
) -> None:
    def settings(seconds: float) -> Settings:
        score = {"seconds": seconds, "validation": 3, "test": 2}
        return Settings.model_validate(SMALL | {"score": score})

    with pytest.raises(ValidationError, match=r"score.seconds 1.1 is too short.* 1.14 or more"):
        settings(1.1)
    made = enhancer.make(settings(1.14), (sounds.make_folder(tmp_path),), seed=0)
    deployed = made.deploy(made.build().eval())
    assert len(deployed.examples) >= 3


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("enhancer-tcn", 1.13e6),
        ("enhancer-bands", 251e3),
        ("enhancer-quick", 136e3),
        ("enhancer-fullsubnet", 0.73e6),
    ],
)
def test_shipped_recipes_build_what_their_pages_say(name: str, parameters: float) -> None:
    loaded = recipe.load(name)
    assert loaded.task == "enhancer"
    net = enhancer.make(loaded.settings, (Path(__file__).parent,), seed=0).build()
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(parameters, rel=0.01)
