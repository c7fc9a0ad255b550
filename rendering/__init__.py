"""The synthetic 3DShapes: scene, HDF5 file, comparison with real frames; for its command, reproduce and datasets."""
