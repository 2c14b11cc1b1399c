"""The HTML page of a result: one file that needs nothing else.

`page.py` puts it together from sections, one module a group; `assets/` holds its style and its
script; `benchmark.py` finds what the run is measured against. Names from the data are escaped
wherever they are written: use `html.py` for all of it.
"""
