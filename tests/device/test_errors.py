"""How a command line ends: one line on stderr and a number, whatever was wrong."""

import errno
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated

import pytest
import typer

from device import errors

cli = typer.Typer(no_args_is_help=True, add_completion=False, help="Mix.")


@cli.command()
def mix(
    name: str,
    wet: Annotated[float, typer.Option(min=0, max=1)] = 1.0,
    bundle: Annotated[str, typer.Option()] = ...,  # type: ignore[assignment]
) -> None:
    """Mix a file."""
    if name == "leave":
        raise typer.Exit(3)
    if name == "fail":
        raise errors.FieldwrenError("two\nlines")
    if name == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    print(name, wet, bundle)


@cli.command()
def other() -> None:
    """Another."""


@pytest.fixture
def end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int | str | None, str, str]]:
    def ended(*words: str) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["mix", *words])
        with pytest.raises(SystemExit) as stop:
            errors.run(cli)
        told = capsys.readouterr()
        return stop.value.code, told.out, told.err

    return ended


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("mix", "a", "--bundle", "b", "--wet", "2"), "Invalid value for '--wet'"),
        (("mix", "a", "--bundle", "b", "--wet", "much"), "Invalid value for '--wet'"),
        (("mix", "a"), "Missing option '--bundle'"),
        (("mix", "--bundle", "b"), "Missing argument"),
        (("mix", "a", "--dry"), "No such option"),
        (("nix",), "No such command 'nix'"),
    ],
)
def test_wrong_usage_is_one_line(
    end: Callable[..., tuple[int, str, str]], words: tuple[str, ...], reason: str
) -> None:
    code, out, err = end(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and reason in err
    assert err.count("\n") == 1 and err.endswith("\n")


def test_commands_end_as_they_did(end: Callable[..., tuple[int, str, str]]) -> None:
    assert end("mix", "a", "--bundle", "b") == (0, "a 1.0 b\n", "")
    assert end("mix", "leave", "--bundle", "b")[0] == 3
    assert end("mix", "fail", "--bundle", "b") == (1, "", "error: two lines\n")


def test_help_is_no_error(end: Callable[..., tuple[int, str, str]]) -> None:
    for words in (("--help",), ("mix", "--help")):
        code, out, err = end(*words)
        assert (code, err) == (0, "")
        assert "Mix" in out
    code, out, err = end()
    assert code == 2 and "Mix" in out + err and "error" not in out + err


def test_the_apps_say_it_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "apps.speech", "enhance", "a.wav", "b.wav", "--wet", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_full_disk_is_one_line(end: Callable[..., tuple[int | str | None, str, str]]) -> None:
    """What writes says why, but seldom where."""
    assert end("mix", "full", "--bundle", "b") == (1, "", "error: No space left on device\n")
