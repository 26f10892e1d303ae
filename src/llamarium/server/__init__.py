"""The thin server: one model, one slot, one page, and the documents that questions are asked of."""
