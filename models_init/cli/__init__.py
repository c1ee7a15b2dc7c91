"""The program `models-init`: command line, settings, and one module for each action.

May import packages up to `output`. Only the modules of actions may import modules that a run with nothing to do does
not need.
"""
