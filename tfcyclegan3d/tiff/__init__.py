"""TIFF files: what a voxel measures, whether all data is there, and writing them."""
