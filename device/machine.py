"""Which machine a figure was taken on."""

import os
import platform
from pathlib import Path

PI_MODEL = Path("/proc/device-tree/model")
CPU_INFO = Path("/proc/cpuinfo")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def machine() -> str:
    """One line: model or processor, cores, architecture, system and, if any, the governor."""
    parts = [_name(), f"{os.cpu_count()} cores", platform.machine(), _system()]
    if GOVERNOR.is_file():
        parts.append(f"governor {GOVERNOR.read_text().strip()}")
    return ", ".join(parts)


def _name() -> str:
    if PI_MODEL.is_file():
        return PI_MODEL.read_text().strip("\0\n ")
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()
