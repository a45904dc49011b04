"""How good the rankings are: every set at hand, every mode, and what was tried."""
