"""The demonstration: real recordings through both apps on a machine without hardware."""
