"""`python -m device doctor`: is everything here that the apps need, and if not, what to do.

Each check looks at one thing, with the code the apps use, and changes nothing.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from device import bundle, camera, config, mqtt
from device.audio import SoundReader
from device.errors import BadInputError, FieldwrenError
from device.findings import Finding, Status, fail, ok, warn
from device.machine_checks import clock, memory, processor, runtime, state_folder
from device.microphone import Microphone

BROKER_TIMEOUT = 10.0  # seconds for the broker's answer
FIRST_BLOCK = 3.0  # seconds until a microphone delivers

Check = tuple[str, Callable[[], Finding]]  # what it is about, and how to look
MACHINE: tuple[Check, ...] = (
    ("runtime", runtime),
    ("clock", clock),
    ("memory", memory),
    ("processor", processor),
)


def command(
    file: Annotated[
        Path | None, typer.Option("--config", help="the station's TOML file; none = machine only")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Check configuration, bundles, camera, microphone, broker and this machine."""
    findings: list[Finding] = []
    for finding in examine(file):
        findings.append(finding)
        if not as_json:
            print(_line(finding), flush=True)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    failed = [finding.check for finding in findings if finding.status is Status.FAIL]
    if "configuration" in failed:
        raise typer.Exit(BadInputError.exit_code)
    if failed:
        raise typer.Exit(FieldwrenError.exit_code)


def examine(file: Path | None) -> Iterator[Finding]:
    """Every check in turn; those of the station need a configuration that can be read.

    Where this user may not look, that is what the check has found, and the next one follows.
    """
    checks: tuple[Check, ...] = ()
    if file is not None:
        try:
            settings = config.load(file)
        except BadInputError as error:
            yield fail(
                "configuration", str(error), "correct the file; device/config.py has every key"
            )
        else:
            yield _configuration(file, settings)
            checks = tuple(_station(settings, file.absolute().parent))
    for check, look in (*checks, *MACHINE):
        try:
            yield look()
        except OSError as error:
            where = "" if error.filename is None else f"{error.filename}: "
            yield fail(check, f"{where}{error.strerror or error}", _advice(error))


def _advice(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "let this user read it, with the folders above it, or start as the user who may"
    return "look after this file and its disk"


def _configuration(file: Path, settings: config.Config) -> Finding:
    parts = [name for name in ("birds", "speech") if getattr(settings, name) is not None]
    if not parts:
        return warn(
            "configuration", f"{file}: no [birds] and no [speech]", "add the part to be run"
        )
    return ok("configuration", f"{file}: station {settings.station}, {' and '.join(parts)}")


def _station(settings: config.Config, base: Path) -> Iterator[Check]:
    birds, speech, rules = settings.birds, settings.speech, settings.bundles
    if birds is not None:
        yield "birds bundle", partial(_bundle, "birds bundle", birds.bundle, "classify", rules)
        yield "camera", partial(_camera, birds, base)
    if speech is not None:
        yield "speech bundle", partial(_bundle, "speech bundle", speech.bundle, "enhance", rules)
        yield "microphone", partial(_microphone, speech, base)
    yield "broker", partial(_broker, settings.mqtt)
    yield "disk", partial(state_folder, settings)


def _bundle(check: str, path: Path, task: str, rules: config.Bundles) -> Finding:
    try:
        model = bundle.load(path, policy=rules.signature, key_folders=rules.trusted_keys)
    except BadInputError as error:
        advice = "install a good one: python -m device bundle install DIR --config FILE"
        return fail(check, str(error), f"{advice}; it says the path to give as bundle")
    manifest = model.bundle.manifest
    found = (
        f"{manifest.name} {manifest.version}, golden vectors right on {model.runtime.description}"
    )
    if manifest.task != task:
        return fail(check, f"{found}, but made to {manifest.task}", f"give a bundle made to {task}")
    if not model.bundle.signed:
        return warn(check, f"{found}, not signed by a trusted key", "see [bundles] trusted_keys")
    return ok(check, found)


def _camera(birds: config.Birds, base: Path) -> Finding:
    source = birds.source if camera.is_live(birds.source) else str(base / birds.source)
    try:
        with camera.connect(
            source,
            open_timeout=birds.open_timeout,
            read_timeout=birds.read_timeout,
            pace=False,
        ) as opened:
            frame = opened.read(birds.read_timeout)
    except BadInputError as error:
        return fail("camera", str(error), "check birds.source, and that no other program has it")
    if frame is None:
        return fail("camera", f"{camera.public(source)}: opened, but no frame came", "restart it")
    height, width = frame.image.shape[:2]
    return ok("camera", f"{camera.public(source)}: {camera.kind(source)}, {width}×{height}")


def _microphone(speech: config.Speech, base: Path) -> Finding:
    if speech.device.lower().endswith(".wav"):
        try:
            sound = SoundReader(base / speech.device)
        except BadInputError as error:
            return fail("microphone", str(error), "check speech.device")
        with sound:
            return ok("microphone", f"{speech.device}: {sound.channels} channels, {sound.rate} Hz")
    microphone = Microphone(
        speech.device,
        channels=speech.channels,
        rate=speech.rate,
        block=speech.block,
        buffer=speech.buffer,
        stall_timeout=speech.stall_timeout,
    )
    try:
        microphone.open()
        block = microphone.read(FIRST_BLOCK)
    except BadInputError as error:
        return fail("microphone", str(error), "check speech.device, and that nothing else has it")
    finally:
        microphone.close()
    found = f"{speech.device}: {speech.channels} channels, {speech.rate} Hz"
    if block is None:
        return warn("microphone", f"{found}: opened, but silent", "check its switch and its cable")
    return ok("microphone", found)


def _broker(settings: config.Mqtt) -> Finding:
    try:
        failure = mqtt.probe(settings, BROKER_TIMEOUT)
    except BadInputError as error:
        return fail("broker", str(error), "correct the setting")
    if failure is None:
        user = f"as {settings.username}" if settings.username else "without user name"
        return ok("broker", f"{mqtt.address(settings)} accepts us {user}")
    advice = "correct the setting" if failure.permanent else "is the broker running? firewall?"
    return fail("broker", failure.message, advice)


def _line(finding: Finding) -> str:
    line = f"{finding.status:4}  {finding.check:13}  {finding.found}"
    return f"{line}\n{'':21}→ {finding.advice}" if finding.advice else line
