"""How a command line ends: one line on stderr and a number, whatever was wrong."""

import errno
import io
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
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


STOPPED = """
import os, pathlib, signal, sys
import typer
from device import errors, files

cli = typer.Typer()

@cli.command()
def write(target: pathlib.Path, number: int) -> None:
    with files.replacing(target) as temporary:
        temporary.write_bytes(b"half")
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            os.kill(os.getpid(), number)  # whoever is impatient does not disturb the clearing up
            print("cleared up", flush=True)

errors.run(cli)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_told_to_end_clears_up(tmp_path: Path, number: signal.Signals) -> None:
    not_ignored = f"import signal; signal.signal({int(number)}, signal.SIG_DFL)\n"  # under nohup
    done = subprocess.run(
        [sys.executable, "-c", not_ignored + STOPPED, tmp_path / "a", str(int(number))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (128 + number, "")
    assert done.stdout == "cleared up\n"
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    """nohup: a training outlives its terminal."""
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    script = ignoring + STOPPED.replace("signal.pause()", "pass")
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a", str(int(signal.SIGHUP))], check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "a").read_bytes() == b"half"


def test_a_command_leaves_signals_as_they_were(end: Callable[..., tuple[int, str, str]]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    end("mix", "a", "--bundle", "b")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_name_that_is_not_text_is_printed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "utf-8", "strict"))
    monkeypatch.setattr(sys, "argv", ["mix", "mix", "caf\udce9→", "--bundle", "b"])
    with pytest.raises(SystemExit) as stop:
        errors.run(cli)
    sys.stdout.flush()
    assert (stop.value.code, raw.getvalue()) == (0, "caf\\udce9→ 1.0 b\n".encode())
