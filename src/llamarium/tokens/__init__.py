"""Floor 1: documents <-> ids. Tokenizers, conversations, token shards and packing. Knows no models."""
