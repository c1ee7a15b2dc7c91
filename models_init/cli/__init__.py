"""The program `models-init`: its command line, its settings, and one module for each action.

It may import packages up to `output`. Only its commands may import what a start with nothing to do does not need.
"""
