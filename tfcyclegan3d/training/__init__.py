"""Train networks: one step file per method, one loop for all."""
