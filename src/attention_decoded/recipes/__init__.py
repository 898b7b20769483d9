"""One runnable module for each shipped checkpoint, e.g. `python -m attention_decoded.recipes.masked_lm`."""
