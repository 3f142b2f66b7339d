"""Segment whole stacks with a trained network."""
