"""Tests of every kind of source against one contract, and of each kind's own behavior."""
