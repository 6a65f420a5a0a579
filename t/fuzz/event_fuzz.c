/*
 * Query and form (split by the first newline) → event → JSON, in all three
 * ways of treating unknown fields, against the model of event_model.h.
 */

#include "event_model.h"

#include "voc_json.h"

#define INPUT_MAX  (16 * 1024) /* bytes */
#define BLOCKS_MAX 4

static voc_catalogue_t *catalogue;
static voc_uuid_t *uuid;

/* ---- one reading ------------------------------------------------------ */

typedef struct {
    voc_event_rc rc;
    voc_event_t event;
    voc_problem_t problem;
    void *blocks[BLOCKS_MAX];
    unsigned nblocks;
    char *json;
    size_t len;
    char id[VOC_UUID_LEN];
} reading_t;

static void *
reading_alloc(void *pool, size_t size)
{
    reading_t *r = pool;

    must(r->nblocks < BLOCKS_MAX);
    return r->blocks[r->nblocks++] = fuzz_alloc(size);
}

static void
reading_json(reading_t *r, uint64_t received)
{
    size_t size = voc_json_event_size(&r->event);
    char *exact = fuzz_alloc(size), seal[VOC_JSON_SEAL_MAX];
    static const voc_str_t journal = voc_str("0123456789abcdef");
    static voc_json_second_t second;
    size_t len;

    r->len = voc_json_event(exact, &r->event, uuid, r->id);
    must(r->len > 0 && r->len <= size);

    len = voc_json_seal(seal, &second, received, journal, received);
    must(len <= sizeof(seal));
    r->json = fuzz_alloc(r->len + len);
    memcpy(r->json, exact, r->len);
    memcpy(r->json + r->len, seal, len);
    r->len += len;
    free(exact);
}

/* Copies of exact size, which are gone when the JSON is written. */
static void
reading(reading_t *r, voc_str_t query, voc_str_t body, voc_unknown_e unknown,
        uint64_t received)
{
    char *q = fuzz_alloc(query.len), *b = fuzz_alloc(body.len);
    voc_memory_t memory = {reading_alloc, r};

    memset(r, 0, sizeof(*r));
    if (query.len > 0) {
        memcpy(q, query.data, query.len);
    }
    if (body.len > 0) {
        memcpy(b, body.data, body.len);
    }

    r->rc = voc_event_read(catalogue, (voc_str_t){q, query.len},
                           (voc_str_t){b, body.len}, unknown, &memory,
                           &r->event, &r->problem);
    free(q);
    free(b);

    must(r->rc == VOC_EVENT_OK || r->rc == VOC_EVENT_REJECTED);
    must((r->rc == VOC_EVENT_OK) == (r->problem.reason == VOC_ACCEPTED));
    if (r->rc == VOC_EVENT_OK) {
        reading_json(r, received);
    }
}

static void
reading_end(reading_t *r)
{
    while (r->nblocks > 0) {
        free(r->blocks[--r->nblocks]);
    }
    free(r->json);
}

static int
reading_same(const reading_t *a, const reading_t *b)
{
    return a->problem.reason == b->problem.reason && a->len == b->len &&
           (a->len == 0 || memcmp(a->json, b->json, a->len) == 0);
}

/* ---- what it came to -------------------------------------------------- */

static void
check_received(voc_str_t value, uint64_t received)
{
    char text[64];
    struct tm tm;
    time_t t;
    size_t n;

    if (received > 253402300799999) {
        received = 253402300799999; /* the end of year 9999 */
    }
    t = (time_t)(received / 1000);
    gmtime_r(&t, &tm);
    n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof(text) - n, ".%03uZ",
             (unsigned)(received % 1000));
    must(model_is(value, text));
}

static const json_member_t *
next_member(const json_t *j, unsigned *at, const char *name, unsigned depth)
{
    const json_member_t *member = &j->members[*at];

    must(*at < j->n && member->depth == depth);
    must(name == NULL || model_is(member->name, name));
    (*at)++;
    return member;
}

