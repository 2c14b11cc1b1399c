/* Reading what the kernels are called with, and making what they return. */

#include "_kernels.h"

int
is_column(PyObject *object, int kind, npy_intp length)
{
    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "a column is a NumPy array, not %s", Py_TYPE(object)->tp_name);
        return 0;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_NDIM(array) != 1 || !PyArray_EquivTypenums(PyArray_TYPE(array), kind) ||
        !PyArray_ISCARRAY_RO(array)) {
        PyErr_SetString(PyExc_TypeError, "a column of another kind, or not contiguous");
        return 0;
    }
    if (length >= 0 && PyArray_DIM(array, 0) != length) {
        PyErr_Format(PyExc_ValueError, "a column of %zd rows, not %zd",
                     (Py_ssize_t)PyArray_DIM(array, 0), (Py_ssize_t)length);
        return 0;
    }
    return 1;
}

int
take_numbers(PyObject *object, npy_intp size, Numbers *out)
{
    if (!is_column(object, NPY_DOUBLE, size)) {
        return 0;
    }
    out->values = PyArray_DATA((PyArrayObject *)object);
    out->size = PyArray_DIM((PyArrayObject *)object, 0);
    return 1;
}

int
take_codes(PyObject *object, npy_intp size, const int64_t **out, npy_intp *count)
{
    if (!is_column(object, NPY_INT64, size)) {
        return 0;
    }
    *out = PyArray_DATA((PyArrayObject *)object);
    *count = PyArray_DIM((PyArrayObject *)object, 0);
    return 1;
}

int
take_number(PyObject *object, double *out)
{
    *out = PyFloat_AsDouble(object);
    return !(*out == -1.0 && PyErr_Occurred());
}

int
take_size(PyObject *object, Py_ssize_t *out)
{
    *out = PyNumber_AsSsize_t(object, PyExc_OverflowError);
    return !(*out == -1 && PyErr_Occurred());
}

/* Whether every code stands for an asset of columns of this size; sets an error when not. */
int
are_inside(const int64_t *codes, npy_intp count, npy_intp size)
{
    for (npy_intp i = 0; i < count; i++) {
        if (codes[i] < 0 || codes[i] >= size) {
            PyErr_Format(PyExc_IndexError, "code %lld of %zd assets", (long long)codes[i],
                         (Py_ssize_t)size);
            return 0;
        }
    }
    return 1;
}

int
has_arguments(const char *name, Py_ssize_t given, Py_ssize_t wanted)
{
    if (given != wanted) {
        PyErr_Format(PyExc_TypeError, "%s takes %zd arguments, not %zd", name, wanted, given);
        return 0;
    }
    return 1;
}

PyArrayObject *
new_column(int kind, npy_intp size)
{
    return (PyArrayObject *)PyArray_SimpleNew(1, &size, kind);
}
