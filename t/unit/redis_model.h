/*
 * A model of Redis: reads commands and writes replies as RESP bytes, and
 * knows what the pusher says.  Faults are told to it.
 */

#ifndef REDIS_MODEL_H
#define REDIS_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "voc_redis.h"

#define KEY      "voc:events"
#define KEYS_MAX 64
#define LOG_MAX  512
#define ARGS_MAX 1100

/* ---- bytes ---------------------------------------------------------- */

typedef struct {
    char *data;
    size_t len, size;
} bytes_t;

static inline void
bytes_add(bytes_t *b, const void *data, size_t len)
{
    if (b->len + len > b->size) {
        b->size = (b->len + len) * 2;
        b->data = realloc(b->data, b->size);
        assert_non_null(b->data);
    }

    if (len > 0) {
        memcpy(b->data + b->len, data, len);
        b->len += len;
    }
}

static inline void
bytes_drop(bytes_t *b, size_t len)
{
    memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
}

/* ---- the model of Redis --------------------------------------------- */

typedef struct {
    bytes_t in;  /* from the pusher, not yet looked at */
    bytes_t out; /* replies, not yet delivered */
    int authed;
} conn_t;

typedef struct {
    char key[128];
    char value[64];
} string_t;

typedef struct {
    const char *command; /* NULL: any */
    const char *error;
    int times;
} fault_t;

typedef struct {
    string_t strings[KEYS_MAX];
    unsigned nstrings;
    char **list;
    size_t nlist, list_size;
    int loaded;
    int wrong_type;
    const char *role;
    const char *user, *password;
    fault_t fault;
    int mute; /* this many replies are lost */
    char log[LOG_MAX][160];
    unsigned nlog;
} model_t;

static inline string_t *
model_string(model_t *m, const char *key)
{
    unsigned i;

    for (i = 0; i < m->nstrings; i++) {
        if (strcmp(m->strings[i].key, key) == 0) {
            return &m->strings[i];
        }
    }

    return NULL;
}

static inline void
model_set(model_t *m, const char *key, const char *value)
{
    string_t *s = model_string(m, key);

    if (s == NULL) {
        assert_true(m->nstrings < KEYS_MAX);
        s = &m->strings[m->nstrings++];
        snprintf(s->key, sizeof(s->key), "%s", key);
    }

    snprintf(s->value, sizeof(s->value), "%s", value);
}

static inline int
model_delete(model_t *m, const char *key)
{
    string_t *s = model_string(m, key);

    if (s == NULL) {
        return 0;
    }

    *s = m->strings[--m->nstrings];
    return 1;
}

static inline void
model_push(model_t *m, const char *item, size_t len)
{
    if (m->nlist == m->list_size) {
        m->list_size = m->list_size * 2 + 64;
        m->list = realloc(m->list, m->list_size * sizeof(char *));
        assert_non_null(m->list);
    }

    m->list[m->nlist++] = strndup(item, len);
}

/* Redis forgets: back to n events and this cursor. */
static inline void
model_restore(model_t *m, size_t n, const char *key, const char *cursor)
{
    while (m->nlist > n) {
        free(m->list[--m->nlist]);
    }

    if (cursor != NULL) {
        model_set(m, key, cursor);
    } else {
        model_delete(m, key);
    }
}

static inline void
model_bulk(bytes_t *out, const char *text)
{
    char head[32];

    bytes_add(out, head,
              (size_t)snprintf(head, sizeof(head), "$%zu\r\n", strlen(text)));
    bytes_add(out, text, strlen(text));
    bytes_add(out, "\r\n", 2);
}

static inline void
model_line(bytes_t *out, const char *line)
{
    bytes_add(out, line, strlen(line));
    bytes_add(out, "\r\n", 2);
}

static inline void
model_eval(model_t *m, bytes_t *out, unsigned argc, char **argv, size_t *lens)
{
    unsigned i;
    string_t *s = model_string(m, argv[4]);
    const char *cursor = s != NULL ? s->value : "";

    assert_string_equal(argv[2], "2");
    assert_string_equal(argv[3], KEY);
    assert_true(argc > 7);

    if (strcmp(argv[0], "EVALSHA") == 0) {
        assert_string_equal(argv[1], voc_redis_push_sha1);
        if (!m->loaded) {
            model_line(out, "-NOSCRIPT No matching script.");
            return;
        }
    } else {
        assert_string_equal(argv[1], voc_redis_push_script);
        m->loaded = 1;
    }

    if (strcmp(cursor, argv[5]) != 0) {
        model_bulk(out, cursor);
        return;
    }

    if (m->wrong_type) {
        model_line(out, "-WRONGTYPE Operation against a key holding the "
                        "wrong kind of value script: fb5c, on "
                        "@user_script:6.");
        return;
    }

    for (i = 7; i < argc; i++) {
        model_push(m, argv[i], lens[i]);
    }

    model_set(m, argv[4], argv[6]);
    model_bulk(out, argv[6]);
}

