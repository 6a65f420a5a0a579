/*
 * What is to come of a query and a form, written a second time and in another
 * way than in core/: slow, plain, and with the catalogue's table as its only
 * common ground.
 */

#ifndef EVENT_MODEL_H
#define EVENT_MODEL_H

#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "fuzz.h"
#include "json_check.h"

#include "voc_event.h"

#define MODEL_PAIRS_MAX 4096 /* of one input */

typedef struct {
    voc_str_t raw; /* as it was sent */
    voc_str_t name;
    voc_str_t value;
    int of_body;
    int broken; /* no percent-encoding, no UTF-8, or a control character */
} model_pair_t;

typedef struct {
    model_pair_t pairs[MODEL_PAIRS_MAX];
    model_pair_t *sorted[MODEL_PAIRS_MAX];
    unsigned n;
    char *text; /* decoded bytes */
    char *next;
} model_t;

/* ---- decoding --------------------------------------------------------- */

static inline int
model_hex(const char *p)
{
    char digits[3] = {p[0], p[1], '\0'}, *end;
    long value;

    if (strchr("0123456789abcdefABCDEF", p[0]) == NULL || p[0] == '\0') {
        return -1;
    }

    value = strtol(digits, &end, 16);
    return *end == '\0' ? (int)value : -1;
}

static inline voc_str_t
model_decode(model_t *m, const char *p, size_t len, int *broken)
{
    voc_str_t out = {m->next, 0};
    size_t i;
    int byte;

    for (i = 0; i < len; i++) {
        byte = (unsigned char)p[i];
        if (p[i] == '+') {
            byte = ' ';
        } else if (p[i] == '%') {
            byte = len - i < 3 ? -1 : model_hex(p + i + 1);
            i += 2;
        }
        if (byte == -1) {
            *broken = 1;
            return out;
        }
        *m->next++ = (char)byte;
        out.len++;
    }

    return out;
}

static inline int
model_clean(voc_str_t s)
{
    const unsigned char *p = (const unsigned char *)s.data;
    const unsigned char *end = p + s.len;
    unsigned n;

    for (; p < end; p += n) {
        n = utf8_character(p, end);
        if (n == 0) {
            return 0;
        }
    }

    return 1;
}

static inline void
model_pair(model_t *m, const char *p, size_t len, int of_body)
{
    model_pair_t *pair = &m->pairs[m->n++];
    const char *equals = memchr(p, '=', len);
    size_t name = equals != NULL ? (size_t)(equals - p) : len;

    memset(pair, 0, sizeof(*pair));
    pair->raw = (voc_str_t){p, len};
    pair->of_body = of_body;
    pair->name = model_decode(m, p, name, &pair->broken);
    pair->value = (voc_str_t){m->next, 0};
    if (equals != NULL) {
        pair->value =
            model_decode(m, equals + 1, len - name - 1, &pair->broken);
    }
    if (!model_clean(pair->name) || !model_clean(pair->value)) {
        pair->broken = 1;
    }
}

/* 0 where there are more than it takes. */
static inline int
model_add(model_t *m, voc_str_t text, int of_body)
{
    size_t i, from = 0;

    for (i = 0; i <= text.len; i++) {
        if (i < text.len && text.data[i] != '&') {
            continue;
        }
        if (i > from) {
            if (m->n == MODEL_PAIRS_MAX) {
                return 0;
            }
            model_pair(m, text.data + from, i - from, of_body);
        }
        from = i + 1;
    }

    return 1;
}

static inline int
model_by_name(const void *one, const void *other)
{
    voc_str_t a = (*(model_pair_t *const *)one)->name;
    voc_str_t b = (*(model_pair_t *const *)other)->name;
    size_t i;

    for (i = 0; i < a.len && i < b.len; i++) {
        if (a.data[i] != b.data[i]) {
            return (unsigned char)a.data[i] < (unsigned char)b.data[i] ? -1
                                                                       : 1;
        }
    }

    return a.len < b.len ? -1 : a.len > b.len;
}

static inline void
model_sort(model_t *m)
{
    unsigned i;

    for (i = 0; i < m->n; i++) {
        m->sorted[i] = &m->pairs[i];
    }

    qsort(m->sorted, m->n, sizeof(m->sorted[0]), model_by_name);
}

static inline const model_pair_t *
model_find(const model_t *m, voc_str_t name)
{
    unsigned i;

    for (i = 0; i < m->n; i++) {
        if (voc_str_equal(m->pairs[i].name, name)) {
            return &m->pairs[i];
        }
    }

    return NULL;
}

