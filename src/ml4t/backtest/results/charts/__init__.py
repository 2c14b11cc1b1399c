"""Figures of a result: Plotly figures made of frames, and nothing read from anywhere else.

`style.py` says how all of them look, `downsample.py` how a long curve becomes a short one that
keeps its extremes, `series.py` what is drawn. Each figure carries in `layout.meta` a `note` (how
many points it shows of how many) and an `alt` (what it shows, in words).
"""
