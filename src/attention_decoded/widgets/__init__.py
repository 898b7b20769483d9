"""Widgets that a reader can move: their computation is in the browser, so they live on a page without a kernel.

One Python class, one JavaScript module (`js/`), one style sheet each; `dist/` holds the bundles that
`npm run build` makes of them. The same class works on the page, in JupyterLab and in Colab.
"""

from attention_decoded.widgets.attention_lab import AttentionLab
from attention_decoded.widgets.attention_map import AttentionMap, AttentionViews, show
from attention_decoded.widgets.scale_explorer import ScaleExplorer
from attention_decoded.widgets.space_map import SpaceMap
from attention_decoded.widgets.translator import Translator

__all__ = ["AttentionLab", "AttentionMap", "AttentionViews", "ScaleExplorer", "SpaceMap", "Translator", "show"]
