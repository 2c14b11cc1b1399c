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

extern PyType_Spec Events_spec;
extern PyMethodDef basket_functions[];

/* Whether an object is a plain column of this kind, and of this length unless that is -1; sets an
 * error when not. */
int is_column(PyObject *object, int kind, npy_intp length);

#endif
