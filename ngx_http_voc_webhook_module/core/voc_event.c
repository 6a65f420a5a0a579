#include "voc_event.h"

#include <stdlib.h>

#define NAME_SHOWN 64 /* bytes of a name that is not the catalogue's */

#define PAIRS_AT_ONCE 16

/* What is read, and its fields: the catalogue's by slot, others in a row. */
typedef struct {
    const voc_catalogue_t *catalogue;
    const voc_memory_t *memory;
    voc_str_t query;
    voc_str_t body;
    uint64_t seen;      /* bit per slot */
    voc_str_t twice;    /* the first of the catalogue's names, or data NULL */
    voc_pair_t *others; /* NULL: no room made yet */
    unsigned nothers;
    voc_pair_t known[VOC_FIELD_NAMES_MAX]; /* where seen has the bit */
} fields_t;

#define BIT(slot) ((uint64_t)1 << (slot))

_Static_assert(VOC_FIELD_NAMES_MAX <= 64, "fields_t.seen has a bit for each");

static voc_event_rc
reject(voc_problem_t *problem, voc_reason_e reason)
{
    *problem = voc_problem(reason);
    return VOC_EVENT_REJECTED;
}

/* An unknown name is cut to NAME_SHOWN bytes, between characters. */
static voc_event_rc
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

static voc_event_rc
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

/* Few events have any, so room is made for the first one: for all. */
static voc_event_rc
add_other(fields_t *fields, voc_pair_t pair)
{
    const voc_memory_t *memory = fields->memory;
    size_t n;

    if (fields->others == NULL) {
        n = voc_query_count(fields->query) + voc_query_count(fields->body);
        n = n < VOC_PAIRS_MAX ? n : VOC_PAIRS_MAX;

        fields->others = memory->alloc(memory->pool, n * sizeof(voc_pair_t));
        if (fields->others == NULL) {
            return VOC_EVENT_NO_MEMORY;
        }
    }

    fields->others[fields->nothers++] = pair;
    return VOC_EVENT_OK;
}

/* Files a pair under its slot, or among the others. */
static voc_event_rc
file(fields_t *fields, const voc_pair_t *pair)
{
    int slot = voc_catalogue_slot(fields->catalogue, pair->name);

    if (slot < 0) {
        return add_other(fields, *pair);
    }

    if (fields->seen & BIT(slot)) {
        fields->twice = fields->twice.data ? fields->twice : pair->name;
        return VOC_EVENT_OK;
    }

    fields->seen |= BIT(slot);
    fields->known[slot] = *pair;
    return VOC_EVENT_OK;
}

static voc_event_rc
file_all(fields_t *fields, voc_query_t *walk, voc_problem_t *problem)
{
    voc_pair_t pairs[PAIRS_AT_ONCE];
    voc_event_rc rc;
    unsigned total = 0;
    int n;

    while ((n = voc_query_next(walk, pairs, PAIRS_AT_ONCE)) > 0) {
        total += (unsigned)n;
        if (total > VOC_PAIRS_MAX) {
            reject(problem, VOC_MALFORMED_QUERY);
            problem->detail =
                (voc_str_t)voc_str("expected at most 1024 fields");
            return VOC_EVENT_REJECTED;
        }

        for (int i = 0; i < n; i++) {
            rc = file(fields, &pairs[i]);
            if (rc != VOC_EVENT_OK) {
                return rc;
            }
        }
    }

    return n < 0 ? reject(problem, VOC_MALFORMED_QUERY) : VOC_EVENT_OK;
}

static voc_event_rc
find_duplicate(fields_t *fields, voc_problem_t *problem)
{
    if (fields->twice.data != NULL) {
        return reject_name(fields->catalogue, problem, VOC_DUPLICATE_FIELD,
                           fields->twice);
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

/* Decodes all fields, files them, and looks at them as a whole. */
static voc_event_rc
read_fields(fields_t *fields, voc_problem_t *problem)
{
    const voc_memory_t *memory = fields->memory;
    voc_query_t walk;
    voc_event_rc rc;
    char *text;
    int clean;

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

    if (!walk.plain) {
        clean = voc_catalogue_clean(fields->catalogue, voc_query_text(&walk));
        if (clean <= 0) {
            return clean < 0 ? VOC_EVENT_NO_MEMORY
                             : reject(problem, VOC_MALFORMED_QUERY);
        }
    }

    return find_duplicate(fields, problem);
}

static voc_event_rc
read_type(fields_t *fields, voc_event_t *event, voc_problem_t *problem)
{
    if (!(fields->seen & BIT(VOC_SLOT_EVENT))) {
        return reject(problem, VOC_MISSING_EVENT);
    }

    event->type = voc_catalogue_event(fields->catalogue,
                                      fields->known[VOC_SLOT_EVENT].value);
    if (event->type == NULL) {
        return reject(problem, VOC_UNKNOWN_EVENT);
    }

    fields->seen &= ~BIT(VOC_SLOT_EVENT);
    memset(event->values, 0, event->type->nfields * sizeof(voc_str_t));
    return VOC_EVENT_OK;
}

/* Takes the event's own fields off those seen. */
static voc_event_rc
read_values(fields_t *fields, voc_event_t *event, voc_problem_t *problem)
{
    const voc_event_type_t *type = event->type;
    voc_str_t normal;

    for (unsigned i = 0; i < type->nfields; i++) {
        const voc_field_t *field = &type->fields[i];

        if (!(fields->seen & BIT(field->slot))) {
            if (!field->nullable) {
                return reject_field(problem, VOC_MISSING_FIELD, field);
            }
            continue;
        }

        fields->seen &= ~BIT(field->slot);

        if (!voc_catalogue_check(field, fields->known[field->slot].value,
                                 event->date, &normal)) {
            return reject_field(problem, VOC_INVALID_FIELD, field);
        }
        event->values[i] = normal;
    }

    return VOC_EVENT_OK;
}

/* What is left: unknown fields, and those that only other events have. */
static voc_event_rc
read_extra(fields_t *fields, voc_unknown_e unknown, voc_event_t *event,
           voc_problem_t *problem)
{
    voc_event_rc rc;

    if (unknown == VOC_UNKNOWN_DROP) {
        return VOC_EVENT_OK;
    }

    if (fields->seen != 0) {
        for (unsigned slot = 0; slot < VOC_FIELD_NAMES_MAX; slot++) {
            if (fields->seen & BIT(slot)) {
                rc = add_other(fields, fields->known[slot]);
                if (rc != VOC_EVENT_OK) {
                    return rc;
                }
            }
        }
        sort_others(fields);
    }

    if (fields->nothers == 0) {
        return VOC_EVENT_OK;
    }

    if (unknown == VOC_UNKNOWN_REJECT) {
        return reject_name(fields->catalogue, problem, VOC_UNKNOWN_FIELD,
                           fields->others[0].name);
    }

    event->extra = fields->others;
    event->nextra = fields->nothers;
    return VOC_EVENT_OK;
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
    *problem = voc_problem(VOC_ACCEPTED);

    /* known[] is left as it is: seen tells what is in it. */
    fields.catalogue = catalogue;
    fields.memory = memory;
    fields.query = query;
    fields.body = body;
    fields.seen = 0;
    fields.twice = (voc_str_t){NULL, 0};
    fields.others = NULL;
    fields.nothers = 0;

    rc = read_fields(&fields, problem);
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
