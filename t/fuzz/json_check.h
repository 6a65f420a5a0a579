/*
 * A strict reader of the JSON that core/ writes: one object, no spaces, no
 * member twice, UTF-8, no control character whether raw or escaped.
 */

#ifndef JSON_CHECK_H
#define JSON_CHECK_H

#include "fuzz.h"

#include "voc_types.h"

#define JSON_MEMBERS_MAX 1100 /* one event's fields, at most 1024 unknown */

typedef enum {
    JSON_STRING,
    JSON_INTEGER,
    JSON_NULL,
    JSON_OBJECT
} json_type_e;

typedef struct {
    voc_str_t name;  /* unescaped */
    voc_str_t value; /* unescaped; of an object nothing */
    json_type_e type;
    unsigned depth; /* 1: of the outer object */
} json_member_t;

typedef struct {
    const unsigned char *p, *end;
    char *text; /* unescaped strings, one behind the other */
    json_member_t members[JSON_MEMBERS_MAX];
    unsigned n;
} json_t;

/* Bytes of the character at p, by the table of RFC 3629; 0: none, or control.
 */
static inline unsigned
utf8_character(const unsigned char *p, const unsigned char *end)
{
    unsigned c = *p, n, i, least;

    if (c < 0x80) {
        return c >= 0x20 && c != 0x7f;
    }

    if (c < 0xc2 || c > 0xf4) {
        return 0;
    }

    n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    least = n == 2 ? 0xa0 : n == 3 ? 0x800 : 0x10000;
    c &= 0x7fU >> n;

    for (i = 1; i < n; i++) {
        if (p + i == end || (p[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (p[i] & 0x3f);
    }

    return c >= least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? n : 0;
}

static inline void
json_expect(json_t *j, char c)
{
    must(j->p < j->end && *j->p == (unsigned char)c);
    j->p++;
}

/* The only escapes that are ever needed are those of '"' and '\'. */
static inline voc_str_t
json_string(json_t *j)
{
    voc_str_t s = {j->text, 0};
    unsigned n;

    json_expect(j, '"');

    for (;;) {
        must(j->p < j->end);
        if (*j->p == '"') {
            break;
        }
        if (*j->p == '\\') {
            j->p++;
            must(j->p < j->end && (*j->p == '"' || *j->p == '\\'));
            *j->text++ = (char)*j->p++;
            continue;
        }
        n = utf8_character(j->p, j->end);
        must(n > 0);
        memcpy(j->text, j->p, n);
        j->text += n;
        j->p += n;
    }

    j->p++;
    s.len = (size_t)(j->text - s.data);
    return s;
}

static inline void
json_number(json_t *j, json_member_t *member)
{
    const unsigned char *from = j->p;

    while (j->p < j->end && *j->p >= '0' && *j->p <= '9') {
        j->p++;
    }

    member->type = JSON_INTEGER;
    member->value.data = (const char *)from;
    member->value.len = (size_t)(j->p - from);
    must(member->value.len >= 1 && member->value.len <= 10);
    must(member->value.len == 1 || *from != '0');
}

static inline void json_object(json_t *j, unsigned depth);

static inline void
json_value(json_t *j, json_member_t *member)
{
    must(j->p < j->end);

    if (*j->p == '"') {
        member->type = JSON_STRING;
        member->value = json_string(j);

    } else if (*j->p == '{') {
        member->type = JSON_OBJECT;
        must(member->depth == 1);
        json_object(j, 2);

    } else if (*j->p == 'n') {
        must(j->end - j->p >= 4 && memcmp(j->p, "null", 4) == 0);
        member->type = JSON_NULL;
        j->p += 4;

    } else {
        json_number(j, member);
    }
}

static inline void
json_object(json_t *j, unsigned depth)
{
    unsigned first = j->n, i;
    json_member_t *member;

    json_expect(j, '{');

    do {
        must(j->n < JSON_MEMBERS_MAX);
        member = &j->members[j->n++];
        memset(member, 0, sizeof(*member));
        member->depth = depth;
        member->name = json_string(j);
        json_expect(j, ':');
        json_value(j, member);

        /* the unknown ones are in order, which tells that none is twice */
        for (i = first; depth == 1 && i + 1 < j->n; i++) {
            must(j->members[i].depth != 1 || &j->members[i] == member ||
                 !voc_str_equal(j->members[i].name, member->name));
        }

        must(j->p < j->end && (*j->p == ',' || *j->p == '}'));
    } while (*j->p++ == ',');
}

/* text: scratch of len bytes, in which the members' strings stand. */
static inline void
json_read(json_t *j, const char *data, size_t len, char *text)
{
    j->p = (const unsigned char *)data;
    j->end = j->p + len;
    j->text = text;
    j->n = 0;
    json_object(j, 1);
    must(j->p == j->end);
}

static inline const json_member_t *
json_member(const json_t *j, const char *name)
{
    voc_str_t s = {name, strlen(name)};
    unsigned i;

    for (i = 0; i < j->n; i++) {
        if (j->members[i].depth == 1 &&
            voc_str_equal(j->members[i].name, s)) {
            return &j->members[i];
        }
    }

    return NULL;
}

#endif
