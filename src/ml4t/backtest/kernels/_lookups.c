/* Numbers of assets by name; what a lookup means stands at its Python form. */

#include "_kernels.h"
#include <stddef.h>
#include <structmember.h>

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    PyObject *codes, *otherwise;
    PyObject *value_column, *unit_column; /* the latter may be None */
    Numbers values, units; /* as they were given: a column's shape can be set later */
} Lookup;

/* Where a name stands in the columns, -1 for one that does not; an error may be set then. */
static Py_ssize_t
find(Lookup *self, PyObject *name)
{
    PyObject *codes = Py_NewRef(self->codes); /* comparing names may run anything, `end` as well */
    PyObject *code = PyDict_GetItemWithError(codes, name);
    Py_ssize_t at = -1;
    if (code != NULL && PyLong_Check(code)) {
        at = PyLong_AsSsize_t(code);
        if (at == -1) {
            PyErr_Clear(); /* a number that is far too large */
        }
    }
    Py_DECREF(codes);
    return at < self->values.size ? at : -1;
}

static PyObject *
Lookup_call(Lookup *self, PyObject *const *args, size_t flags, PyObject *names)
{
    if (PyVectorcall_NARGS(flags) == 1 && names == NULL && self->codes != NULL) {
        Py_ssize_t at = find(self, args[0]);
        if (at >= 0) {
            int is_flat = self->units.values != NULL && self->units.values[at] == 0.0;
            return PyFloat_FromDouble(is_flat ? NAN : self->values.values[at]);
        }
        if (PyErr_Occurred()) {
            return NULL;
        }
    }
    return PyObject_Vectorcall(self->otherwise, args, flags, names);
}

static PyObject *
Lookup_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *codes, *value_column, *unit_column, *otherwise;
    Numbers values, units = {NULL, 0};
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "lookup takes no names");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!OOO:lookup", &PyDict_Type, &codes, &value_column, &unit_column,
                          &otherwise) ||
        !take_numbers(value_column, -1, &values) ||
        (unit_column != Py_None && !take_numbers(unit_column, values.size, &units))) {
        return NULL;
    }
    Lookup *self = (Lookup *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->call = (vectorcallfunc)Lookup_call;
        self->codes = Py_NewRef(codes);
        self->otherwise = Py_NewRef(otherwise);
        self->value_column = Py_NewRef(value_column);
        self->unit_column = Py_NewRef(unit_column);
        self->values = values;
        self->units = units;
    }
    return (PyObject *)self;
}

static PyObject *
Lookup_end(Lookup *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *codes = self->codes;
    self->codes = NULL;
    Py_XDECREF(codes);
    Py_RETURN_NONE;
}

static int
Lookup_traverse(Lookup *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->codes);
    Py_VISIT(self->otherwise);
    Py_VISIT(self->value_column);
    Py_VISIT(self->unit_column);
    return 0;
}

/* Part of a circle that nobody holds: by way of what is asked otherwise. The rest has to stay, as
 * somebody may still call. */
static int
Lookup_clear(Lookup *self)
{
    PyObject *otherwise = self->otherwise;
    self->otherwise = Py_NewRef(Py_None);
    Py_XDECREF(otherwise);
    return 0;
}

static void
Lookup_dealloc(Lookup *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->codes);
    Py_XDECREF(self->otherwise);
    Py_XDECREF(self->value_column);
    Py_XDECREF(self->unit_column);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef Lookup_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Lookup, call), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyObject *
Lookup_copy(PyObject *self, PyObject *Py_UNUSED(memo))
{
    return Py_NewRef(self);
}

static PyMethodDef Lookup_methods[] = {
    {"__copy__", Lookup_copy, METH_NOARGS, "Itself, as a function is."},
    {"__deepcopy__", Lookup_copy, METH_O, "Itself, as a function is."},
    {"end", (PyCFunction)Lookup_end, METH_NOARGS, "From now on only the other one is asked."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Lookup_slots[] = {
    {Py_tp_doc, "Takes a name and returns its number."},
    {Py_tp_new, Lookup_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_dealloc, Lookup_dealloc},
    {Py_tp_traverse, Lookup_traverse},
    {Py_tp_clear, Lookup_clear},
    {Py_tp_members, Lookup_members},
    {Py_tp_methods, Lookup_methods},
    {0, NULL},
};

PyType_Spec Lookup_spec = {
    .name = "ml4t.backtest.kernels._compiled.lookup",
    .basicsize = sizeof(Lookup),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Lookup_slots,
};
