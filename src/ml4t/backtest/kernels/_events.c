/* Rows of columns as events, each made when the iterator reaches it.
 *
 * Making an object a row, with seven values and a dict, costs more than most strategies spend on
 * it. A strategy that looks at an event and lets it go leaves an object that nobody else holds;
 * it is filled anew for the row after the next. What anybody still holds is never touched: the
 * event, its dict and every number in them are reused only while their reference count says that
 * they are held here alone. `zip` reuses its tuple by the same rule. Two events take turns,
 * because a loop still holds the one before while it asks for the next.
 */

#include "_kernels.h"

#include <structmember.h>

enum { TIMESTAMP, ASSET_ID, OPEN, HIGH, LOW, CLOSE, VOLUME, SIGNALS, FIELDS };
enum { PRICES = 5, TURNS = 2, MOST_BITS = 64 };

static const char *const FIELD_NAMES[FIELDS] = {
    "timestamp", "asset_id", "open", "high", "low", "close", "volume", "signals"};

typedef struct {
    PyArrayObject *values;
    const double *numbers; /* NULL for a column of objects */
    PyObject *const *objects;
} Signal;

typedef struct {
    PyObject *event;  /* handed out the time before last, or NULL */
    uint64_t present; /* which signals its dict was given */
} Turn;

typedef struct {
    PyObject_HEAD
    PyTypeObject *type;
    Py_ssize_t places[FIELDS]; /* of the fields in the object */
    PyObject *stamps;          /* tuple, by timestamp from the first one asked for */
    PyObject *ids;             /* tuple, by code */
    PyObject *names;           /* tuple, of the signals */
    PyArrayObject *offsets;    /* int64: rows of each timestamp */
    PyArrayObject *codes;      /* int32, by row */
    PyArrayObject *prices[PRICES];
    Signal *signals;
    Py_ssize_t signal_count;
    int is_complete; /* no signal of any row is absent */
    Py_ssize_t first, index;    /* timestamps */
    Py_ssize_t row, pause, stop; /* rows: the next, where to pause, and the end */
    int turn;
    Turn turns[TURNS];
} Events;

static int
find_places(Events *self)
{
    for (int i = 0; i < FIELDS; i++) {
        PyObject *found = PyObject_GetAttrString((PyObject *)self->type, FIELD_NAMES[i]);
        if (found == NULL) {
            return -1;
        }
        PyMemberDef *member = Py_TYPE(found) == &PyMemberDescr_Type
                                  ? ((PyMemberDescrObject *)found)->d_member
                                  : NULL;
        Py_DECREF(found);
        if (member == NULL || (member->type != T_OBJECT_EX && member->type != T_OBJECT)) {
            PyErr_Format(PyExc_TypeError, "%s of %s is no slot", FIELD_NAMES[i],
                         self->type->tp_name);
            return -1;
        }
        self->places[i] = member->offset;
    }
    return 0;
}

static int
take_signals(Events *self, PyObject *columns, npy_intp rows)
{
    Py_ssize_t n = PyTuple_GET_SIZE(columns);
    if (n != PyTuple_GET_SIZE(self->names)) {
        PyErr_SetString(PyExc_ValueError, "one column a name");
        return -1;
    }
    self->signals = PyMem_Calloc((size_t)(n ? n : 1), sizeof(Signal));
    if (self->signals == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *column = PyTuple_GET_ITEM(columns, i);
        int is_object = PyArray_Check(column) && PyArray_TYPE((PyArrayObject *)column) == NPY_OBJECT;
        if (!is_column(column, is_object ? NPY_OBJECT : NPY_DOUBLE, rows)) {
            return -1;
        }
        Signal *signal = &self->signals[i];
        signal->values = (PyArrayObject *)Py_NewRef(column);
        self->signal_count = i + 1;
        if (is_object) {
            signal->objects = PyArray_DATA(signal->values);
        }
        else {
            signal->numbers = PyArray_DATA(signal->values);
        }
    }
    return 0;
}

/* As `is_absent` says, negated; -1 with an error where an object cannot be compared. */
static int
is_present(const Signal *signal, Py_ssize_t row)
{
    if (signal->numbers != NULL) {
        return !isnan(signal->numbers[row]);
    }
    PyObject *value = signal->objects[row];
    if (value == NULL || value == Py_None) {
        return 0;
    }
    if (PyFloat_Check(value)) {
        return !isnan(PyFloat_AS_DOUBLE(value));
    }
    if (PyUnicode_CheckExact(value) || PyBool_Check(value) || PyDict_CheckExact(value)) {
        return 1;
    }
    Py_INCREF(value); /* other kinds have NaN, too; comparing may run code */
    PyObject *same = PyObject_RichCompare(value, value, Py_EQ);
    Py_DECREF(value);
    int is_same = same == NULL ? -1 : PyObject_IsTrue(same);
    Py_XDECREF(same);
    return is_same;
}

