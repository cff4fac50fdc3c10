"""Low-rank forms of convolutions by name; each file is one (base.py: Form)."""

from compress.lowrank import channel, cp, spatial, tucker
from compress.lowrank.base import Form

FORMS: dict[str, Form] = {
    "channel": channel,
    "spatial": spatial,
    "tucker": tucker,
    "cp": cp,
}
