#include "voc_event.h"

#include <stdlib.h>

#define NAME_SHOWN 64 /* bytes of a name that is not the catalogue's */

#define PAIRS_FEW 24 /* more than VOC's events have */

/* What is read, and its fields: the catalogue's by slot, others in a row. */
typedef struct {
    const voc_catalogue_t *catalogue;
    const voc_memory_t *memory;
    voc_str_t query;
    voc_str_t body;
    uint64_t seen;           /* bit per slot */
    const voc_pair_t *twice; /* the first of the catalogue's names, or NULL */
    voc_pair_t *others;      /* NULL: no room made yet */
    unsigned nothers;
    voc_pair_t few[PAIRS_FEW];                    /* the first ones */
    const voc_pair_t *known[VOC_FIELD_NAMES_MAX]; /* where seen has the bit */
} fields_t;

#define BIT(slot) ((uint64_t)1 << (slot))

_Static_assert(VOC_FIELD_NAMES_MAX <= 64, "fields_t.seen has a bit for each");

static VOC_RARE voc_event_rc
reject(voc_problem_t *problem, voc_reason_e reason)
{
    *problem = voc_problem(reason);
    return VOC_EVENT_REJECTED;
}

/* An unknown name is cut to NAME_SHOWN bytes, between characters. */
static VOC_RARE voc_event_rc
reject_name(const voc_catalogue_t *catalogue, voc_problem_t *problem,
            voc_reason_e reason, voc_str_t name)
{
    *problem = voc_problem(reason);
    problem->field = name;
    problem->field_known = voc_catalogue_slot(catalogue, name) >= 0;

    if (!problem->field_known && name.len > NAME_SHOWN) {
        name.len = NAME_SHOWN;
        while ((name.data[name.len] & 0xc0) == 0x80) {
            name.len--;
        }
        problem->field.len = name.len;
    }

    return VOC_EVENT_REJECTED;
}

static VOC_RARE voc_event_rc
reject_field(voc_problem_t *problem, voc_reason_e reason,
             const voc_field_t *field)
{
    *problem = voc_problem(reason);
    problem->field = field->name;
    problem->field_known = 1;

    if (reason == VOC_INVALID_FIELD) {
        problem->detail = voc_catalogue_expected(field);
    }

    return VOC_EVENT_REJECTED;
}

static int
by_name(const void *one, const void *other)
{
    const voc_pair_t *a = one, *b = other;
    size_t len = a->name.len < b->name.len ? a->name.len : b->name.len;
    int rc = memcmp(a->name.data, b->name.data, len);

    return rc != 0
               ? rc
               : (a->name.len > b->name.len) - (a->name.len < b->name.len);
}

static void
sort_others(fields_t *fields)
{
    if (fields->nothers > 1) {
        qsort(fields->others, fields->nothers, sizeof(voc_pair_t), by_name);
    }
}

/* Room for as many pairs as there may be, or NULL. */
static voc_pair_t *
room(const fields_t *fields)
{
    size_t n = voc_query_count(fields->query) + voc_query_count(fields->body);

    n = n <= VOC_PAIRS_MAX ? n : VOC_PAIRS_MAX + 1;
    return fields->memory->alloc(fields->memory->pool,
                                 n * sizeof(voc_pair_t));
}

static VOC_RARE voc_event_rc
add_other(fields_t *fields, const voc_pair_t *pair)
{
    if (fields->others == NULL) {
        fields->others = room(fields);
        if (fields->others == NULL) {
            return VOC_EVENT_NO_MEMORY;
        }
    }

    fields->others[fields->nothers++] = *pair;
    return VOC_EVENT_OK;
}

/* Files n pairs under their slots, or among the others. */
static inline voc_event_rc
file(fields_t *fields, const voc_pair_t *pair, int n)
{
    const voc_catalogue_t *catalogue = fields->catalogue;
    const voc_pair_t *end = pair + n;
    uint64_t seen = fields->seen;
    int slot;

    for (; pair < end; pair++) {
        slot = voc_catalogue_slot_padded(catalogue, pair->name);
        if (slot < 0) {
            if (add_other(fields, pair) != VOC_EVENT_OK) {
                return VOC_EVENT_NO_MEMORY;
            }
            continue;
        }

        if (seen & BIT(slot)) {
            fields->twice = fields->twice ? fields->twice : pair;
        }
        seen |= BIT(slot);
        fields->known[slot] = pair;
    }

    fields->seen = seen;
    return VOC_EVENT_OK;
}

