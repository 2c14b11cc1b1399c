# The compiled kernels, as type checkers see them: each as its Python form.
from ml4t.backtest.kernels.events import events

Events = events