/* The signals that a row has, as bits; without meaning where there are more than bits. */
static int
find_present(const Events *self, Py_ssize_t row, uint64_t *present)
{
    *present = self->is_complete ? ~(uint64_t)0 : 0;
    for (Py_ssize_t i = 0; !self->is_complete && i < self->signal_count && i < MOST_BITS; i++) {
        int is_there = is_present(&self->signals[i], row);
        if (is_there < 0) {
            return -1;
        }
        *present |= (uint64_t)is_there << i;
    }
    return 0;
}

static PyObject *
signal_value(const Signal *signal, Py_ssize_t row)
{
    if (signal->numbers != NULL) {
        return PyFloat_FromDouble(signal->numbers[row]);
    }
    PyObject *value = signal->objects[row];
    return Py_NewRef(value == NULL ? Py_None : value);
}

static int
put_signal(const Events *self, PyObject *dict, Py_ssize_t i, Py_ssize_t row)
{
    PyObject *value = signal_value(&self->signals[i], row);
    if (value == NULL) {
        return -1;
    }
    int failed = PyDict_SetItem(dict, PyTuple_GET_ITEM(self->names, i), value);
    Py_DECREF(value);
    return failed;
}

static PyObject *
new_signals(const Events *self, Py_ssize_t row)
{
    PyObject *dict = PyDict_New();
    if (dict == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < self->signal_count; i++) {
        int is_wanted = self->is_complete ? 1 : is_present(&self->signals[i], row);
        if (is_wanted < 0 || (is_wanted && put_signal(self, dict, i, row) < 0)) {
            Py_DECREF(dict);
            return NULL;
        }
    }
    return dict;
}

/* Give a dict the values of another row: 1 when done, 0 when it has not just the same names in
 * the same order. Names are compared as objects: no code of theirs is run. */
static int
refill_signals(const Events *self, PyObject *dict, Py_ssize_t row, uint64_t present)
{
    Py_ssize_t at = 0;
    PyObject *name, *held;
    for (Py_ssize_t i = 0; i < self->signal_count; i++) {
        if (!(present >> i & 1)) {
            continue;
        }
        if (!PyDict_Next(dict, &at, &name, &held) || name != PyTuple_GET_ITEM(self->names, i)) {
            return 0;
        }
        const double *numbers = self->signals[i].numbers;
        if (numbers != NULL && PyFloat_CheckExact(held) && IS_ALONE(held)) {
            ((PyFloatObject *)held)->ob_fval = numbers[row];
        }
        else if (put_signal(self, dict, i, row) < 0) {
            return -1;
        }
    }
    return !PyDict_Next(dict, &at, &name, &held);
}

static inline PyObject **
field_of(const Events *self, PyObject *event, int field)
{
    return (PyObject **)((char *)event + self->places[field]);
}

static inline void
put(PyObject **field, PyObject *value) /* takes the reference */
{
    PyObject *old = *field;
    *field = value;
    Py_XDECREF(old);
}

static inline double
price_at(const Events *self, int price, Py_ssize_t row)
{
    return ((const double *)PyArray_DATA(self->prices[price]))[row];
}

/* Fill an event that only the caller holds. What it held may run code as it goes, and that may ask
 * for further events. */
static int
refill(const Events *self, PyObject *event, Py_ssize_t row, PyObject *asset_id, PyObject *stamp,
       uint64_t before, uint64_t present)
{
    PyObject **field = field_of(self, event, TIMESTAMP);
    if (*field != stamp) {
        put(field, Py_NewRef(stamp));
    }
    put(field_of(self, event, ASSET_ID), Py_NewRef(asset_id));
    for (int i = 0; i < PRICES; i++) {
        double value = price_at(self, i, row);
        field = field_of(self, event, OPEN + i);
        PyObject *held = *field;
        if (held != NULL && PyFloat_CheckExact(held) && IS_ALONE(held)) {
            ((PyFloatObject *)held)->ob_fval = value;
            continue;
        }
        PyObject *number = PyFloat_FromDouble(value);
        if (number == NULL) {
            return -1;
        }
        put(field, number);
    }
    field = field_of(self, event, SIGNALS);
    PyObject *dict = *field;
    int done = 0;
    if (dict != NULL && PyDict_CheckExact(dict) && IS_ALONE(dict) && before == present &&
        self->signal_count <= MOST_BITS) {
        done = refill_signals(self, dict, row, present);
    }
    if (done == 0) {
        dict = new_signals(self, row);
        if (dict == NULL) {
            return -1;
        }
        put(field, dict);
    }
    return done < 0 ? -1 : 0;
}

