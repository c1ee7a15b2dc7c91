"""The promises of models_init, tested against real parts wherever they run."""
