/* The arithmetic of baskets, in one pass over the columns instead of one a step.
 *
 * What each function means stands at its Python form. The operations on each number are those of
 * the Python form, in the same order, and sums go from left to right: the values are the same to
 * the bit.
 */

#include "_kernels.h"

static const double DUST = 1e-12, WHOLE = 1e-11; /* as in noise.py */

/* -- sums ------------------------------------------------------------------------------------- */

static PyObject *
total(PyObject *Py_UNUSED(module), PyObject *terms)
{
    PyArrayObject *column =
        (PyArrayObject *)PyArray_FROMANY(terms, NPY_DOUBLE, 1, 1, NPY_ARRAY_CARRAY_RO);
    if (column == NULL) {
        return NULL;
    }
    const double *values = PyArray_DATA(column);
    npy_intp size = PyArray_DIM(column, 0);
    double sum = size ? values[0] : 0.0;
    for (npy_intp i = 1; i < size; i++) {
        sum += values[i];
    }
    Py_DECREF(column);
    return PyFloat_FromDouble(sum);
}

static PyObject *
are_positive(PyObject *Py_UNUSED(module), PyObject *column)
{
    Numbers numbers;
    if (!take_numbers(column, -1, &numbers)) {
        return NULL;
    }
    for (npy_intp i = 0; i < numbers.size; i++) {
        if (!(numbers.values[i] > 0.0)) {
            Py_RETURN_FALSE;
        }
    }
    Py_RETURN_TRUE;
}

static PyObject *
held_value(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Numbers quantity, last, multiplier;
    if (!has_arguments("held_value", count, 3) || !take_numbers(args[0], -1, &quantity) ||
        !take_numbers(args[1], quantity.size, &last) ||
        !take_numbers(args[2], quantity.size, &multiplier)) {
        return NULL;
    }
    double sum = 0.0;
    int is_first = 1;
    for (npy_intp i = 0; i < quantity.size; i++) {
        if (quantity.values[i] != 0.0) {
            double value = quantity.values[i] * last.values[i] * multiplier.values[i];
            sum = is_first ? value : sum + value;
            is_first = 0;
        }
    }
    return PyFloat_FromDouble(sum);
}

/* -- the highest ------------------------------------------------------------------------------ */

typedef struct {
    double value;
    int64_t row;
} Placed;

/* Whether one comes behind another: lower, or as high and further back. */
static inline int
is_behind(Placed one, Placed other)
{
    return one.value < other.value || (one.value == other.value && one.row > other.row);
}

