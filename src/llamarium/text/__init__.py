"""Floor 1: bytes to clean documents. Knows files and languages, nothing of tokens or models."""
