"""Questions answered with verbatim, verified quotes from one's own documents."""