/* The pairs that few has no room for. */
static VOC_RARE voc_event_rc
file_more(fields_t *fields, voc_query_t *walk, voc_problem_t *problem)
{
    voc_pair_t *pairs = room(fields);
    int n;

    if (pairs == NULL) {
        return VOC_EVENT_NO_MEMORY;
    }

    n = voc_query_next(walk, pairs, VOC_PAIRS_MAX + 1 - PAIRS_FEW);
    if (n > VOC_PAIRS_MAX - PAIRS_FEW) {
        reject(problem, VOC_MALFORMED_QUERY);
        problem->detail = (voc_str_t)voc_str("expected at most 1024 fields");
        return VOC_EVENT_REJECTED;
    }

    return n < 0 ? reject(problem, VOC_MALFORMED_QUERY)
                 : file(fields, pairs, n);
}

static inline voc_event_rc
file_all(fields_t *fields, voc_query_t *walk, voc_problem_t *problem)
{
    int n = voc_query_next(walk, fields->few, PAIRS_FEW);
    voc_event_rc rc;

    if (n < 0) {
        return reject(problem, VOC_MALFORMED_QUERY);
    }

    rc = file(fields, fields->few, n);
    return rc == VOC_EVENT_OK && n == PAIRS_FEW
               ? file_more(fields, walk, problem)
               : rc;
}

static VOC_RARE voc_event_rc
find_duplicate(fields_t *fields, voc_problem_t *problem)
{
    if (fields->twice != NULL) {
        return reject_name(fields->catalogue, problem, VOC_DUPLICATE_FIELD,
                           fields->twice->name);
    }

    sort_others(fields);

    for (unsigned i = 1; i < fields->nothers; i++) {
        if (by_name(&fields->others[i - 1], &fields->others[i]) == 0) {
            return reject_name(fields->catalogue, problem,
                               VOC_DUPLICATE_FIELD, fields->others[i].name);
        }
    }

    return VOC_EVENT_OK;
}

/* What is not plain ASCII: UTF-8 without control characters it may be. */
static VOC_RARE voc_event_rc
check_clean(const fields_t *fields, voc_str_t text, voc_problem_t *problem)
{
    int clean = voc_catalogue_clean(fields->catalogue, text);

    if (clean < 0) {
        return VOC_EVENT_NO_MEMORY;
    }

    return clean ? VOC_EVENT_OK : reject(problem, VOC_MALFORMED_QUERY);
}

/* Decodes all fields, files them, and looks at them as a whole. */
static inline voc_event_rc
read_fields(fields_t *fields, voc_event_t *event, voc_problem_t *problem)
{
    const voc_memory_t *memory = fields->memory;
    voc_query_t walk;
    voc_event_rc rc;
    char *text;

    text = memory->alloc(memory->pool, fields->query.len + fields->body.len +
                                           VOC_QUERY_SLACK);
    if (text == NULL) {
        return VOC_EVENT_NO_MEMORY;
    }

    voc_query_begin(&walk, text, fields->query, fields->body);

    rc = file_all(fields, &walk, problem);
    if (rc != VOC_EVENT_OK) {
        return rc;
    }

    event->plain = (walk.rare.odd | walk.rare.quoted) == 0;

    if (walk.rare.odd) {
        rc = check_clean(fields, voc_query_text(&walk), problem);
        if (rc != VOC_EVENT_OK) {
            return rc;
        }
    }

    return fields->twice != NULL || fields->nothers > 1
               ? find_duplicate(fields, problem)
               : VOC_EVENT_OK;
}

