"""The networks, as plain Keras functional models."""
