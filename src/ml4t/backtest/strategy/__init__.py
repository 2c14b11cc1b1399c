"""The study: what users write against.

`strategy.py` has the hooks and the helpers, `desk.py` carries out what a helper asks in a run,
`targets.py` is the arithmetic of weights and percentages, `schedule.py` the calendar rules. May
import `data`, `portfolio`, `broker`, `types`, `errors`; knows neither engine nor simulation.
"""