static void
check_extra(const json_t *j, unsigned *at, const model_t *m,
            const voc_event_type_t *type)
{
    const json_member_t *member;
    unsigned i, n = 0;

    for (i = 0; i < m->n; i++) {
        n += !model_is_field(type, m->sorted[i]->name);
    }
    if (n == 0) {
        return;
    }

    must(next_member(j, at, "extra", 1)->type == JSON_OBJECT);
    for (i = 0; i < m->n; i++) {
        if (!model_is_field(type, m->sorted[i]->name)) {
            member = next_member(j, at, NULL, 2);
            must(voc_str_equal(member->name, m->sorted[i]->name));
            must(member->type == JSON_STRING);
            must(voc_str_equal(member->value, m->sorted[i]->value));
        }
    }
}

/* What the sender is told, and what is logged. */
static void
check_answer(const reading_t *r, const model_t *m)
{
    char answer[VOC_JSON_ACCEPTED_MAX], text[VOC_JSON_ACCEPTED_MAX];
    size_t len = voc_json_accepted(answer, r->id);

    sprintf(text, "{\"status\":\"accepted\",\"id\":\"%.36s\"}", r->id);
    must(model_is((voc_str_t){answer, len}, text));
    must(voc_str_equal(voc_event_callid(&r->event),
                       model_find(m, (voc_str_t)voc_str("callid"))->value));
}

/* Every member, in its order, with the value that was sent. */
static void
check_accepted(const reading_t *r, const model_t *m, voc_unknown_e unknown,
               uint64_t received, json_t *j)
{
    const voc_event_type_t *type = r->event.type;
    const json_member_t *member;
    const model_pair_t *pair;
    char text[64];
    voc_str_t value;
    json_type_e json;
    unsigned at = 0, i;

    must(model_is(next_member(j, &at, "v", 1)->value, "1"));
    member = next_member(j, &at, "id", 1);
    must(member->value.len == VOC_UUID_LEN);
    must(memcmp(member->value.data, r->id, VOC_UUID_LEN) == 0);
    must(r->id[14] == '5' && strchr("89ab", r->id[19]) != NULL);

    member = next_member(j, &at, "event", 1);
    must(voc_str_equal(member->value,
                       model_find(m, (voc_str_t)voc_str("event"))->value));

    for (i = 0; i < type->nfields; i++) {
        member = next_member(j, &at, NULL, 1);
        must(voc_str_equal(member->name, type->fields[i].name));
        pair = model_find(m, member->name);
        value = pair != NULL ? pair->value : (voc_str_t){NULL, 0};
        must(model_value(&type->fields[i], value, text, &value, &json));
        must(member->type == json && voc_str_equal(member->value, value));
    }

    if (unknown == VOC_UNKNOWN_KEEP) {
        check_extra(j, &at, m, type);
    }

    check_received(next_member(j, &at, "received", 1)->value, received);
    snprintf(text, sizeof(text), "0123456789abcdef:%llu",
             (unsigned long long)received);
    must(model_is(next_member(j, &at, "seq", 1)->value, text));
    must(at == j->n);
}

