"""Floor 2: arithmetic. A plain reference of every operation, the kernels that must agree with it, and the block formats of weights."""
