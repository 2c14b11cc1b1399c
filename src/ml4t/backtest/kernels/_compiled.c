/* The compiled forms of the kernels. What each means stands at its Python form. */

#define IMPORTS_NUMPY
#include "_kernels.h"

int
is_column(PyObject *object, int kind, npy_intp length)
{
    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "a column is a NumPy array, not %s", Py_TYPE(object)->tp_name);
        return 0;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_NDIM(array) != 1 || !PyArray_EquivTypenums(PyArray_TYPE(array), kind) || !PyArray_ISCARRAY_RO(array)) {
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

static int
execute(PyObject *module)
{
    PyObject *events = PyType_FromModuleAndSpec(module, &Events_spec, NULL);
    if (events == NULL) {
        return -1;
    }
    PyObject *take = PyObject_GetAttrString(events, "take");
    int failed = take == NULL || PyModule_AddObjectRef(module, "events", events) < 0 ||
                 PyModule_AddObjectRef(module, "take", take) < 0;
    Py_DECREF(events);
    Py_XDECREF(take);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ml4t.backtest.kernels._compiled",
    .m_doc = "The compiled forms of the kernels.",
    .m_methods = basket_functions,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__compiled(void)
{
    import_array();
    return PyModuleDef_Init(&definition);
}
