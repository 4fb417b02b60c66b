"""The small, tested package behind the course notebooks. Import the module you need: `from vae_helpers import losses`."""

__version__ = "1.0.0"
