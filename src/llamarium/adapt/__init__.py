"""Floor 4: replace modules of a model and put them back. LoRA and quantisation are the same act."""
