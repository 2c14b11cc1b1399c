# The compiled kernels, as type checkers see them: each as its Python form.
from ml4t.backtest.kernels.baskets import are_positive as are_positive
from ml4t.backtest.kernels.baskets import book as book
from ml4t.backtest.kernels.baskets import changes_to_weights as changes_to_weights
from ml4t.backtest.kernels.baskets import held_value as held_value
from ml4t.backtest.kernels.baskets import match as match
from ml4t.backtest.kernels.baskets import needs as needs
from ml4t.backtest.kernels.baskets import pay_exits as pay_exits
from ml4t.backtest.kernels.baskets import slippages as slippages
from ml4t.backtest.kernels.baskets import top as top
from ml4t.backtest.kernels.baskets import weights_by_code as weights_by_code
from ml4t.backtest.kernels.events import events as events
from ml4t.backtest.kernels.events import take as take
from ml4t.backtest.kernels.holdings import ranges as ranges
from ml4t.backtest.kernels.holdings import steep as steep
from ml4t.backtest.kernels.holdings import worth as worth
from ml4t.backtest.kernels.lookups import lookup as lookup
from ml4t.backtest.kernels.sums import total as total
