"""Floor 8: what people come for, each app by itself: ask · write · tasks · explain. Knows all floors below, no other app."""
