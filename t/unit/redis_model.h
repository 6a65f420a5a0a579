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

#include "voc_redis_push.h"

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
    bytes_t in;     /* from the pusher, not yet looked at */
    bytes_t out;    /* replies, not yet delivered */
    bytes_t queued; /* the commands of a transaction, */
    unsigned multi; /* how many and one; 0: there is none */
    int aborted;
    int mute; /* replies are lost */
    int authed;
} conn_t;

typedef struct {
    unsigned argc;
    char *argv[ARGS_MAX];
    size_t lens[ARGS_MAX];
} command_t;

typedef struct {
    char key[128];
    char value[64];
} string_t;

/* Of a transaction's commands when they are queued. */
typedef struct {
    const char *command; /* NULL: any; "commit": what EVAL does in EXEC */
    const char *error;
    int times;
} fault_t;

typedef struct {
    string_t strings[KEYS_MAX];
    unsigned nstrings;
    char **list;
    size_t nlist, list_size;
    int wrong_type;
    const char *role;
    const char *user, *password;
    fault_t fault;
    int mute; /* so many replies are lost; a transaction's are one */
    char log[LOG_MAX][160];
    unsigned nlog;
    unsigned pushes; /* RPUSHes carried out */
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

/*
 * What Redis refuses for its own state it refuses when it is queued or at
 * EXEC: MULTI itself is allowed in all of them, but not to every user.
 */
static inline int
model_fails(model_t *m, bytes_t *out, const char *name)
{
    if (m->fault.times == 0 ||
        (m->fault.command == NULL
             ? strcmp(name, "commit") == 0 || strcmp(name, "MULTI") == 0
             : strcmp(name, m->fault.command) != 0)) {
        return 0;
    }

    m->fault.times--;
    bytes_add(out, "-", 1);
    model_line(out, m->fault.error);

    return 1;
}

static inline void
model_wrong_type(bytes_t *out)
{
    model_line(out, "-WRONGTYPE Operation against a key holding the wrong "
                    "kind of value");
}

static inline void
model_rpush(model_t *m, bytes_t *out, const command_t *c)
{
    unsigned i;
    char line[32];

    assert_true(c->argc > 2);
    assert_string_equal(c->argv[1], KEY);

    if (m->wrong_type) {
        model_wrong_type(out);
        return;
    }

    m->pushes++;
    for (i = 2; i < c->argc; i++) {
        model_push(m, c->argv[i], c->lens[i]);
    }

    snprintf(line, sizeof(line), ":%zu", m->nlist);
    model_line(out, line);
}

/* The commit script. */
static inline void
model_commit(model_t *m, bytes_t *out, const command_t *c)
{
    size_t n;
    string_t *s = model_string(m, c->argv[4]);
    const char *cursor = s != NULL ? s->value : "";

    assert_int_equal(c->argc, 9);
    assert_string_equal(c->argv[1], voc_redis_commit_script);
    assert_string_equal(c->argv[2], "2");
    assert_string_equal(c->argv[3], KEY);

    if (m->wrong_type) {
        model_wrong_type(out);
        return;
    }

    if (m->nlist == 0 || strcmp(m->list[m->nlist - 1], c->argv[8]) != 0) {
        model_line(out, "-ERR the list does not end with the batch");
        return;
    }

    n = strtoul(c->argv[7], NULL, 10);
    assert_in_range(n, 1, m->nlist);

    if (!model_fails(m, out, "commit")) {
        if (strcmp(cursor, c->argv[5]) == 0) {
            model_set(m, c->argv[4], c->argv[6]);
            model_bulk(out, c->argv[6]);
            return;
        }
        model_bulk(out, cursor);
    }

    while (n-- > 0) {
        free(m->list[--m->nlist]);
    }
}

/* A transaction is noted as what it commits. */
static inline void
model_note(model_t *m, const command_t *c)
{
    char *const *argv = c->argv;
    char *line = m->log[m->nlog % LOG_MAX];

    if (strcmp(argv[0], "MULTI") == 0 || strcmp(argv[0], "EXEC") == 0 ||
        strcmp(argv[0], "RPUSH") == 0 || strcmp(argv[0], "LINDEX") == 0 ||
        strcmp(argv[0], "LTRIM") == 0) {
        return;
    }

    if (strcmp(argv[0], "EVAL") == 0) {
        snprintf(line, sizeof(m->log[0]), "EVAL %s %s +%s", argv[5], argv[6],
                 argv[7]);
    } else {
        snprintf(line, sizeof(m->log[0]), "%s%s%s%s%s", argv[0],
                 c->argc > 1 ? " " : "", c->argc > 1 ? argv[1] : "",
                 c->argc > 2 ? " " : "", c->argc > 2 ? argv[2] : "");
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
model_run(model_t *m, bytes_t *out, const command_t *c)
{
    string_t *s;
    char *const *argv = c->argv;
    const char *name = argv[0];

    if (strcmp(name, "SELECT") == 0) {
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

    } else if (strcmp(name, "LINDEX") == 0 || strcmp(name, "LTRIM") == 0) {
        assert_string_equal(argv[1], KEY);
        if (m->wrong_type) {
            model_wrong_type(out);
        } else if (name[1] == 'T') {
            assert_string_equal(argv[2], "0");
            assert_string_equal(argv[3], "-1");
            model_line(out, "+OK");
        } else {
            /* an event may be larger than what is read of an answer */
            assert_string_equal(argv[2], "9223372036854775807");
            model_line(out, "$-1");
        }

    } else if (strcmp(name, "RPUSH") == 0) {
        model_rpush(m, out, c);

    } else if (strcmp(name, "EVAL") == 0) {
        model_commit(m, out, c);

    } else {
        fail_msg("unknown command %s", name);
    }
}

/* One command off the bytes; how many it takes, 0 where none is complete. */
static inline size_t
model_parse(char *data, size_t len, command_t *c)
{
    char *p = data, *end = data + len, *line;
    unsigned i;

    if (len == 0 || (line = memchr(p, '\n', len)) == NULL) {
        return 0;
    }

    assert_int_equal(*p, '*');
    c->argc = (unsigned)strtoul(p + 1, NULL, 10);
    assert_true(c->argc > 0 && c->argc < ARGS_MAX);
    p = line + 1;

    for (i = 0; i < c->argc; i++) {
        line = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
        if (line == NULL) {
            return 0;
        }

        assert_int_equal(*p, '$');
        c->lens[i] = strtoul(p + 1, NULL, 10);
        p = line + 1;

        if ((size_t)(end - p) < c->lens[i] + 2) {
            return 0;
        }

        c->argv[i] = p;
        p += c->lens[i] + 2;
    }

    return (size_t)(p - data);
}

static inline void
model_terminate(command_t *c)
{
    unsigned i;

    for (i = 0; i < c->argc; i++) {
        c->argv[i][c->lens[i]] = '\0'; /* its CR */
    }
}

static inline void
model_exec(model_t *m, conn_t *c, bytes_t *out)
{
    char line[32];
    size_t at = 0;
    static command_t command;

    if (c->aborted) {
        model_line(out, "-EXECABORT Transaction discarded because of "
                        "previous errors.");
    } else {
        snprintf(line, sizeof(line), "*%u", c->multi - 1);
        model_line(out, line);

        while (at < c->queued.len) {
            at += model_parse(c->queued.data + at, c->queued.len - at,
                              &command);
            model_terminate(&command);
            model_run(m, out, &command);
        }
    }

    c->queued.len = 0;
    c->multi = 0;
    c->aborted = 0;
}

static inline void
model_do(model_t *m, conn_t *c, bytes_t *out, command_t *command,
         const char *bytes, size_t len)
{
    char **argv = command->argv;
    const char *name = argv[0];
    size_t copied = c->queued.len;

    bytes_add(&c->queued, bytes, len);
    model_terminate(command);
    model_note(m, command);

    if (model_fails(m, out, name)) {
        c->aborted = c->multi > 0;
        c->queued.len = copied;
        if (strcmp(name, "EXEC") == 0) {
            c->queued.len = 0;
            c->multi = 0;
            c->aborted = 0;
        }
        return;
    }

    if (strcmp(name, "EXEC") != 0 && c->multi > 0) {
        c->multi++;
        model_line(out, "+QUEUED");
        return;
    }

    c->queued.len = copied;

    if (strcmp(name, "AUTH") == 0) {
        model_auth(m, c, out, command->argc, argv);

    } else if (m->password != NULL && !c->authed) {
        model_line(out, "-NOAUTH Authentication required.");

    } else if (strcmp(name, "MULTI") == 0) {
        c->multi = 1;
        model_line(out, "+OK");

    } else if (strcmp(name, "EXEC") == 0 && c->multi > 0) {
        model_exec(m, c, out);

    } else if (strcmp(name, "EXEC") == 0) {
        model_line(out, "-ERR EXEC without MULTI");

    } else {
        model_run(m, out, command);
    }
}

/* One command off the connection; 0 where none is complete. */
static inline int
model_serve(model_t *m, conn_t *c)
{
    bytes_t lost = {0};
    size_t len;
    static command_t command;

    len = model_parse(c->in.data, c->in.len, &command);
    if (len == 0) {
        return 0;
    }

    if (c->multi == 0) {
        c->mute = m->mute > 0;
        m->mute -= c->mute;
    }

    model_do(m, c, c->mute ? &lost : &c->out, &command, c->in.data, len);
    free(lost.data);
    bytes_drop(&c->in, len);

    return 1;
}

static inline void
conn_free(conn_t *c)
{
    if (c != NULL) {
        free(c->in.data);
        free(c->out.data);
        free(c->queued.data);
        free(c);
    }
}

#endif