static inline void
model_note(model_t *m, unsigned argc, char **argv)
{
    char *line = m->log[m->nlog % LOG_MAX];

    if (strncmp(argv[0], "EVAL", 4) == 0) {
        snprintf(line, sizeof(m->log[0]), "%s %s %s +%u", argv[0], argv[5],
                 argv[6], argc - 7);
    } else {
        snprintf(line, sizeof(m->log[0]), "%s%s%s%s%s", argv[0],
                 argc > 1 ? " " : "", argc > 1 ? argv[1] : "",
                 argc > 2 ? " " : "", argc > 2 ? argv[2] : "");
    }

    m->nlog++;
}

static inline void
model_auth(model_t *m, conn_t *c, bytes_t *out, unsigned argc, char **argv)
{
    if (m->password != NULL && strcmp(argv[argc - 1], m->password) == 0 &&
        (argc == 2 || strcmp(argv[1], m->user) == 0)) {
        c->authed = 1;
        model_line(out, "+OK");
    } else {
        model_line(out, "-WRONGPASS invalid username-password pair");
    }
}

static inline void
model_do(model_t *m, conn_t *c, bytes_t *out, unsigned argc, char **argv,
         size_t *lens)
{
    string_t *s;
    const char *name = argv[0];

    if (m->fault.times != 0 &&
        (m->fault.command == NULL || strcmp(name, m->fault.command) == 0)) {
        m->fault.times--;
        bytes_add(out, "-", 1);
        model_line(out, m->fault.error);

    } else if (strcmp(name, "AUTH") == 0) {
        model_auth(m, c, out, argc, argv);

    } else if (m->password != NULL && !c->authed) {
        model_line(out, "-NOAUTH Authentication required.");

    } else if (strcmp(name, "SELECT") == 0) {
        model_line(out, "+OK");

    } else if (strcmp(name, "PING") == 0) {
        model_line(out, "+PONG");

    } else if (strcmp(name, "ROLE") == 0) {
        model_line(out, "*3");
        model_bulk(out, m->role);
        model_line(out, ":1\r\n*0");

    } else if (strcmp(name, "GET") == 0) {
        s = model_string(m, argv[1]);
        if (s != NULL) {
            model_bulk(out, s->value);
        } else {
            model_line(out, "$-1");
        }

    } else if (strcmp(name, "SET") == 0) {
        assert_string_equal(argv[3], "NX");
        if (model_string(m, argv[1]) != NULL) {
            model_line(out, "$-1");
        } else {
            model_set(m, argv[1], argv[2]);
            model_line(out, "+OK");
        }

    } else if (strcmp(name, "DEL") == 0) {
        model_line(out, model_delete(m, argv[1]) ? ":1" : ":0");

    } else if (strncmp(name, "EVAL", 4) == 0) {
        model_eval(m, out, argc, argv, lens);

    } else {
        fail_msg("unknown command %s", name);
    }
}

/* One command off the connection; 0 where none is complete. */
static inline int
model_serve(model_t *m, conn_t *c)
{
    static char *argv[ARGS_MAX];
    static size_t lens[ARGS_MAX];
    bytes_t lost = {0};
    char *p = c->in.data, *end, *line;
    unsigned i, argc;

    if (c->in.len == 0 || (line = memchr(p, '\n', c->in.len)) == NULL) {
        return 0;
    }

    end = p + c->in.len;

    assert_int_equal(*p, '*');
    argc = (unsigned)strtoul(p + 1, NULL, 10);
    assert_true(argc > 0 && argc < ARGS_MAX);
    p = line + 1;

    for (i = 0; i < argc; i++) {
        line = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
        if (line == NULL) {
            return 0;
        }

        assert_int_equal(*p, '$');
        lens[i] = strtoul(p + 1, NULL, 10);
        p = line + 1;

        if ((size_t)(end - p) < lens[i] + 2) {
            return 0;
        }

        argv[i] = p;
        p += lens[i] + 2;
    }

    for (i = 0; i < argc; i++) {
        argv[i][lens[i]] = '\0'; /* its CR */
    }

    model_note(m, argc, argv);

    if (m->mute > 0) {
        m->mute--;
        model_do(m, c, &lost, argc, argv, lens);
        free(lost.data);
    } else {
        model_do(m, c, &c->out, argc, argv, lens);
    }

    bytes_drop(&c->in, (size_t)(p - c->in.data));

    return 1;
}

static inline void
conn_free(conn_t *c)
{
    if (c != NULL) {
        free(c->in.data);
        free(c->out.data);
        free(c);
    }
}

#endif
