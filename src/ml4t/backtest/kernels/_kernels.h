/* What the compiled kernels share. */

#ifndef ML4T_BACKTEST_KERNELS_H
#define ML4T_BACKTEST_KERNELS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL ml4t_backtest_kernels
#ifndef IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include <math.h>
#include <stdint.h>

/* Whether an object is held in one place only; never sure where threads run side by side. */
#ifdef Py_GIL_DISABLED
#define IS_ALONE(object) 0
#else
#define IS_ALONE(object) (Py_REFCNT(object) == 1)
#endif

extern PyType_Spec Events_spec, Lookup_spec;
extern PyMethodDef basket_functions[], holding_functions[], level_functions[];

#define FAST(name) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, NULL}

/* Those that return an int say whether all is well; when not, they have set an error. */

typedef struct {
    const double *values;
    npy_intp size;
} Numbers;

/* Whether an object is a plain column of this kind, and of this length unless that is -1. */
int is_column(PyObject *object, int kind, npy_intp length);

int take_numbers(PyObject *object, npy_intp size, Numbers *out);
int take_codes(PyObject *object, npy_intp size, const int64_t **out, npy_intp *count);
int take_number(PyObject *object, double *out);
int take_size(PyObject *object, Py_ssize_t *out);
int has_arguments(const char *name, Py_ssize_t given, Py_ssize_t wanted);

/* Whether every code stands for an asset of columns of this size. */
int are_inside(const int64_t *codes, npy_intp count, npy_intp size);

PyArrayObject *new_column(int kind, npy_intp size);

#endif