static inline int
model_is(voc_str_t s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

/* ---- values ----------------------------------------------------------- */

/* 1 and YYYY-MM-DDThh:mm:ssZ in out. */
static inline int
model_date(voc_str_t value, char *out)
{
    char text[24];
    int year, month, day, hour, minute, second = 0, n = 0;
    size_t len = value.len, i;
    struct tm tm = {0}, back;
    time_t t;

    if (len > 20) {
        return 0;
    }
    memcpy(text, value.data, len);
    text[len] = '\0';
    if (len > 0 && text[len - 1] == 'Z') {
        text[--len] = '\0';
    }
    if (len != 16 && len != 19) {
        return 0;
    }
    for (i = 0; i < len; i++) {
        if (strchr(i == 4 || i == 7     ? "-"
                   : i == 10            ? " T"
                   : i == 13 || i == 16 ? ":"
                                        : "0123456789",
                   text[i]) == NULL ||
            text[i] == '\0') {
            return 0;
        }
    }

    sscanf(text, "%4d-%2d-%2d%*c%2d:%2d%n", &year, &month, &day, &hour,
           &minute, &n);
    if (len == 19) {
        sscanf(text + n, ":%2d", &second);
    }

    /* What does not exist comes back as another date. */
    tm = (struct tm){.tm_year = year - 1900,
                     .tm_mon = month - 1,
                     .tm_mday = day,
                     .tm_hour = hour,
                     .tm_min = minute,
                     .tm_sec = second};
    t = timegm(&tm);
    gmtime_r(&t, &back);
    if (year == 0 || back.tm_year != year - 1900 ||
        back.tm_mon != month - 1 || back.tm_mday != day ||
        back.tm_hour != hour || back.tm_min != minute ||
        back.tm_sec != second) {
        return 0;
    }

    snprintf(out, 64, "%04d-%02d-%02dT%02d:%02d:%02dZ", year, month, day,
             hour, minute, second);
    return 1;
}

static inline int
model_digits(voc_str_t value, size_t max)
{
    size_t i;

    for (i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') {
            return 0;
        }
    }

    return value.len >= 1 && value.len <= max;
}

/*
 * 1 and what stands in the JSON; 0 where the value is not well-formed.  out
 * holds 64 bytes.
 */
static inline int
model_value(const voc_field_t *field, voc_str_t value, char *out,
            voc_str_t *normal, json_type_e *type)
{
    char digits[16];

    *normal = value;
    *type = JSON_STRING;

    if (field->nullable && (value.len == 0 || model_is(value, "null"))) {
        *type = JSON_NULL;
        *normal = (voc_str_t){NULL, 0};
        return 1;
    }

    switch (field->type) {
    case VOC_DATETIME:
        *normal = (voc_str_t){out, 20};
        return model_date(value, out);

    case VOC_CALLER:
        if (value.len == 9 && strncasecmp(value.data, "anonymous", 9) == 0) {
            *normal = (voc_str_t)voc_str("Anonymous");
            return 1;
        }
        /* fall through */

    case VOC_NUMBER:
        if (value.len > 0 && strchr("+ ", value.data[0]) != NULL) {
            *normal = (voc_str_t){value.data + 1, value.len - 1};
        }
        return model_digits(*normal, 20);

    case VOC_INTEGER:
        *type = JSON_INTEGER;
        if (!model_digits(value, 10)) {
            return 0;
        }
        memcpy(digits, value.data, value.len);
        digits[value.len] = '\0';
        *normal = (voc_str_t){
            out, (size_t)snprintf(out, 64, "%lld", atoll(digits))};
        return atoll(digits) <= 2147483647;

    case VOC_KEY:
        return value.len == 1 &&
               strchr("0123456789*#", value.data[0]) != NULL;

    default:
        return value.len >= 1 && value.len <= field->max;
    }
}

/* ---- the outcome ------------------------------------------------------ */

static inline int
model_is_field(const voc_event_type_t *type, voc_str_t name)
{
    unsigned i;

    for (i = 0; i < type->nfields; i++) {
        if (voc_str_equal(type->fields[i].name, name)) {
            return 1;
        }
    }

    return model_is(name, "event");
}

/* *field: the one that it is about, where only one can be. */
static inline voc_reason_e
model_outcome(const model_t *m, const voc_catalogue_t *catalogue,
              voc_unknown_e unknown, voc_str_t *field)
{
    const voc_event_type_t *type;
    const model_pair_t *pair;
    char scratch[64];
    voc_str_t normal;
    json_type_e json;
    unsigned i;

    *field = (voc_str_t){NULL, 0};

    for (i = 0; i < m->n; i++) {
        if (m->pairs[i].broken) {
            return VOC_MALFORMED_QUERY;
        }
    }
    if (m->n > VOC_PAIRS_MAX) {
        return VOC_MALFORMED_QUERY;
    }
    for (i = 1; i < m->n; i++) {
        if (voc_str_equal(m->sorted[i - 1]->name, m->sorted[i]->name)) {
            return VOC_DUPLICATE_FIELD;
        }
    }

    pair = model_find(m, (voc_str_t)voc_str("event"));
    if (pair == NULL) {
        return VOC_MISSING_EVENT;
    }
    type = voc_catalogue_event(catalogue, pair->value);
    if (type == NULL) {
        return VOC_UNKNOWN_EVENT;
    }

    for (i = 0; i < type->nfields; i++) {
        *field = type->fields[i].name;
        pair = model_find(m, *field);
        if (pair == NULL && !type->fields[i].nullable) {
            return VOC_MISSING_FIELD;
        }
        if (pair != NULL && !model_value(&type->fields[i], pair->value,
                                         scratch, &normal, &json)) {
            return VOC_INVALID_FIELD;
        }
    }

    *field = (voc_str_t){NULL, 0};
    for (i = 0; i < m->n && unknown == VOC_UNKNOWN_REJECT; i++) {
        if (!model_is_field(type, m->sorted[i]->name)) {
            *field = m->sorted[i]->name;
            return VOC_UNKNOWN_FIELD;
        }
    }

    return VOC_ACCEPTED;
}

#endif
