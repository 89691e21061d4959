"""Modelyard: a self-hosted manager of Hugging Face transformer models."""

__version__ = "0.1.0"
