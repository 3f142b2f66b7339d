"""OME-Zarr folders and plain zarr arrays: what they hold, reading and writing them chunk by chunk, their pyramid."""
