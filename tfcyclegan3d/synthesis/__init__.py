"""Draw synthetic masks from a prior, and render them as a microscope would."""
