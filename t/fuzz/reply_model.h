/*
 * A Redis that knows what the pusher says, and holds it to it: what a batch
 * holds follows what it expects to be there, each event once, in order.
 */

#ifndef REPLY_MODEL_H
#define REPLY_MODEL_H

#include <inttypes.h>

#include "fuzz.h"

#include "voc_pusher.h"
#include "voc_redis.h"

#define MODEL_KEY      "voc:events"
#define MODEL_PASSWORD "hunter2secret"
#define MODEL_ARGS_MAX (VOC_PUSHER_BATCH_EVENTS + 8)
#define MODEL_SENT_MAX (512 * 1024) /* bytes */

typedef struct {
    char key[64];
    char value[24];  /* "": there is none */
    uint64_t listed; /* the last event on the list */
} model_cursor_t;

typedef struct {
    char *sent; /* by the pusher, not yet looked at */
    size_t nsent;
    uint64_t commands; /* in all */
    model_cursor_t live, left;
    int loaded;
    int authed;
    int password;
    unsigned damaged; /* so many records may be missing */
} model_t;

typedef struct {
    voc_str_t argv[MODEL_ARGS_MAX];
    unsigned argc;
} model_command_t;

static inline int
model_is(voc_str_t s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static inline uint64_t
model_number(voc_str_t s)
{
    uint64_t n = 0;
    size_t i;

    must(s.len >= 1 && s.len <= 20 && (s.len == 1 || s.data[0] != '0'));
    for (i = 0; i < s.len; i++) {
        must(s.data[i] >= '0' && s.data[i] <= '9');
        n = n * 10 + (uint64_t)(s.data[i] - '0');
    }

    return n;
}

#define MODEL_PAYLOAD_MAX 3100 /* bytes */

/* What was accepted as number seq; now and then something long. */
static inline size_t
model_payload(char *out, uint64_t seq)
{
    size_t n = (size_t)sprintf(out, "{\"n\":%" PRIu64, seq * 7919);

    if (seq % 16 == 15) {
        memset(out + n, ' ', 3000);
        n += 3000;
    }
    return n;
}

/* ---- what was said ---------------------------------------------------- */

/* Takes "<type><n>CRLF" off; 0: it is not all there. */
static inline int
model_length(const char **p, const char *end, char type, size_t *n)
{
    const char *line;

    if (*p == end) {
        return 0;
    }
    must(**p == type);
    line = memchr(*p, '\r', (size_t)(end - *p));
    if (line == NULL || line + 1 == end) {
        return 0;
    }
    must(line[1] == '\n');
    *n = model_number((voc_str_t){*p + 1, (size_t)(line - *p - 1)});
    *p = line + 2;
    return 1;
}

/* The next command, which the caller drops; its size, or 0. */
static inline size_t
model_next(const model_t *m, model_command_t *command)
{
    const char *p = m->sent, *end = m->sent + m->nsent;
    size_t n, len;
    unsigned i;

    if (!model_length(&p, end, '*', &n)) {
        return 0;
    }
    must(n >= 1 && n <= MODEL_ARGS_MAX);
    command->argc = (unsigned)n;

    for (i = 0; i < command->argc; i++) {
        if (!model_length(&p, end, '$', &len) ||
            (size_t)(end - p) < len + 2) {
            return 0;
        }
        must(p[len] == '\r' && p[len + 1] == '\n');
        command->argv[i] = (voc_str_t){p, len};
        p += len + 2;
    }

    return (size_t)(p - m->sent);
}

static inline void
model_drop(model_t *m, size_t size)
{
    memmove(m->sent, m->sent + size, m->nsent - size);
    m->nsent -= size;
}

/* ---- what is answered ------------------------------------------------- */

static inline model_cursor_t *
model_cursor(model_t *m, voc_str_t key)
{
    must(model_is(key, m->live.key) || model_is(key, m->left.key));
    return model_is(key, m->live.key) ? &m->live : &m->left;
}

static inline void
model_bulk(char *out, const char *text)
{
    sprintf(out, "$%zu\r\n%s\r\n", strlen(text), text);
}

/* The number at the end of an event, which is sealed. */
static inline uint64_t
model_sealed(voc_str_t event)
{
    size_t n = event.len - 2;

    must(event.len > 8 && memcmp(event.data + n, "\"}", 2) == 0);
    while (event.data[n - 1] != ':') {
        must(--n > 0);
    }
    return model_number((voc_str_t){event.data + n, event.len - 2 - n});
}

/* Every event of a batch: the next ones, unless they are damaged. */
static inline void
model_check_batch(const model_t *m, const model_command_t *c, const char *id)
{
    static char event[MODEL_PAYLOAD_MAX + 64];
    uint64_t seq = model_number(c->argv[5]), next;
    unsigned i;

    for (i = 7; i < c->argc; i++) {
        next = model_sealed(c->argv[i]);
        must(next == seq + 1 || (m->damaged && next > seq));
        seq = next;
        size_t n = model_payload(event, seq);
        sprintf(event + n, ",\"seq\":\"%.16s:%" PRIu64 "\"}", id, seq);
        must(model_is(c->argv[i], event));
    }

    must(model_number(c->argv[6]) == seq);
}

static inline void
model_eval(model_t *m, const model_command_t *c, char *out)
{
    model_cursor_t *cursor;
    int sha = model_is(c->argv[0], "EVALSHA");

    must(c->argc > 7 && model_is(c->argv[2], "2"));
    must(model_is(c->argv[3], MODEL_KEY));
    must(model_is(c->argv[1],
                  sha ? voc_redis_push_sha1 : voc_redis_push_script));
    cursor = model_cursor(m, c->argv[4]);
    model_check_batch(m, c, strrchr(cursor->key, ':') + 1);

    if (sha && !m->loaded) {
        sprintf(out, "-NOSCRIPT No matching script.\r\n");
        return;
    }
    m->loaded = 1;

    if (model_is(c->argv[5], cursor->value)) {
        sprintf(cursor->value, "%.*s", (int)c->argv[6].len, c->argv[6].data);
        cursor->listed = model_number(c->argv[6]);
    }
    model_bulk(out, cursor->value);
}

static inline void
model_set(model_t *m, const model_command_t *c, char *out)
{
    model_cursor_t *cursor = model_cursor(m, c->argv[1]);

    must(c->argc == 4 && model_is(c->argv[3], "NX"));
    if (cursor->value[0] != '\0') {
        sprintf(out, "$-1\r\n");
        return;
    }

    cursor->listed = model_number(c->argv[2]);
    sprintf(cursor->value, "%" PRIu64, cursor->listed);
    sprintf(out, "+OK\r\n");
}

/* Does what the command says; out gets the answer, less than 256 bytes. */
static inline void
model_answer(model_t *m, const model_command_t *c, char *out)
{
    voc_str_t name = c->argv[0];
    model_cursor_t *cursor;

    if (model_is(name, "AUTH")) {
        must(model_is(c->argv[c->argc - 1], MODEL_PASSWORD));
        must(!m->authed);
        m->authed = 1;
        sprintf(out, "+OK\r\n");
        return;
    }

    /* it was told that it is welcome, but not by us */
    if (m->password && !m->authed) {
        sprintf(out, "-NOAUTH Authentication required.\r\n");
        return;
    }

    if (model_is(name, "SELECT")) {
        sprintf(out, "+OK\r\n");
    } else if (model_is(name, "PING")) {
        sprintf(out, "+PONG\r\n");
    } else if (model_is(name, "ROLE")) {
        sprintf(out, "*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n");
    } else if (model_is(name, "GET")) {
        cursor = model_cursor(m, c->argv[1]);
        if (cursor->value[0] == '\0') {
            sprintf(out, "$-1\r\n");
        } else {
            model_bulk(out, cursor->value);
        }
    } else if (model_is(name, "SET")) {
        model_set(m, c, out);
    } else if (model_is(name, "DEL")) {
        cursor = model_cursor(m, c->argv[1]);
        must(cursor == &m->left);
        sprintf(out, ":%d\r\n", cursor->value[0] != '\0');
        cursor->value[0] = '\0';
    } else {
        must(model_is(name, "EVAL") || model_is(name, "EVALSHA"));
        model_eval(m, c, out);
    }
}

#endif
