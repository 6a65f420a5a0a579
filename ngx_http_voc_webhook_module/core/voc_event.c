#include "voc_event.h"

#include <stdlib.h>

#define NAME_SHOWN 64 /* bytes of a name that is not the catalogue's */

/* A request's fields: the catalogue's by slot, the others in a row. */
typedef struct {
    voc_pair_t *pairs; /* as they came; unknown ones move to the front */
    unsigned nunknown;
    uint64_t seen; /* bit per slot */
    voc_pair_t known[VOC_FIELD_NAMES_MAX];
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

/* Decodes text into *out, its pairs into *pairs, and moves both on. */
static voc_event_rc
decode(const voc_catalogue_t *catalogue, voc_str_t text, char **out,
       voc_pair_t **pairs, voc_problem_t *problem)
{
    voc_str_t decoded;
    int clean, n = voc_query_decode(text, *out, *pairs, &decoded);

    if (n < 0) {
        return reject(problem, VOC_MALFORMED_QUERY);
    }

    clean = voc_catalogue_clean(catalogue, decoded);
    if (clean <= 0) {
        return clean < 0 ? VOC_EVENT_NO_MEMORY
                         : reject(problem, VOC_MALFORMED_QUERY);
    }

    *pairs += n;
    *out += decoded.len;
    return VOC_EVENT_OK;
}

static voc_event_rc
decode_all(const voc_catalogue_t *catalogue, voc_str_t query, voc_str_t body,
           const voc_memory_t *memory, fields_t *fields, unsigned *npairs,
           voc_problem_t *problem)
{
    size_t n = voc_query_count(query) + voc_query_count(body);
    voc_event_rc rc;
    voc_pair_t *end;
    char *out;

    *npairs = 0;

    if (n == 0) {
        return VOC_EVENT_OK;
    }

    if (n > VOC_PAIRS_MAX) {
        reject(problem, VOC_MALFORMED_QUERY);
        problem->detail = (voc_str_t)voc_str("expected at most 1024 fields");
        return VOC_EVENT_REJECTED;
    }

    fields->pairs = memory->alloc(memory->pool, n * sizeof(voc_pair_t) +
                                                    query.len + body.len);
    if (fields->pairs == NULL) {
        return VOC_EVENT_NO_MEMORY;
    }

    end = fields->pairs;
    out = (char *)(fields->pairs + n);

    rc = decode(catalogue, query, &out, &end, problem);
    if (rc == VOC_EVENT_OK) {
        rc = decode(catalogue, body, &out, &end, problem);
    }

    *npairs = (unsigned)(end - fields->pairs);
    return rc;
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
sort_unknown(fields_t *fields)
{
    if (fields->nunknown > 1) {
        qsort(fields->pairs, fields->nunknown, sizeof(voc_pair_t), by_name);
    }
}

/* Files each pair under its slot, or sorts it in among the unknown ones. */
static voc_event_rc
file_all(const voc_catalogue_t *catalogue, fields_t *fields, unsigned npairs,
         voc_problem_t *problem)
{
    for (unsigned i = 0; i < npairs; i++) {
        voc_pair_t *pair = &fields->pairs[i];
        int slot = voc_catalogue_slot(catalogue, pair->name);

        if (slot < 0) {
            fields->pairs[fields->nunknown++] = *pair;
            continue;
        }

        if (fields->seen & BIT(slot)) {
            return reject_name(catalogue, problem, VOC_DUPLICATE_FIELD,
                               pair->name);
        }
        fields->seen |= BIT(slot);
        fields->known[slot] = *pair;
    }

    sort_unknown(fields);

    for (unsigned i = 1; i < fields->nunknown; i++) {
        if (by_name(&fields->pairs[i - 1], &fields->pairs[i]) == 0) {
            return reject_name(catalogue, problem, VOC_DUPLICATE_FIELD,
                               fields->pairs[i].name);
        }
    }

    return VOC_EVENT_OK;
}

static voc_event_rc
read_type(const voc_catalogue_t *catalogue, fields_t *fields,
          voc_event_t *event, voc_problem_t *problem)
{
    if (!(fields->seen & BIT(VOC_SLOT_EVENT))) {
        return reject(problem, VOC_MISSING_EVENT);
    }

    event->type =
        voc_catalogue_event(catalogue, fields->known[VOC_SLOT_EVENT].value);
    if (event->type == NULL) {
        return reject(problem, VOC_UNKNOWN_EVENT);
    }

    fields->seen &= ~BIT(VOC_SLOT_EVENT);
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
read_extra(const voc_catalogue_t *catalogue, fields_t *fields,
           voc_unknown_e unknown, voc_event_t *event, voc_problem_t *problem)
{
    if (unknown == VOC_UNKNOWN_DROP) {
        return VOC_EVENT_OK;
    }

    if (fields->seen != 0) {
        for (unsigned slot = 0; slot < VOC_FIELD_NAMES_MAX; slot++) {
            if (fields->seen & BIT(slot)) {
                fields->pairs[fields->nunknown++] = fields->known[slot];
            }
        }
        sort_unknown(fields);
    }

    if (fields->nunknown == 0) {
        return VOC_EVENT_OK;
    }

    if (unknown == VOC_UNKNOWN_REJECT) {
        return reject_name(catalogue, problem, VOC_UNKNOWN_FIELD,
                           fields->pairs[0].name);
    }

    event->extra = fields->pairs;
    event->nextra = fields->nunknown;
    return VOC_EVENT_OK;
}

voc_event_rc
voc_event_read(const voc_catalogue_t *catalogue, voc_str_t query,
               voc_str_t body, voc_unknown_e unknown,
               const voc_memory_t *memory, voc_event_t *event,
               voc_problem_t *problem)
{
    fields_t fields;
    unsigned npairs;
    voc_event_rc rc;

    /* known[] is left as it is: seen tells what is in it. */
    fields.pairs = NULL;
    fields.nunknown = 0;
    fields.seen = 0;

    memset(event, 0, sizeof(*event));
    *problem = voc_problem(VOC_ACCEPTED);

    rc =
        decode_all(catalogue, query, body, memory, &fields, &npairs, problem);
    if (rc != VOC_EVENT_OK) {
        return rc;
    }

    rc = file_all(catalogue, &fields, npairs, problem);
    if (rc != VOC_EVENT_OK) {
        return rc;
    }

    rc = read_type(catalogue, &fields, event, problem);
    if (rc != VOC_EVENT_OK) {
        return rc;
    }

    rc = read_values(&fields, event, problem);
    if (rc != VOC_EVENT_OK) {
        return rc;
    }

    return read_extra(catalogue, &fields, unknown, event, problem);
}

/* Where callid stands among an event's fields, behind date. */
#define CALLID 1

voc_str_t
voc_event_callid(const voc_event_t *event)
{
    return event->values[CALLID];
}
