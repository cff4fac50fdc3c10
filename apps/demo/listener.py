"""An independent MQTT client: it sees what anybody on the network sees."""

import io
import json
import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion

CONNECT_TIMEOUT = 10.0  # seconds
MAX_FRAMES = 50 * 600  # ten minutes of 20 ms frames; later ones are counted, not kept


class Listener:
    """Collects a station's detections, snapshot, status, telemetry and audio frames.

    Args:
        port: the broker's, on this machine.
        station: whose topics to listen to.
        on_detection: called with each detection as it arrives.
    """

    def __init__(self, port: int, station: str, on_detection: Callable[[dict[str, Any]], None]):
        self._base, self._station = f"fieldwren/{station}", station
        self._on_detection = on_detection
        self._change = threading.Condition()
        self.detections: list[dict[str, Any]] = []
        self.telemetry: dict[str, dict[str, Any]] = {}
        self.status: list[str] = []
        self.snapshot = b""
        self.audio_frames = 0
        self._audio: list[bytes] = []
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"demo-{time.time_ns()}", protocol=mqtt.MQTTv5
        )
        self._client.on_message = self._message
        self._client.connect("127.0.0.1", port)
        for topic in (f"{self._base}/#", f"hermes/audioServer/{station}/audioFrame"):
            self._client.subscribe(topic, qos=1)
        self._client.loop_start()

    def wait(self, what: Callable[["Listener"], bool], timeout: float) -> bool:
        """Whether `what` became true of this listener within `timeout` seconds."""
        with self._change:
            return self._change.wait_for(lambda: what(self), timeout)

    def audio(self) -> NDArray[np.int16]:
        """Every audio frame so far, joined."""
        with self._change:
            return np.frombuffer(b"".join(self._audio), np.int16)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _message(self, client: mqtt.Client, userdata: object, message: mqtt.MQTTMessage) -> None:
        topic = message.topic.removeprefix(f"{self._base}/")
        with self._change:
            if topic == "birds/detection":
                self.detections.append(json.loads(message.payload))
                self._on_detection(self.detections[-1])
            elif topic == "birds/snapshot":
                self.snapshot = bytes(message.payload)
            elif topic == "status":
                self.status.append(message.payload.decode())
            elif topic.endswith("/telemetry"):
                self.telemetry[topic.partition("/")[0]] = json.loads(message.payload)
            elif topic.endswith("/audioFrame"):
                self._hear(bytes(message.payload))
            self._change.notify_all()

    def _hear(self, payload: bytes) -> None:
        self.audio_frames += 1
        if len(self._audio) < MAX_FRAMES:
            with wave.open(io.BytesIO(payload)) as frame:
                self._audio.append(frame.readframes(frame.getnframes()))


def save_audio(path: Path, samples: NDArray[np.int16], rate: int) -> None:
    """Write 16-bit mono audio."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
