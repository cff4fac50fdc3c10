"""The things a person starts: birds, speech, demo."""
