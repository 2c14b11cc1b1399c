"""A live session: the steps of a run on what comes, with everything written down.

Above a run and what is live, below the engine, which opens one. Start reading in `session.py`.
"""
