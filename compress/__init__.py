"""Workstation: train, prune, export, verify and bundle small models."""
