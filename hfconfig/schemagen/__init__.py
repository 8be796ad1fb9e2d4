"""Writes hfconfig's schema files by tracing the model classes of transformers."""
