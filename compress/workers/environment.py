"""Settings that Ray and the processes it starts read from the environment, when it is imported."""

import importlib.util
import os
import secrets

from device.errors import BadInputError

LOCAL, RUNNING = "local", "auto"  # addresses that are words
LOOPBACK = "127.0.0.1"
ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # no cluster but the one that was asked for
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # it would warn of a change to come
}
# every port of a cluster of our own is on LOOPBACK, and only who has the token may use it; its
# workers are as urgent as the process they work for, or beside other work they would hardly run
OWN = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_worker_niceness": "0",
}
TOKEN = "RAY_AUTH_TOKEN"


def prepare(address: str) -> None:
    """Set what an import of Ray must find, for a cluster of our own (LOCAL) or another.

    Raises:
        BadInputError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise BadInputError("--ray: Ray is not installed: pip install -e '.[cluster]'")
    os.environ.update(ALWAYS)
    if address == LOCAL:
        os.environ.update(OWN)
        os.environ.setdefault(TOKEN, secrets.token_hex(32))
