/* What was held through a stretch of time, in one pass over its bars.
 *
 * What each function means stands at its Python form; the values are the same to the bit.
 */

#include "_kernels.h"

typedef struct {
    Numbers prices, units, multiplier, after;
    const int64_t *rows, *columns;
    npy_intp count, steps, width;
} Changes;

/* Every change of a holding stands inside the matrix, and none comes before the one ahead of it. */
static int
are_in_order(const Changes *changes)
{
    int64_t before = 0;
    for (npy_intp k = 0; k < changes->count; k++) {
        int64_t row = changes->rows[k];
        if (row < before || row >= changes->steps) {
            PyErr_Format(PyExc_ValueError, "a change at %lld, after %lld of %zd timestamps",
                         (long long)row, (long long)before, (Py_ssize_t)changes->steps);
            return 0;
        }
        before = row;
    }
    return 1;
}

static int
count_rows(npy_intp size, npy_intp width, npy_intp *rows)
{
    if (width == 0 || size % width) {
        PyErr_SetString(PyExc_ValueError, "prices that are no whole number of rows");
        return 0;
    }
    *rows = size / width;
    return 1;
}

static int
take_changes(PyObject *const *args, Changes *changes)
{
    npy_intp count;
    if (!take_numbers(args[0], -1, &changes->prices) ||
        !take_numbers(args[1], -1, &changes->units) ||
        !take_numbers(args[2], changes->units.size, &changes->multiplier) ||
        !take_codes(args[3], -1, &changes->rows, &changes->count) ||
        !take_codes(args[4], changes->count, &changes->columns, &count) ||
        !take_numbers(args[5], changes->count, &changes->after)) {
        return 0;
    }
    changes->width = changes->units.size;
    return count_rows(changes->prices.size, changes->width, &changes->steps) &&
           are_inside(changes->columns, changes->count, changes->width) && are_in_order(changes);
}

static PyObject *
worth(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Changes changes;
    if (!has_arguments("worth", count, 6) || !take_changes(args, &changes)) {
        return NULL;
    }
    PyArrayObject *signed_value = new_column(NPY_DOUBLE, changes.steps),
                  *gross_value = new_column(NPY_DOUBLE, changes.steps),
                  *left = new_column(NPY_DOUBLE, changes.width);
    if (signed_value == NULL || gross_value == NULL || left == NULL) {
        Py_XDECREF(signed_value);
        Py_XDECREF(gross_value);
        Py_XDECREF(left);
        return NULL;
    }
    double *value = PyArray_DATA(signed_value), *gross = PyArray_DATA(gross_value);
    double *units = PyArray_DATA(left);
    memcpy(units, changes.units.values, (size_t)changes.width * sizeof(double));
    const double *prices = changes.prices.values, *multiplier = changes.multiplier.values;
    npy_intp next = 0;
    for (npy_intp t = 0; t < changes.steps; t++) {
        for (; next < changes.count && changes.rows[next] == t; next++) {
            units[changes.columns[next]] = changes.after.values[next];
        }
        double sum = 0.0, size = 0.0;
        for (npy_intp h = 0; h < changes.width; h++) {
            double one = units[h] == 0.0 ? 0.0 : units[h] * prices[h] * multiplier[h];
            sum = h ? sum + one : one;
            size = h ? size + fabs(one) : fabs(one);
        }
        value[t] = sum;
        gross[t] = size;
        prices += changes.width;
    }
    return Py_BuildValue("NNN", signed_value, gross_value, left);
}

static PyObject *
ranges(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Numbers high, low;
    const int64_t *columns, *first, *stop;
    npy_intp size, same;
    Py_ssize_t width;
    if (!has_arguments("ranges", count, 6) || !take_numbers(args[0], -1, &high) ||
        !take_numbers(args[1], high.size, &low) || !take_size(args[2], &width) ||
        !take_codes(args[3], -1, &columns, &size) || !take_codes(args[4], size, &first, &same) ||
        !take_codes(args[5], size, &stop, &same) || !are_inside(columns, size, width)) {
        return NULL;
    }
    npy_intp steps = width > 0 ? high.size / width : 0;
    PyArrayObject *highest = new_column(NPY_DOUBLE, size), *lowest = new_column(NPY_DOUBLE, size);
    if (highest == NULL || lowest == NULL) {
        Py_XDECREF(highest);
        Py_XDECREF(lowest);
        return NULL;
    }
    double *tops = PyArray_DATA(highest), *bottoms = PyArray_DATA(lowest);
    for (npy_intp i = 0; i < size; i++) {
        tops[i] = bottoms[i] = NAN;
        if (stop[i] <= first[i]) {
            continue;
        }
        if (first[i] < 0 || stop[i] > steps) {
            PyErr_SetString(PyExc_IndexError, "a stretch beyond the prices");
            Py_DECREF(highest);
            Py_DECREF(lowest);
            return NULL;
        }
        npy_intp at = first[i] * width + columns[i], end = stop[i] * width + columns[i];
        double top = high.values[at], bottom = low.values[at];
        for (at += width; at < end; at += width) { /* a NaN stays, as NumPy has it */
            double tall = high.values[at], deep = low.values[at];
            top = tall > top || isnan(tall) ? tall : top;
            bottom = deep < bottom || isnan(deep) ? deep : bottom;
        }
        tops[i] = top;
        bottoms[i] = bottom;
    }
    return Py_BuildValue("NN", highest, lowest);
}

/* How many prices of some rows are steep; where they stand, if that is wanted. */
static npy_intp
find_steep(Numbers prices, Numbers before, const int64_t *rows, npy_intp count, double times,
           int64_t *at, int64_t *columns)
{
    npy_intp found = 0, width = before.size;
    for (npy_intp k = 0; k < count; k++) {
        const double *now = prices.values + rows[k] * width;
        const double *earlier = rows[k] ? now - width : before.values;
        for (npy_intp h = 0; h < width; h++) {
            if (now[h] * times <= earlier[h] || now[h] >= earlier[h] * times) {
                if (at != NULL) {
                    at[found] = rows[k];
                    columns[found] = h;
                }
                found++;
            }
        }
    }
    return found;
}

static PyObject *
steep(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Numbers prices, before;
    const int64_t *rows;
    npy_intp size, steps;
    double times;
    if (!has_arguments("steep", count, 4) || !take_numbers(args[0], -1, &prices) ||
        !take_numbers(args[1], -1, &before) || !take_codes(args[2], -1, &rows, &size) ||
        !take_number(args[3], &times) || !count_rows(prices.size, before.size, &steps) ||
        !are_inside(rows, size, steps)) {
        return NULL;
    }
    npy_intp found = find_steep(prices, before, rows, size, times, NULL, NULL);
    PyArrayObject *at = new_column(NPY_INT64, found), *columns = new_column(NPY_INT64, found);
    if (at == NULL || columns == NULL) {
        Py_XDECREF(at);
        Py_XDECREF(columns);
        return NULL;
    }
    if (found) {
        find_steep(prices, before, rows, size, times, PyArray_DATA(at), PyArray_DATA(columns));
    }
    return Py_BuildValue("NN", at, columns);
}

PyMethodDef holding_functions[] = {
    FAST(steep),
    FAST(worth),
    FAST(ranges),
    {NULL, NULL, 0, NULL},
};
