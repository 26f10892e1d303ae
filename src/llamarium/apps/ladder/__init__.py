"""The ladder: every model family of the story on one text and one scale, from counting words to LLaMA."""
