"""The Pi: sources, stages and sinks; the model runtime; MQTT."""
