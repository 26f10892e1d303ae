"""Floor 6: one training loop. Pretraining, continued training and LoRA differ only in a recipe."""
