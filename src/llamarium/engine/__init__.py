"""Floor 6: a model speaks. Knows no training: a checkpoint is the joint."""
