"""The scenarios: each prepares servers and packs, runs the programs in turn, and saves their figures."""