static PyObject *
new_event(const Events *self, Py_ssize_t row, PyObject *asset_id, PyObject *stamp)
{
    PyObject *values[FIELDS] = {stamp, asset_id};
    PyObject *event = NULL;
    for (int i = 0; i < PRICES; i++) {
        values[OPEN + i] = PyFloat_FromDouble(price_at(self, i, row));
        if (values[OPEN + i] == NULL) {
            goto done;
        }
    }
    values[SIGNALS] = new_signals(self, row);
    if (values[SIGNALS] != NULL) {
        event = PyObject_Vectorcall((PyObject *)self->type, values, FIELDS, NULL);
    }
    if (event != NULL && Py_TYPE(event) != self->type) { /* fields would be elsewhere */
        PyErr_Format(PyExc_TypeError, "%s makes objects of another class", self->type->tp_name);
        Py_CLEAR(event);
    }
done:
    for (int i = OPEN; i < FIELDS; i++) {
        Py_XDECREF(values[i]);
    }
    return event;
}

static PyObject *
Events_next(Events *self)
{
    const int64_t *offsets = PyArray_DATA(self->offsets);
    if (self->row >= self->pause) {
        return NULL;
    }
    Py_ssize_t row = self->row++;
    Py_ssize_t last = self->first + PyTuple_GET_SIZE(self->stamps) - 1;
    while (self->index < last && row >= offsets[self->index + 1]) {
        self->index++;
    }
    PyObject *stamp = PyTuple_GET_ITEM(self->stamps, self->index - self->first);
    int32_t code = ((const int32_t *)PyArray_DATA(self->codes))[row];
    if (code < 0 || code >= PyTuple_GET_SIZE(self->ids)) { /* written over since the check */
        PyErr_SetString(PyExc_IndexError, "a code without a name");
        return NULL;
    }
    PyObject *asset_id = PyTuple_GET_ITEM(self->ids, code);
    uint64_t present;
    if (find_present(self, row, &present) < 0) {
        return NULL;
    }
    self->turn = (self->turn + 1) % TURNS;
    Turn *turn = &self->turns[self->turn];
    PyObject *event = turn->event;
    turn->event = NULL; /* nobody else is to fill it meanwhile */
    if (event != NULL && IS_ALONE(event)) {
        if (refill(self, event, row, asset_id, stamp, turn->present, present) < 0) {
            Py_CLEAR(event);
        }
    }
    else {
        Py_XDECREF(event);
        event = new_event(self, row, asset_id, stamp);
    }
    if (event != NULL) {
        turn->present = present;
        Py_XSETREF(turn->event, Py_NewRef(event));
    }
    return event;
}

static int
Events_traverse(Events *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->type);
    Py_VISIT(self->stamps);
    Py_VISIT(self->ids);
    Py_VISIT(self->names);
    for (Py_ssize_t i = 0; i < self->signal_count; i++) {
        Py_VISIT(self->signals[i].values);
    }
    for (int i = 0; i < TURNS; i++) {
        Py_VISIT(self->turns[i].event);
    }
    return 0;
}

static int
Events_clear(Events *self)
{
    self->stop = self->pause = 0; /* there is nothing to read any more */
    Py_CLEAR(self->type);
    Py_CLEAR(self->stamps);
    Py_CLEAR(self->ids);
    Py_CLEAR(self->names);
    Py_CLEAR(self->offsets);
    Py_CLEAR(self->codes);
    for (int i = 0; i < PRICES; i++) {
        Py_CLEAR(self->prices[i]);
    }
    for (Py_ssize_t i = 0; i < self->signal_count; i++) {
        Py_CLEAR(self->signals[i].values);
    }
    self->signal_count = 0;
    for (int i = 0; i < TURNS; i++) {
        Py_CLEAR(self->turns[i].event);
    }
    return 0;
}

