"""The doctor's checks of the machine itself: runtime, clock, memory, processor, disk."""

import importlib.metadata
import shutil
import tempfile
import time
from pathlib import Path

from device import config, machine
from device.files import NO_ROOM
from device.findings import Finding, fail, ok, warn

RUNTIMES = ("ai-edge-litert", "tflite-runtime")
FIRST_YEAR = 2024  # a clock that shows less was never set
SYNCHRONISED = (Path("/run/systemd/timesync/synchronized"), Path("/run/chrony/chronyd.pid"))
MEMORY_INFO = Path("/proc/meminfo")
MIN_MEMORY = 150  # MB available
MIN_DISK = 200  # MB, beyond what the outbox may take
MB = 2**20


def runtime() -> Finding:
    """Which TFLite runtime is installed."""
    for name in RUNTIMES:
        try:
            return ok("runtime", f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return fail("runtime", "no TFLite runtime is installed", f"pip install {RUNTIMES[0]}")


def clock() -> Finding:
    """Detections carry the time: a Pi has no clock of its own and needs the network's."""
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    if time.localtime().tm_year < FIRST_YEAR:
        return fail("clock", f"{now}: never set", "timedatectl set-ntp true")
    if not any(path.exists() for path in SYNCHRONISED):
        return warn("clock", f"{now}, not known to be synchronised", "timedatectl set-ntp true")
    return ok("clock", f"{now}, synchronised")


def memory() -> Finding:
    """Memory that programs can still have."""
    if not MEMORY_INFO.is_file():
        return ok("memory", "not known on this system")
    fields = dict(line.split(":") for line in MEMORY_INFO.read_text().splitlines())
    free, total = (int(fields[key].split()[0]) // 1024 for key in ("MemAvailable", "MemTotal"))
    found = f"{free} of {total} MB available"
    if free < MIN_MEMORY:
        return warn("memory", found, f"the apps need {MIN_MEMORY} MB: stop other programs")
    return ok("memory", found)


def processor() -> Finding:
    """A governor that saves power makes the first frames after a pause late."""
    found = machine.machine()
    if machine.GOVERNOR.is_file() and machine.GOVERNOR.read_text().strip() == "powersave":
        return warn(
            "processor", found, "choose another governor: cpupower frequency-set -g ondemand"
        )
    return ok("processor", found)


def state_folder(settings: config.Config) -> Finding:
    """Whether outbox, snapshots and bundles have a place."""
    folder = existing = settings.state_dir
    room = MIN_DISK + settings.outbox.max_bytes // MB
    make_room = f"make room: {room} MB are needed"
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing) as probe:
            probe.write(b"doctor")
    except OSError as error:
        advice = make_room if error.errno in NO_ROOM else f"let this user write {folder}"
        return fail("disk", f"{existing}: {error.strerror}", advice)
    free = shutil.disk_usage(existing).free // MB
    found = f"{folder}: {free} MB free"
    if free < room:
        return warn("disk", found, make_room)
    return ok("disk", found)
