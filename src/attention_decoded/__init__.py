"""Attention, Decoded: the small, tested package behind the book of the same name.

Importing it does nothing but define this docstring and the version: no seed, no download, no
warning filter. Import what a chapter teaches by its name, e.g.
`from attention_decoded.attention import attend`.
"""

__version__ = "0.1.0"