static void
Events_dealloc(Events *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Events_clear(self);
    PyMem_Free(self->signals);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* Whether the numbers that rows are looked up by stay inside what they point at. */
static int
check_rows(const Events *self, Py_ssize_t stamps, Py_ssize_t start, Py_ssize_t stop)
{
    npy_intp times = PyArray_DIM(self->offsets, 0) - 1, rows = PyArray_DIM(self->codes, 0);
    const int64_t *offsets = PyArray_DATA(self->offsets);
    const int32_t *codes = PyArray_DATA(self->codes);
    int is_right = times >= 0 && stamps == times && offsets[0] == 0 &&
                   offsets[times] == rows && 0 <= start && start <= stop && stop <= times;
    for (npy_intp i = 0; is_right && i < times; i++) {
        is_right = offsets[i] <= offsets[i + 1];
    }
    for (npy_intp row = is_right ? offsets[start] : 0; is_right && row < offsets[stop]; row++) {
        is_right = codes[row] >= 0 && codes[row] < PyTuple_GET_SIZE(self->ids);
    }
    if (!is_right) {
        PyErr_SetString(PyExc_ValueError, "timestamps, rows and codes do not go together");
    }
    return is_right ? 0 : -1;
}

static PyObject *
Events_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *words[] = {"", "stamps", "ids", "offsets", "codes", "prices", "names",
                            "columns", "is_complete", "start", "stop", NULL};
    PyTypeObject *kind;
    PyObject *stamps, *ids, *offsets, *codes, *prices, *names, *columns;
    int is_complete;
    Py_ssize_t start, stop;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!$O!O!OOO!O!O!pnn", words, &PyType_Type, &kind,
                                     &PyList_Type, &stamps, &PyList_Type, &ids, &offsets, &codes,
                                     &PyTuple_Type, &prices, &PyTuple_Type, &names, &PyTuple_Type,
                                     &columns, &is_complete, &start, &stop)) {
        return NULL;
    }
    if (!is_column(offsets, NPY_INT64, -1) || !is_column(codes, NPY_INT32, -1)) {
        return NULL;
    }
    npy_intp rows = PyArray_DIM((PyArrayObject *)codes, 0);
    if (PyTuple_GET_SIZE(prices) != PRICES) {
        PyErr_SetString(PyExc_ValueError, "prices are open, high, low, close and volume");
        return NULL;
    }
    for (int i = 0; i < PRICES; i++) {
        if (!is_column(PyTuple_GET_ITEM(prices, i), NPY_DOUBLE, rows)) {
            return NULL;
        }
    }
    Events *self = (Events *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->type = (PyTypeObject *)Py_NewRef(kind);
    PyObject *part = PyList_GetSlice(stamps, start, stop);
    self->stamps = part == NULL ? NULL : PyList_AsTuple(part);
    Py_XDECREF(part);
    self->ids = PyList_AsTuple(ids);
    self->names = Py_NewRef(names);
    self->offsets = (PyArrayObject *)Py_NewRef(offsets);
    self->codes = (PyArrayObject *)Py_NewRef(codes);
    for (int i = 0; i < PRICES; i++) {
        self->prices[i] = (PyArrayObject *)Py_NewRef(PyTuple_GET_ITEM(prices, i));
    }
    self->is_complete = is_complete;
    if (self->stamps == NULL || self->ids == NULL || find_places(self) < 0 ||
        take_signals(self, columns, rows) < 0 ||
        check_rows(self, PyList_GET_SIZE(stamps), start, stop) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    const int64_t *first = PyArray_DATA(self->offsets);
    self->first = self->index = start;
    self->row = first[start];
    self->stop = self->pause = first[stop];
    return (PyObject *)self;
}

static PyObject *
Events_take(Events *self, PyObject *rows)
{
    Py_ssize_t n = PyNumber_AsSsize_t(rows, PyExc_OverflowError);
    if (n == -1 && PyErr_Occurred()) {
        return NULL;
    }
    Py_ssize_t left = self->stop - self->row;
    self->pause = self->row + (n < 0 ? 0 : n < left ? n : left);
    return Py_NewRef((PyObject *)self);
}

static PyMethodDef Events_methods[] = {
    {"take", (PyCFunction)Events_take, METH_O,
     "The next rows, so many of them; the iterator goes on behind them when it is asked again."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Events_slots[] = {
    {Py_tp_doc, "Rows of columns as events, each made when the iterator reaches it."},
    {Py_tp_new, Events_new},
    {Py_tp_dealloc, Events_dealloc},
    {Py_tp_traverse, Events_traverse},
    {Py_tp_clear, Events_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, Events_next},
    {Py_tp_methods, Events_methods},
    {0, NULL},
};

PyType_Spec Events_spec = {
    .name = "ml4t.backtest.kernels._compiled.events",
    .basicsize = sizeof(Events),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = Events_slots,
};