/* Let the first of a heap sink to its place; nobody is further behind than the first. */
static void
sink(Placed *heap, npy_intp size, npy_intp at)
{
    Placed moved = heap[at];
    for (;;) {
        npy_intp child = 2 * at + 1;
        if (child >= size) {
            break;
        }
        if (child + 1 < size && is_behind(heap[child + 1], heap[child])) {
            child++;
        }
        if (!is_behind(heap[child], moved)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* Fill `heap` with the n highest values, the lowest of them first; how many there are. */
static npy_intp
collect_highest(Numbers values, npy_intp n, Placed *heap)
{
    npy_intp size = 0;
    for (npy_intp i = 0; i < values.size; i++) {
        double value = values.values[i];
        if (isnan(value)) {
            continue;
        }
        Placed placed = {value, i};
        if (size < n) {
            heap[size++] = placed;
            if (size == n) {
                for (npy_intp at = n / 2; at-- > 0;) {
                    sink(heap, n, at);
                }
            }
        }
        else if (value > heap[0].value) { /* one as high comes behind: it stands further back */
            heap[0] = placed;
            sink(heap, n, 0);
        }
    }
    if (size < n) {
        for (npy_intp at = size / 2; at-- > 0;) {
            sink(heap, size, at);
        }
    }
    return size;
}

static PyObject *
top(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Numbers values;
    Py_ssize_t n;
    if (!has_arguments("top", count, 2) || !take_numbers(args[0], -1, &values) ||
        !take_size(args[1], &n)) {
        return NULL;
    }
    n = n < 0 ? 0 : n > values.size ? values.size : n;
    Placed *heap = PyMem_New(Placed, n ? n : 1);
    if (heap == NULL) {
        return PyErr_NoMemory();
    }
    npy_intp size = n ? collect_highest(values, n, heap) : 0;
    PyArrayObject *rows = new_column(NPY_INT64, size);
    if (rows != NULL) {
        int64_t *out = PyArray_DATA(rows);
        for (npy_intp left = size; left > 0; left--) { /* the lowest goes to the end */
            out[left - 1] = heap[0].row;
            heap[0] = heap[left - 1];
            sink(heap, left - 1, 0);
        }
    }
    PyMem_Free(heap);
    return (PyObject *)rows;
}

/* -- targets ---------------------------------------------------------------------------------- */

static PyObject *
weights_by_code(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t size, at = 0;
    PyObject *name, *weight;
    if (!has_arguments("weights_by_code", count, 3) || !take_size(args[2], &size)) {
        return NULL;
    }
    if (!PyDict_CheckExact(args[0]) || !PyDict_CheckExact(args[1]) || size < 0) {
        PyErr_SetString(PyExc_TypeError, "weights and codes are dicts, and sizes are not negative");
        return NULL;
    }
    npy_intp length = size;
    PyArrayObject *column = (PyArrayObject *)PyArray_ZEROS(1, &length, NPY_DOUBLE, 0);
    if (column == NULL) {
        return NULL;
    }
    double *out = PyArray_DATA(column), sum = 0.0;
    while (PyDict_Next(args[0], &at, &name, &weight)) {
        /* Plain words and numbers only: nothing in here may run code that changes the dicts. */
        if (!PyUnicode_CheckExact(name)) {
            PyErr_SetString(PyExc_TypeError, "a name that is no plain text");
            goto failed;
        }
        PyObject *code = PyDict_GetItemWithError(args[1], name);
        if (code == NULL) {
            if (!PyErr_Occurred()) {
                PyErr_SetObject(PyExc_KeyError, name);
            }
            goto failed;
        }
        Py_ssize_t place;
        double value;
        if (PyFloat_Check(weight)) {
            value = PyFloat_AS_DOUBLE(weight);
        }
        else if (PyLong_Check(weight)) {
            value = PyLong_AsDouble(weight);
            if (value == -1.0 && PyErr_Occurred()) {
                goto failed;
            }
        }
        else {
            PyErr_SetString(PyExc_TypeError, "a weight that is no plain number");
            goto failed;
        }
        if (!PyLong_Check(code)) {
            PyErr_SetString(PyExc_TypeError, "a code that is no whole number");
            goto failed;
        }
        if (!take_size(code, &place)) {
            goto failed;
        }
        if (place < 0 || place >= size) {
            PyErr_SetString(PyExc_IndexError, "a code beyond the column");
            goto failed;
        }
        out[place] = value;
        sum += fabs(value);
    }
    return Py_BuildValue("Nd", column, sum);
failed:
    Py_DECREF(column);
    return NULL;
}

static inline double
to_lots(double quantity, double lot)
{
    return lot > 0.0 ? trunc(quantity / lot * (1.0 + WHOLE)) * lot : quantity;
}

typedef struct {
    Numbers weights, quantity, last, multiplier, lots;
    double equity, least;
} Wish;

static int
take_wish(PyObject *const *args, Wish *wish)
{
    if (!take_numbers(args[0], -1, &wish->weights)) {
        return 0;
    }
    npy_intp size = wish->weights.size;
    return take_numbers(args[1], size, &wish->quantity) && take_numbers(args[2], size, &wish->last) &&
           take_numbers(args[3], size, &wish->multiplier) &&
           take_numbers(args[4], size, &wish->lots) && take_number(args[5], &wish->equity) &&
           take_number(args[6], &wish->least);
}

/* What to trade of one asset; NaN for one that has a weight and no price, and nothing to close. */
static double
change_of(const Wish *wish, npy_intp code, int *is_unpriced)
{
    double weight = wish->weights.values[code], held = wish->quantity.values[code];
    double price = wish->last.values[code], lot = wish->lots.values[code];
    *is_unpriced = weight != 0.0 && isnan(price);
    if (*is_unpriced) {
        weight = 0.0;
    }
    double value = price * wish->multiplier.values[code];
    double units = to_lots(weight * wish->equity / (weight == 0.0 ? 1.0 : value), lot);
    double change = units - held;
    if (fabs(change) <= WHOLE * (fabs(units) + fabs(held))) {
        change = 0.0;
    }
    change = units == 0.0 ? -held : to_lots(change, lot);
    if (wish->least != 0.0 && fabs(change) * (isnan(value) ? 0.0 : value) < wish->least) {
        change = 0.0;
    }
    return change;
}

static PyObject *
copy_columns(const int64_t *codes, const double *changes, npy_intp size, const int64_t *unpriced,
             npy_intp unpriced_count)
{
    PyArrayObject *traded = new_column(NPY_INT64, size), *units = new_column(NPY_DOUBLE, size),
                  *missing = new_column(NPY_INT64, unpriced_count);
    if (traded == NULL || units == NULL || missing == NULL) {
        Py_XDECREF(traded);
        Py_XDECREF(units);
        Py_XDECREF(missing);
        return NULL;
    }
    memcpy(PyArray_DATA(traded), codes, (size_t)size * sizeof(int64_t));
    memcpy(PyArray_DATA(units), changes, (size_t)size * sizeof(double));
    memcpy(PyArray_DATA(missing), unpriced, (size_t)unpriced_count * sizeof(int64_t));
    return Py_BuildValue("NNN", traded, units, missing);
}

static PyObject *
changes_to_weights(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Wish wish;
    if (!has_arguments("changes_to_weights", count, 7) || !take_wish(args, &wish)) {
        return NULL;
    }
    npy_intp size = wish.weights.size, exits = 0, entries = 0, unpriced_count = 0;
    /* Exits from the front, entries after them, and what has no price; three columns of codes. */
    int64_t *codes = PyMem_New(int64_t, 3 * size + 1);
    double *changes = PyMem_New(double, 2 * size + 1);
    if (codes == NULL || changes == NULL) {
        PyMem_Free(codes);
        PyMem_Free(changes);
        return PyErr_NoMemory();
    }
    int64_t *entry_codes = codes + size, *unpriced = codes + 2 * size;
    double *entry_changes = changes + size;
    for (npy_intp code = 0; code < size; code++) {
        double held = wish.quantity.values[code];
        if (wish.weights.values[code] == 0.0 && held == 0.0) {
            continue;
        }
        int is_unpriced;
        double change = change_of(&wish, code, &is_unpriced);
        if (is_unpriced) {
            unpriced[unpriced_count++] = code;
        }
        if (change == 0.0) {
            continue;
        }
        if (change * held < 0.0 && fabs(change) <= fabs(held)) {
            codes[exits] = code;
            changes[exits++] = change;
        }
        else {
            entry_codes[entries] = code;
            entry_changes[entries++] = change;
        }
    }
    memmove(codes + exits, entry_codes, (size_t)entries * sizeof(int64_t));
    memmove(changes + exits, entry_changes, (size_t)entries * sizeof(double));
    PyObject *result = copy_columns(codes, changes, exits + entries, unpriced, unpriced_count);
    PyMem_Free(codes);
    PyMem_Free(changes);
    return result;
}

/* -- fills ------------------------------------------------------------------------------------ */

static inline double
sign_of(double value)
{
    return value > 0.0 ? 1.0 : value < 0.0 ? -1.0 : value;
}

typedef struct {
    const int64_t *ids, *codes, *rows, *begins;
    npy_intp size, row_count;
    Numbers quantities, prices, held, multiplier;
    Py_ssize_t start, width;
    int64_t decided_at;
} Offered;

static int
take_offered(PyObject *const *args, Offered *offered)
{
    npy_intp count;
    if (!take_codes(args[0], -1, &offered->ids, &offered->size) ||
        !take_codes(args[1], offered->size, &offered->codes, &count) ||
        !take_numbers(args[2], offered->size, &offered->quantities) ||
        !take_size(args[4], &offered->start) || !take_size(args[5], &offered->width) ||
        !take_numbers(args[8], -1, &offered->prices) || !take_numbers(args[9], -1, &offered->held) ||
        !take_numbers(args[10], offered->held.size, &offered->multiplier)) {
        return 0;
    }
    offered->row_count = offered->prices.size;
    offered->rows = offered->begins = NULL;
    if (args[3] != Py_None && !take_codes(args[3], offered->size, &offered->rows, &count)) {
        return 0;
    }
    if (args[6] != Py_None && !take_codes(args[6], offered->row_count, &offered->begins, &count)) {
        return 0;
    }
    offered->decided_at = PyLong_AsLongLong(args[7]);
    if (offered->decided_at == -1 && PyErr_Occurred()) {
        return 0;
    }
    return are_inside(offered->codes, offered->size, offered->held.size);
}

/* The row in which an order can trade, -1 when it cannot, -2 when there is no such row. */
static npy_intp
row_of(const Offered *offered, npy_intp i)
{
    npy_intp row;
    if (offered->rows != NULL) {
        row = offered->rows[i];
    }
    else {
        row = offered->codes[i] < offered->width ? offered->start + offered->codes[i] : -1;
    }
    if (row >= offered->row_count) {
        return -2;
    }
    if (row >= 0 && offered->begins != NULL && offered->begins[row] < offered->decided_at) {
        return -1;
    }
    return row < 0 ? -1 : row;
}

enum { READY, IDS, CODES, QUANTITY, SIGN, SIZE, REFERENCE, MULTIPLIER, EXITS, LEFT, COLUMNS };

static void
put_match(const Offered *offered, PyArrayObject **columns, npy_intp at, npy_intp i, npy_intp row,
          double exits)
{
    double quantity = offered->quantities.values[i], sign = sign_of(quantity);
    int64_t code = offered->codes[i];
    ((int64_t *)PyArray_DATA(columns[READY]))[at] = i;
    ((int64_t *)PyArray_DATA(columns[IDS]))[at] = offered->ids[i];
    ((int64_t *)PyArray_DATA(columns[CODES]))[at] = code;
    double values[COLUMNS] = {
        [QUANTITY] = quantity,
        [SIGN] = sign,
        [SIZE] = fabs(quantity),
        [REFERENCE] = offered->prices.values[row],
        [MULTIPLIER] = offered->multiplier.values[code],
        [EXITS] = exits,
        [LEFT] = offered->held.values[code] + sign * exits,
    };
    for (int c = QUANTITY; c < COLUMNS; c++) {
        ((double *)PyArray_DATA(columns[c]))[at] = values[c];
    }
}

static double
exits_of(const Offered *offered, npy_intp i)
{
    double quantity = offered->quantities.values[i];
    double held = offered->held.values[offered->codes[i]];
    if (held * sign_of(quantity) < 0.0) {
        double size = fabs(quantity), most = fabs(held);
        return size < most ? size : most;
    }
    return 0.0;
}

/* Which orders can trade, and how many of them only close; -1 with an error set. */
static npy_intp
count_ready(const Offered *offered, npy_intp *closing)
{
    npy_intp ready = 0;
    *closing = 0;
    for (npy_intp i = 0; i < offered->size; i++) {
        npy_intp row = row_of(offered, i);
        if (row == -2) {
            PyErr_SetString(PyExc_IndexError, "a row beyond the prices");
            return -1;
        }
        if (row >= 0) {
            ready++;
            *closing += exits_of(offered, i) == fabs(offered->quantities.values[i]);
        }
    }
    return ready;
}

static PyObject *
match(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Offered offered;
    npy_intp closing;
    if (!has_arguments("match", count, 11) || !take_offered(args, &offered)) {
        return NULL;
    }
    npy_intp ready = count_ready(&offered, &closing);
    if (ready < 0) {
        return NULL;
    }
    PyObject *result = PyTuple_New(COLUMNS + 3);
    if (result == NULL) {
        return NULL;
    }
    PyArrayObject *columns[COLUMNS];
    for (int c = 0; c < COLUMNS; c++) {
        columns[c] = new_column(c < QUANTITY ? NPY_INT64 : NPY_DOUBLE, ready);
        if (columns[c] == NULL) {
            Py_DECREF(result);
            return NULL;
        }
        PyTuple_SET_ITEM(result, c, (PyObject *)columns[c]);
    }
    npy_intp exit_at = 0, entry_at = closing;
    int opens_short = 0, has_flips = 0;
    for (npy_intp i = 0; i < offered.size; i++) {
        npy_intp row = row_of(&offered, i);
        if (row < 0) {
            continue;
        }
        double exits = exits_of(&offered, i);
        if (exits == fabs(offered.quantities.values[i])) {
            put_match(&offered, columns, exit_at++, i, row, exits);
            continue;
        }
        put_match(&offered, columns, entry_at++, i, row, exits);
        opens_short |= offered.quantities.values[i] < 0.0;
        has_flips |= exits > 0.0;
    }
    PyTuple_SET_ITEM(result, COLUMNS, PyLong_FromSsize_t(closing));
    PyTuple_SET_ITEM(result, COLUMNS + 1, PyBool_FromLong(opens_short));
    PyTuple_SET_ITEM(result, COLUMNS + 2, PyBool_FromLong(has_flips));
    if (PyErr_Occurred()) { /* no memory for a small number */
        Py_CLEAR(result);
    }
    return result;
}

static PyObject *
pay_exits(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    double cash, sales = 0.0;
    Py_ssize_t closing;
    Numbers columns[5]; /* sign, size, price, multiplier, commission */
    if (!has_arguments("pay_exits", count, 7) || !take_number(args[0], &cash)) {
        return NULL;
    }
    for (int c = 0; c < 5; c++) {
        if (!take_numbers(args[1 + c], c ? columns[0].size : -1, &columns[c])) {
            return NULL;
        }
    }
    if (!take_size(args[6], &closing)) {
        return NULL;
    }
    int is_first = 1;
    for (npy_intp i = 0; i < closing && i < columns[0].size; i++) {
        double flow = columns[0].values[i] * columns[1].values[i] * columns[2].values[i] *
                          columns[3].values[i] +
                      columns[4].values[i];
        cash -= flow;
        if (columns[0].values[i] < 0.0) {
            sales = is_first ? flow : sales + flow;
            is_first = 0;
        }
    }
    return Py_BuildValue("dd", cash, -sales);
}

static PyObject *
needs(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Numbers columns[6], initials = {NULL, 0}; /* sign, entry, price, reference, multiplier, charge */
    double initial = 0.0, sum = 0.0;
    if (!has_arguments("needs", count, 7)) {
        return NULL;
    }
    for (int c = 0; c < 6; c++) {
        if (!take_numbers(args[c], c ? columns[0].size : -1, &columns[c])) {
            return NULL;
        }
    }
    int has_column = PyArray_Check(args[6]);
    if (has_column ? !take_numbers(args[6], columns[0].size, &initials)
                   : !take_number(args[6], &initial)) {
        return NULL;
    }
    for (npy_intp i = 0; i < columns[0].size; i++) {
        double price = columns[2].values[i], reference = columns[3].values[i];
        double borrowed = (1.0 - (has_column ? initials.values[i] : initial)) * reference;
        double paid = columns[0].values[i] > 0.0 ? price : 2.0 * reference - price;
        double need = columns[1].values[i] * ((paid - borrowed) * columns[4].values[i]) +
                      columns[5].values[i];
        sum = i ? sum + need : need;
    }
    return PyFloat_FromDouble(sum);
}

static PyObject *
slippages(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Numbers columns[5]; /* sign, price, reference, size, multiplier */
    if (!has_arguments("slippages", count, 5)) {
        return NULL;
    }
    for (int c = 0; c < 5; c++) {
        if (!take_numbers(args[c], c ? columns[0].size : -1, &columns[c])) {
            return NULL;
        }
    }
    PyArrayObject *result = new_column(NPY_DOUBLE, columns[0].size);
    if (result == NULL) {
        return NULL;
    }
    double *out = PyArray_DATA(result);
    for (npy_intp i = 0; i < columns[0].size; i++) {
        out[i] = columns[0].values[i] * (columns[1].values[i] - columns[2].values[i]) *
                 columns[3].values[i] * columns[4].values[i];
    }
    return (PyObject *)result;
}

static double
entry_after(double before, double entry, double signed_units, double after, double price)
{
    if (after == 0.0) {
        return 0.0;
    }
    if (before == 0.0 || before * after < 0.0) {
        return price;
    }
    if (fabs(after) < fabs(before)) {
        return entry;
    }
    return (entry * fabs(before) + price * fabs(signed_units)) /
           (fabs(before) + fabs(signed_units));
}

static PyObject *
book(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    const int64_t *codes;
    npy_intp size;
    Numbers units, price, commission, quantity, entry, multiplier;
    double cash;
    if (!has_arguments("book", count, 8) || !take_codes(args[0], -1, &codes, &size) ||
        !take_numbers(args[1], size, &units) || !take_numbers(args[2], size, &price) ||
        !take_numbers(args[3], size, &commission) || !take_numbers(args[4], -1, &quantity) ||
        !take_numbers(args[5], quantity.size, &entry) ||
        !take_numbers(args[6], quantity.size, &multiplier) || !take_number(args[7], &cash) ||
        !are_inside(codes, size, quantity.size)) {
        return NULL;
    }
    if (!PyArray_ISWRITEABLE((PyArrayObject *)args[4]) ||
        !PyArray_ISWRITEABLE((PyArrayObject *)args[5])) {
        PyErr_SetString(PyExc_ValueError, "positions that are read-only");
        return NULL;
    }
    PyArrayObject *result = new_column(NPY_DOUBLE, size);
    if (result == NULL) {
        return NULL;
    }
    double *out = PyArray_DATA(result);
    double *held = PyArray_DATA((PyArrayObject *)args[4]);
    double *entries = PyArray_DATA((PyArrayObject *)args[5]);
    long shorts = 0;
    for (npy_intp i = 0; i < size; i++) {
        int64_t code = codes[i];
        double before = held[code], change = units.values[i], after = before + change;
        if (fabs(after) <= DUST * (fabs(before) + fabs(change))) {
            after = 0.0;
        }
        entries[code] = entry_after(before, entries[code], change, after, price.values[i]);
        held[code] = out[i] = after;
        shorts += (after < 0.0) - (before < 0.0);
        cash -= change * price.values[i] * multiplier.values[code] + commission.values[i];
    }
    return Py_BuildValue("Ndl", result, cash, shorts);
}

PyMethodDef basket_functions[] = {
    {"total", total, METH_O, NULL},
    {"are_positive", are_positive, METH_O, NULL},
    FAST(held_value),
    FAST(top),
    FAST(weights_by_code),
    FAST(changes_to_weights),
    FAST(match),
    FAST(pay_exits),
    FAST(needs),
    FAST(slippages),
    FAST(book),
    {NULL, NULL, 0, NULL},
};