static inline voc_event_rc
read_type(fields_t *fields, voc_event_t *event, voc_problem_t *problem)
{
    if (!(fields->seen & BIT(VOC_SLOT_EVENT))) {
        return reject(problem, VOC_MISSING_EVENT);
    }

    event->type = voc_catalogue_event_padded(
        fields->catalogue, fields->known[VOC_SLOT_EVENT]->value);
    return event->type != NULL ? VOC_EVENT_OK
                               : reject(problem, VOC_UNKNOWN_EVENT);
}

/* Neither this field nor a later one has a value. */
static VOC_RARE voc_event_rc
reject_value(const fields_t *fields, voc_event_t *event,
             voc_problem_t *problem, unsigned i)
{
    const voc_event_type_t *type = event->type;
    const voc_field_t *field = &type->fields[i];

    memset(event->values + i, 0, (type->nfields - i) * sizeof(voc_str_t));
    return reject_field(problem,
                        fields->seen & BIT(field->slot) ? VOC_INVALID_FIELD
                                                        : VOC_MISSING_FIELD,
                        field);
}

static inline voc_event_rc
read_values(fields_t *fields, voc_event_t *event, voc_problem_t *problem)
{
    unsigned i = voc_catalogue_check(event->type, fields->seen, fields->known,
                                     event->date, event->values);

    return i == event->type->nfields
               ? VOC_EVENT_OK
               : reject_value(fields, event, problem, i);
}

/* Unknown fields, and those in left, which only other events have. */
static VOC_RARE voc_event_rc
keep_extra(fields_t *fields, uint64_t left, voc_unknown_e unknown,
           voc_event_t *event, voc_problem_t *problem)
{
    voc_event_rc rc;

    for (unsigned slot = 0; slot < VOC_FIELD_NAMES_MAX; slot++) {
        if (left & BIT(slot)) {
            rc = add_other(fields, fields->known[slot]);
            if (rc != VOC_EVENT_OK) {
                return rc;
            }
        }
    }

    if (left != 0) {
        sort_others(fields);
    }

    if (unknown == VOC_UNKNOWN_REJECT) {
        return reject_name(fields->catalogue, problem, VOC_UNKNOWN_FIELD,
                           fields->others[0].name);
    }

    event->extra = fields->others;
    event->nextra = fields->nothers;
    return VOC_EVENT_OK;
}

/* What is no field of the event. */
static inline voc_event_rc
read_extra(fields_t *fields, voc_unknown_e unknown, voc_event_t *event,
           voc_problem_t *problem)
{
    uint64_t left =
        fields->seen & ~(event->type->slots | BIT(VOC_SLOT_EVENT));

    return (left | fields->nothers) == 0 || unknown == VOC_UNKNOWN_DROP
               ? VOC_EVENT_OK
               : keep_extra(fields, left, unknown, event, problem);
}

voc_event_rc
voc_event_read(const voc_catalogue_t *catalogue, voc_str_t query,
               voc_str_t body, voc_unknown_e unknown,
               const voc_memory_t *memory, voc_event_t *event,
               voc_problem_t *problem)
{
    fields_t fields;
    voc_event_rc rc;

    event->type = NULL;
    event->extra = NULL;
    event->nextra = 0;
    event->plain = 0;
    *problem = (voc_problem_t){.reason = VOC_ACCEPTED};

    /* few[] and known[] are left as they are. */
    fields.catalogue = catalogue;
    fields.memory = memory;
    fields.query = query;
    fields.body = body;
    fields.seen = 0;
    fields.twice = NULL;
    fields.others = NULL;
    fields.nothers = 0;

    rc = read_fields(&fields, event, problem);
    if (rc != VOC_EVENT_OK) {
        return rc;
    }

    rc = read_type(&fields, event, problem);
    if (rc != VOC_EVENT_OK) {
        return rc;
    }

    rc = read_values(&fields, event, problem);
    if (rc != VOC_EVENT_OK) {
        return rc;
    }

    return read_extra(&fields, unknown, event, problem);
}

/* Where callid stands among an event's fields, behind date. */
#define CALLID 1

voc_str_t
voc_event_callid(const voc_event_t *event)
{
    return event->values[CALLID];
}
