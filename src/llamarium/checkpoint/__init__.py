"""Floor 5: what lies on disk. Run folders, Hugging Face folders, GGUF, and the catalogue of models one can pull by name."""
