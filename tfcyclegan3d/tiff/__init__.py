"""TIFF files: which dimension is which, what a voxel measures, whether all data is there, and writing them."""
