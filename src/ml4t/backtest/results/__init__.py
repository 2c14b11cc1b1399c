"""The library: what a run leaves behind, and how to read it.

A run hands over one `RunRecord` of columns; everything a reader sees (trades, metrics, summary,
explanations, files) is derived from it, on demand. May import `types` and `errors`; knows no
engine, broker or strategy. Start with `record.py`, then `result.py`; how a figure is defined
stands in `metrics.py`.
"""
