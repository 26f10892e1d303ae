"""Floor 7: how good a model is, on one scale: bits per byte, beside compressors, and what its writing is worth."""