/* Nothing of what was sent is repeated but the name of a field. */
static void
check_rejected(const reading_t *r, const model_t *m, voc_str_t field,
               json_t *j, char *text)
{
    const voc_problem_t *p = &r->problem;
    size_t size = voc_json_problem_size(p), len, i, have = 0;
    char *json = fuzz_alloc(size), status[8];
    unsigned at = 0, known = 0;

    len = voc_json_problem(json, p);
    must(len <= size);
    json_read(j, json, len, text);
    must(model_is(voc_reason_title(p->reason), "Bad Request"));
    must(voc_str_equal(next_member(j, &at, "title", 1)->value,
                       voc_reason_title(p->reason)));
    snprintf(status, sizeof(status), "%u", voc_reason_status(p->reason));
    must(model_is(next_member(j, &at, "status", 1)->value, status));
    must(voc_str_equal(next_member(j, &at, "reason", 1)->value,
                       voc_reason_name(p->reason)));

    must((p->field.data != NULL) == (p->reason == VOC_DUPLICATE_FIELD ||
                                     p->reason == VOC_MISSING_FIELD ||
                                     p->reason == VOC_INVALID_FIELD ||
                                     p->reason == VOC_UNKNOWN_FIELD));
    if (p->field.data != NULL) {
        must(voc_str_equal(next_member(j, &at, "field", 1)->value, p->field));
        known = voc_catalogue_slot(catalogue, p->field) >= 0;
        must(p->field_known == (int)known || !p->field_known);
        for (i = 0; i < m->n; i++) {
            have +=
                m->pairs[i].name.len >= p->field.len &&
                (m->pairs[i].name.len == p->field.len || p->field.len > 60) &&
                memcmp(m->pairs[i].name.data, p->field.data, p->field.len) ==
                    0;
        }
        must(have >= (p->reason == VOC_DUPLICATE_FIELD ? 2 : 1) ||
             (p->reason == VOC_MISSING_FIELD && known));
        must(known || p->field.len <= 64);
        must(field.data == NULL ||
             (p->field.len <= field.len &&
              memcmp(p->field.data, field.data, p->field.len) == 0));
    }

    must(voc_str_equal(next_member(j, &at, "detail", 1)->value, p->detail));
    must(at == j->n && p->detail.len > 0);
    for (i = 0; i < r->nblocks; i++) {
        must(p->detail.data != r->blocks[i]);
    }
    free(json);
}

/* ---- the same, said otherwise ----------------------------------------- */

static uint64_t
dice(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The pairs in another order, some of them moved from query to body. */
static void
check_shuffled(const reading_t *r, const model_t *m, voc_unknown_e unknown,
               uint64_t received, size_t size, uint64_t seed)
{
    static const model_pair_t *order[MODEL_PAIRS_MAX];
    char *text = fuzz_alloc(size + m->n + 2), *p = text;
    size_t query = 0;
    reading_t again;
    unsigned i, other;

    for (i = 0; i < m->n; i++) {
        other = (unsigned)(dice(&seed) % (i + 1));
        order[i] = order[other];
        order[other] = &m->pairs[i];
    }

    for (i = 0; i < m->n; i++) {
        if (query == 0 && dice(&seed) % (m->n + 1) == 0) {
            query = (size_t)(p - text);
        } else if (i > 0) {
            *p++ = '&';
        }
        memcpy(p, order[i]->raw.data, order[i]->raw.len);
        p += order[i]->raw.len;
    }

    if (query == 0) {
        query = (size_t)(p - text);
    }
    reading(&again, (voc_str_t){text, query},
            (voc_str_t){text + query, (size_t)(p - text) - query}, unknown,
            received);
    must(reading_same(r, &again));
    reading_end(&again);
    free(text);
}

static char *
put_encoded(char *out, voc_str_t s, uint64_t *seed)
{
    size_t i;

    for (i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];

        if (strchr("%&+=", c) != NULL || c >= 0x7f || dice(seed) % 8 == 0) {
            out += sprintf(out, dice(seed) % 2 ? "%%%02x" : "%%%02X", c);
        } else {
            *out++ = c == ' ' ? '+' : (char)c;
        }
    }

    return out;
}

/* A query made of the JSON gives that JSON: what is normal stays so. */
static void
check_reread(const reading_t *r, const json_t *j, voc_unknown_e unknown,
             uint64_t received, uint64_t seed)
{
    char *text = fuzz_alloc(r->len * 3 + 16), *p = text;
    reading_t again, more;
    size_t len;
    unsigned i;

    for (i = 2; i + 2 < j->n; i++) { /* not v, id; received, seq */
        const json_member_t *member = &j->members[i];

        if (member->type == JSON_NULL || member->type == JSON_OBJECT) {
            continue;
        }
        p = put_encoded(p, member->name, &seed);
        *p++ = '=';
        p = put_encoded(p, member->value, &seed);
        *p++ = '&';
    }

    len = (size_t)(p - text);
    reading(&again, (voc_str_t){text, len}, (voc_str_t){NULL, 0}, unknown,
            received);
    must(reading_same(r, &again));
    reading_end(&again);

    /* Another moment, the same id; another field, another one. */
    reading(&again, (voc_str_t){NULL, 0}, (voc_str_t){text, len}, unknown,
            received + 1);
    must(again.rc == VOC_EVENT_OK);
    must(memcmp(r->id, again.id, VOC_UUID_LEN) == 0);
    if (unknown == VOC_UNKNOWN_KEEP && again.event.nextra < 1000) {
        p += sprintf(p, "~%x=", (unsigned)dice(&seed));
        reading(&more, (voc_str_t){text, (size_t)(p - text)},
                (voc_str_t){NULL, 0}, unknown, received);
        must(more.rc != VOC_EVENT_OK ||
             memcmp(r->id, more.id, VOC_UUID_LEN) != 0);
        reading_end(&more);
    }
    reading_end(&again);
    free(text);
}

