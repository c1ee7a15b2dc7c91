"""Tests of models_init and models-pack, against real services and programs wherever the machine can run them."""
