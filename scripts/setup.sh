#!/bin/sh
# Sets up everything that `make demo` and `make test` need; does nothing where nothing is missing.
# Environment: VENV (default .venv), PYTHON (default python3), TORCH_INDEX (an extra package index
# that holds PyTorch's CPU builds; without it pip takes the build its usual index offers).
set -eu
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
PYTHON=${PYTHON:-python3}
# portaudio: microphones; pulseaudio + ALSA plugin: the virtual microphone; mosquitto: the broker;
# gcc and headers: pesq is built from source; ffmpeg: pushes the RTSP streams of the tests
SYSTEM="python3-venv python3-dev gcc libportaudio2 libasound2-plugins pulseaudio pulseaudio-utils mosquitto ffmpeg"

if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
    echo "error: Fieldwren's workstation needs Python 3.11 (found: $("$PYTHON" --version 2>&1)); set PYTHON=python3.11" >&2
    exit 2
fi

missing=""
if command -v dpkg-query >/dev/null; then
    for package in $SYSTEM; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
else
    for program in gcc pulseaudio mosquitto ffmpeg; do
        PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || missing="$missing $program"
    done
fi
if [ -n "$missing" ]; then
    as_root=""
    [ "$(id -u)" = 0 ] || as_root="sudo -n"
    if command -v apt-get >/dev/null && $as_root true 2>/dev/null; then
        echo "system packages:$missing"
        $as_root apt-get update -qq
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
    else
        echo "error: system packages are missing; install them and try again: sudo apt-get install --no-install-recommends$missing" >&2
        exit 2
    fi
fi

want=$(cat pyproject.toml constraints.txt scripts/setup.sh | sha256sum | cut -c1-16)
if [ -x "$VENV/bin/python" ] && [ "$(cat "$VENV/.fieldwren" 2>/dev/null)" = "$want" ]; then
    exit 0
fi
echo "Python packages into $VENV (about 3 GB, a few minutes the first time)"
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch==2.13.0
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[workstation,cluster,dev]'
# torchaudio's wheels link their native parts to CUDA; beside a CPU torch it imports only without them
if ! "$VENV/bin/python" -c 'import torchaudio' 2>/dev/null; then
    rm -f "$VENV"/lib/python3.11/site-packages/torchaudio/lib/*.so
    "$VENV/bin/python" -c 'import torchaudio'
fi
printf '%s' "$want" > "$VENV/.fieldwren"
"$VENV/bin/python" -c 'import torch; print("ready: torch", torch.__version__)'
