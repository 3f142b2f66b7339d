"""Whole experiments: the demo and, later, the paper's."""
