/* When prices next reach a level at which somebody waits. What it means stands at its Python form.
 */

#include "_kernels.h"

typedef struct {
    Numbers high, low, below, above;
    const int32_t *codes;
    const int64_t *offsets;
    Py_ssize_t first, stop;
} Watched;

static int
take_watched(PyObject *const *args, Watched *watched)
{
    npy_intp count;
    if (!take_numbers(args[0], -1, &watched->high) ||
        !take_numbers(args[1], watched->high.size, &watched->low) ||
        !is_column(args[2], NPY_INT32, watched->high.size) ||
        !take_codes(args[3], -1, &watched->offsets, &count) ||
        !take_size(args[4], &watched->first) || !take_size(args[5], &watched->stop) ||
        !take_numbers(args[6], -1, &watched->below) ||
        !take_numbers(args[7], watched->below.size, &watched->above)) {
        return 0;
    }
    watched->codes = PyArray_DATA((PyArrayObject *)args[2]);
    if (watched->first < 0 || watched->first > watched->stop || watched->stop >= count) {
        PyErr_Format(PyExc_IndexError, "timestamps %zd to %zd of %zd", watched->first,
                     watched->stop, (Py_ssize_t)count - 1);
        return 0;
    }
    return 1;
}

/* Whether a bar reaches a level of its asset; -1, with an error set, where it has none. */
static inline int
is_reached(const Watched *watched, int64_t row)
{
    int32_t code = watched->codes[row];
    if (code < 0 || code >= watched->below.size) {
        PyErr_Format(PyExc_IndexError, "code %d of %zd assets", (int)code,
                     (Py_ssize_t)watched->below.size);
        return -1;
    }
    return watched->low.values[row] <= watched->below.values[code] ||
           watched->high.values[row] >= watched->above.values[code];
}

/* The codes of the bars that reach a level, from `row` on, which does. */
static PyObject *
codes_reached(const Watched *watched, int64_t row, int64_t end)
{
    PyObject *codes = PyList_New(0);
    for (; codes != NULL && row < end; row++) {
        int reaches = is_reached(watched, row);
        if (reaches == 0) {
            continue;
        }
        PyObject *code = reaches < 0 ? NULL : PyLong_FromLong(watched->codes[row]);
        if (code == NULL || PyList_Append(codes, code) < 0) {
            Py_CLEAR(codes);
        }
        Py_XDECREF(code);
    }
    return codes;
}

static PyObject *
reached(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Watched watched;
    if (!has_arguments("reached", count, 8) || !take_watched(args, &watched)) {
        return NULL;
    }
    for (Py_ssize_t at = watched.first; at < watched.stop; at++) {
        int64_t row = watched.offsets[at], end = watched.offsets[at + 1];
        if (row < 0 || end > watched.high.size) {
            PyErr_SetString(PyExc_IndexError, "a timestamp beyond the prices");
            return NULL;
        }
        for (; row < end; row++) {
            int reaches = is_reached(&watched, row);
            if (reaches < 0) {
                return NULL;
            }
            if (reaches) {
                PyObject *codes = codes_reached(&watched, row, end);
                return codes == NULL ? NULL : Py_BuildValue("nN", at, codes);
            }
        }
    }
    return Py_BuildValue("nN", watched.stop, PyList_New(0));
}

PyMethodDef level_functions[] = {
    FAST(reached),
    {NULL, NULL, 0, NULL},
};
