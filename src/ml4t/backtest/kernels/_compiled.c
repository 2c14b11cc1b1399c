/* The compiled forms of the kernels. What each means stands at its Python form. */

#define IMPORTS_NUMPY
#include "_kernels.h"

static int
execute(PyObject *module)
{
    PyObject *events = PyType_FromModuleAndSpec(module, &Events_spec, NULL);
    PyObject *lookup = PyType_FromModuleAndSpec(module, &Lookup_spec, NULL);
    PyObject *take = events == NULL ? NULL : PyObject_GetAttrString(events, "take");
    int failed = lookup == NULL || take == NULL ||
                 PyModule_AddObjectRef(module, "events", events) < 0 ||
                 PyModule_AddObjectRef(module, "lookup", lookup) < 0 ||
                 PyModule_AddObjectRef(module, "take", take) < 0 ||
                 PyModule_AddFunctions(module, holding_functions) < 0 ||
                 PyModule_AddFunctions(module, level_functions) < 0;
    Py_XDECREF(events);
    Py_XDECREF(lookup);
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
