"""Models for others: a network, what prepares its input, and a description that people and programs read."""
