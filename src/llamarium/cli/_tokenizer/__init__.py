"""What the verbs of ``llamarium tokenizer`` share."""
