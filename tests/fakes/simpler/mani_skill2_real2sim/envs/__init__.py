"""Importing this registers the environments; the stand-in has them in gymnasium already."""