/* ---- the query alone -------------------------------------------------- */

static void
check_has(const model_t *m, voc_str_t query, voc_str_t body)
{
    static const voc_str_t names[] = {voc_str("event"), voc_str("callid"),
                                      voc_str("a"), voc_str("")};
    char *exact = fuzz_alloc(query.len);
    voc_str_t q = {exact, query.len};
    size_t i, k, have;
    int broken = 0;

    if (query.len > 0) {
        memcpy(exact, query.data, query.len);
    }
    must(voc_query_count(q) + voc_query_count(body) == m->n);

    for (i = 0; i < m->n; i++) {
        broken |= m->pairs[i].broken;
        if (!m->pairs[i].of_body && !m->pairs[i].broken) {
            must(voc_query_has(q, m->pairs[i].name));
        }
    }

    for (k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
        have = 0;
        for (i = 0; i < m->n; i++) {
            have += !m->pairs[i].of_body &&
                    voc_str_equal(m->pairs[i].name, names[k]);
        }
        must(voc_query_has(q, names[k]) == (have > 0) || broken);
    }
    free(exact);
}

static void
check_one(const model_t *m, voc_str_t query, voc_str_t body,
          voc_unknown_e unknown, uint64_t seed)
{
    static json_t json;
    static char text[8 * INPUT_MAX + 64 * 1024];
    uint64_t received = seed >> (seed % 3 ? 23 : 8); /* some past 9999 */
    voc_str_t field;
    voc_reason_e reason = model_outcome(m, catalogue, unknown, &field);
    reading_t r;

    reading(&r, query, body, unknown, received);
    must(r.problem.reason == reason);

    if (r.rc == VOC_EVENT_OK) {
        must(r.len <= sizeof(text));
        json_read(&json, r.json, r.len, text);
        check_accepted(&r, m, unknown, received, &json);
        check_answer(&r, m);
        check_reread(&r, &json, unknown, received, seed);
    } else {
        check_rejected(&r, m, field, &json, text);
    }
    check_shuffled(&r, m, unknown, received, query.len + body.len, seed);
    reading_end(&r);
}

static void
init(void)
{
    voc_error_t error;

    if (catalogue == NULL) {
        catalogue = voc_catalogue_create(&error);
        uuid = voc_uuid_create();
        must(catalogue != NULL && uuid != NULL);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static model_t model;
    static char decoded[INPUT_MAX];
    const char *text = (const char *)data;
    const char *split = size > 0 ? memchr(text, '\n', size) : NULL;
    uint64_t seed = 1469598103934665603ULL;
    voc_str_t query = {text, size}, body = {NULL, 0};

    if (size > INPUT_MAX) {
        return 0;
    }
    if (split != NULL) {
        query.len = (size_t)(split - text);
        body = (voc_str_t){split + 1, size - query.len - 1};
    }

    init();
    model.n = 0;
    model.text = model.next = decoded;
    if (!model_add(&model, query, 0) || !model_add(&model, body, 1)) {
        return 0;
    }
    model_sort(&model);

    for (size_t i = 0; i < size; i++) {
        seed = (seed ^ data[i]) * 1099511628211ULL;
    }

    check_has(&model, query, body);
    check_one(&model, query, body, VOC_UNKNOWN_KEEP, seed);
    check_one(&model, query, body, VOC_UNKNOWN_DROP, seed);
    check_one(&model, query, body, VOC_UNKNOWN_REJECT, seed);
    return 0;
}
