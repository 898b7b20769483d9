"""Figures of the book: arrays in, figure out. Nothing here knows a model."""
