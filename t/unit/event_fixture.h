/* Reading events in a test: memory that can end, and is freed as a whole. */

#ifndef EVENT_FIXTURE_H
#define EVENT_FIXTURE_H

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "voc_event.h"
#include "voc_json.h"

#define BLOCKS_MAX 16

/* A whole event without own fields; tests append to it or break it. */
#define RECORDING                                                            \
    "event=callRecordingAvailable&date=2024-01-01+19:00&callid=testcall"

typedef struct {
    voc_catalogue_t *catalogue;
    voc_uuid_t *uuid;
    void *blocks[BLOCKS_MAX];
    unsigned nblocks;
    int left; /* allocations until memory ends; -1: it does not */
    voc_unknown_e unknown;
    voc_event_t event;
    voc_problem_t problem;
} fixture_t;

/* Each block has its exact size, so that ASan sees a byte too many. */
static inline void *
fixture_alloc(void *pool, size_t size)
{
    fixture_t *f = pool;

    if (f->left == 0) {
        return NULL;
    }
    f->left -= f->left > 0;
    assert_true(f->nblocks < BLOCKS_MAX);
    return f->blocks[f->nblocks++] = malloc(size);
}

static inline void
fixture_clear(fixture_t *f)
{
    while (f->nblocks > 0) {
        free(f->blocks[--f->nblocks]);
    }
}

static inline int
fixture_setup(void **state)
{
    fixture_t *f = calloc(1, sizeof(*f));
    voc_error_t error;

    f->catalogue = voc_catalogue_create(&error);
    f->uuid = voc_uuid_create();
    f->left = -1;
    *state = f;
    return f->catalogue == NULL || f->uuid == NULL;
}

static inline int
fixture_teardown(void **state)
{
    fixture_t *f = *state;

    fixture_clear(f);
    voc_catalogue_free(f->catalogue);
    voc_uuid_free(f->uuid);
    free(f);
    return 0;
}

static inline voc_str_t
text(const char *s)
{
    return (voc_str_t){s, strlen(s)};
}

/* Reads copies of exact size; the event must not point into them. */
static inline voc_event_rc
read_bytes(fixture_t *f, voc_str_t query, voc_str_t body)
{
    voc_memory_t memory = {fixture_alloc, f};
    char *q = malloc(query.len), *b = malloc(body.len);
    voc_event_rc rc;

    fixture_clear(f);
    memcpy(q, query.data, query.len);
    memcpy(b, body.data, body.len);
    rc = voc_event_read(f->catalogue, (voc_str_t){q, query.len},
                        (voc_str_t){b, body.len}, f->unknown, &memory,
                        &f->event, &f->problem);
    free(q);
    free(b);
    return rc;
}

static inline voc_event_rc
read_query(fixture_t *f, const char *query)
{
    return read_bytes(f, text(query), text(""));
}

static inline void
assert_text(voc_str_t found, const char *expected)
{
    if (expected == NULL) {
        assert_null(found.data);
        return;
    }
    if (found.data == NULL || !voc_str_equal(found, text(expected))) {
        fail_msg("\"%.*s\" is not \"%s\"", (int)found.len,
                 found.data != NULL ? found.data : "", expected);
    }
}

/* field: NULL for none. */
static inline void
assert_rejected(fixture_t *f, const char *query, voc_reason_e reason,
                const char *field)
{
    voc_event_rc rc = read_query(f, query);

    if (rc != VOC_EVENT_REJECTED || f->problem.reason != reason) {
        fail_msg("%s: %d %.*s", query, (int)rc,
                 (int)voc_reason_name(f->problem.reason).len,
                 voc_reason_name(f->problem.reason).data);
    }
    assert_text(f->problem.field, field);
}

static inline void
assert_accepted(fixture_t *f, const char *query)
{
    voc_event_rc rc = read_query(f, query);

    if (rc != VOC_EVENT_OK) {
        fail_msg("%s: %d %.*s", query, (int)rc,
                 (int)voc_reason_name(f->problem.reason).len,
                 voc_reason_name(f->problem.reason).data);
    }
}

/* The value of the field, normalised. */
static inline voc_str_t
value(fixture_t *f, const char *name)
{
    for (unsigned i = 0; i < f->event.type->nfields; i++) {
        if (voc_str_equal(f->event.type->fields[i].name, text(name))) {
            return f->event.values[i];
        }
    }

    fail_msg("no field %s", name);
    return (voc_str_t){NULL, 0};
}

/* A query of n fields, the event's three among them. */
static inline char *
query_of(unsigned n)
{
    char *query = malloc(n * 16 + 128), *p = query;

    p += sprintf(p, "%s", RECORDING);
    for (unsigned i = 3; i < n; i++) {
        p += sprintf(p, "&x%u=%u", i * 7919 % 100003, i);
    }
    return query;
}

#endif
