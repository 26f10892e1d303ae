"""Speed beside a peer: ratios of medians in one interleaved run. Never a test."""
