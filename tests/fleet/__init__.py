"""A simulation of many sites that install at the same time (`scripts/simulate-fleet`)."""
