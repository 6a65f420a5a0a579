/*
 * A Redis that knows what the pusher says, and holds it to it: a batch is one
 * transaction, what it holds follows what it expects to be there, each event
 * once, in order.  Of the list it keeps which events are on it.
 */

#ifndef REPLY_MODEL_H
#define REPLY_MODEL_H

#include <inttypes.h>

#include "fuzz.h"

#include "voc_pusher.h"
#include "voc_redis_push.h"

#define MODEL_KEY      "voc:events"
#define MODEL_PASSWORD "hunter2secret"
#define MODEL_ARGS_MAX (VOC_PUSHER_BATCH_EVENTS + 8)
#define MODEL_SENT_MAX (512 * 1024) /* bytes */
#define MODEL_LIST_MAX 4096         /* items */
#define MODEL_BIG      70000        /* bytes of what someone else pushed */
#define MODEL_OUT_MAX  (MODEL_BIG + 4096) /* bytes of an answer */

typedef struct {
    char key[64];
    char value[24];  /* "": there is none */
    uint64_t listed; /* the last event that it stands for */
} model_cursor_t;

typedef struct {
    const model_cursor_t *of; /* NULL: someone else's */
    uint64_t seq;
} model_item_t;

/* What fails, though it was queued; until the next commit. */
typedef enum {
    MODEL_WELL,
    MODEL_WRONGTYPE, /* all that is done to the list */
    MODEL_NO_RPUSH,
    MODEL_NO_GET, /* in the commit */
    MODEL_NO_SET,
    MODEL_FAULTS
} model_fault_e;

typedef struct {
    char *sent; /* by the pusher, not yet looked at */
    size_t nsent;
    size_t queued;     /* bytes of it: the transaction, MULTI and on */
    uint64_t commands; /* in all */
    model_cursor_t live, left;
    model_item_t list[MODEL_LIST_MAX];
    unsigned nlist;
    unsigned pushed; /* the last ones of it, without a commit yet */
    int authed;
    int password;
    int multi;        /* in a transaction, */
    int aborted;      /* ... which something of was refused */
    int rights;       /* this connection may take a batch back */
    int quarrel;      /* every batch finds another cursor */
    int spoilt;       /* the list has gaps or doubles that must be */
    unsigned damaged; /* so many records may be missing */
    model_fault_e fault;
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

/* The command that is sent from there on; its size, or 0. */
static inline size_t
model_at(const model_t *m, size_t from, model_command_t *command)
{
    const char *p = m->sent + from, *end = m->sent + m->nsent;
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

    return (size_t)(p - m->sent) - from;
}

/* The next one, which model_serve() or model_refuse() take off. */
static inline size_t
model_next(const model_t *m, model_command_t *command)
{
    return model_at(m, m->queued, command);
}

static inline void
model_drop(model_t *m, size_t size)
{
    memmove(m->sent, m->sent + size, m->nsent - size);
    m->nsent -= size;
}

/* ---- the list --------------------------------------------------------- */

static inline model_cursor_t *
model_cursor(model_t *m, voc_str_t key)
{
    must(model_is(key, m->live.key) || model_is(key, m->left.key));
    return model_is(key, m->live.key) ? &m->live : &m->left;
}

/* An event as it has to be on the list. */
static inline voc_str_t
model_text(const model_item_t *item)
{
    static char text[MODEL_BIG];
    size_t n;

    if (item->of == NULL) {
        memset(text, 'x', MODEL_BIG);
        return (voc_str_t){text, MODEL_BIG};
    }

    n = model_payload(text, item->seq);
    n += (size_t)sprintf(text + n,
                         ",\"received\":\"1970-01-01T00:00:00.000Z\","
                         "\"seq\":\"%.16s:%" PRIu64 "\"}",
                         strrchr(item->of->key, ':') + 1, item->seq);
    return (voc_str_t){text, n};
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

/* It is one that was accepted, and nothing but it. */
static inline model_item_t
model_item(const model_t *m, voc_str_t event)
{
    model_item_t item = {&m->live, model_sealed(event)};

    if (!voc_str_equal(event, model_text(&item))) {
        item.of = &m->left;
        must(voc_str_equal(event, model_text(&item)));
    }
    return item;
}

/* What stands behind that event is gone. */
static inline void
model_forget(model_t *m, const model_cursor_t *cursor, uint64_t seq)
{
    unsigned i, n = 0;

    for (i = 0; i < m->nlist; i++) {
        if (m->list[i].of != cursor || m->list[i].seq <= seq) {
            m->list[n++] = m->list[i];
        }
    }
    m->nlist = n;
}

/* Every event of the batch: the next ones, unless they are damaged. */
static inline void
model_check_batch(const model_t *m, const model_cursor_t *cursor,
                  unsigned count, uint64_t seq)
{
    const model_item_t *item = m->list + m->nlist - count;

    for (; count > 0; count--, item++) {
        must(item->of == cursor);
        must(item->seq == seq + 1 || (m->damaged && item->seq > seq));
        seq = item->seq;
    }
}

/* ---- commands of the list --------------------------------------------- */

static inline void
model_bulk(char *out, voc_str_t text)
{
    out += sprintf(out, "$%zu\r\n", text.len);
    memcpy(out, text.data, text.len);
    memcpy(out + text.len, "\r\n", 3);
}

static inline void
model_wrong_type(char *out)
{
    sprintf(out, "-WRONGTYPE Operation against a key holding the wrong kind "
                 "of value\r\n");
}

static inline void
model_rpush(model_t *m, const model_command_t *c, char *out)
{
    unsigned i;

    must(c->argc > 2 && model_is(c->argv[1], MODEL_KEY));
    if (m->fault == MODEL_WRONGTYPE) {
        model_wrong_type(out);
    } else if (m->fault == MODEL_NO_RPUSH) {
        sprintf(out, "-NOPERM x\r\n");
    } else if (c->argc - 2 > MODEL_LIST_MAX - m->nlist) {
        sprintf(out, "-OOM x\r\n");
    } else {
        m->pushed = c->argc - 2;
        for (i = 2; i < c->argc; i++) {
            m->list[m->nlist++] = model_item(m, c->argv[i]);
        }
        sprintf(out, ":%u\r\n", m->nlist);
    }
}

/* The commit's: the cursor is the new one, or *out says why not. */
static inline int
model_move(model_t *m, model_cursor_t *cursor, const model_command_t *c,
           char *out)
{
    voc_str_t value = {cursor->value, strlen(cursor->value)};

    if (m->fault == MODEL_NO_GET) {
        sprintf(out, "-WRONGTYPE of the cursor\r\n");
    } else if (m->quarrel) {
        sprintf(out, "$1\r\n0\r\n");
    } else if (!voc_str_equal(value, c->argv[5])) {
        model_bulk(out, value);
    } else if (m->fault == MODEL_NO_SET) {
        sprintf(out, "-OOM command not allowed\r\n");
    } else {
        sprintf(cursor->value, "%.*s", (int)c->argv[6].len, c->argv[6].data);
        cursor->listed = model_number(c->argv[6]);
        model_bulk(out, c->argv[6]);
        return 1;
    }

    return 0;
}

static inline void
model_commit(model_t *m, const model_command_t *c, char *out)
{
    model_cursor_t *cursor;
    uint64_t count;
    unsigned pushed = m->pushed;

    must(c->argc == 9 && model_is(c->argv[1], voc_redis_commit_script));
    must(model_is(c->argv[2], "2") && model_is(c->argv[3], MODEL_KEY));
    cursor = model_cursor(m, c->argv[4]);
    count = model_number(c->argv[7]);
    m->pushed = 0;

    if (m->fault == MODEL_WRONGTYPE) {
        model_wrong_type(out);
        return;
    }
    if (m->nlist == 0 ||
        !voc_str_equal(model_text(&m->list[m->nlist - 1]), c->argv[8])) {
        m->spoilt |= pushed > 0; /* someone came between, without MULTI */
        sprintf(out, "-ERR the list does not end with the batch\r\n");
        return;
    }

    must(count > 0 && (pushed == count || pushed == 0));
    if (pushed > 0) {
        model_check_batch(m, cursor, pushed, model_number(c->argv[5]));
        must(model_number(c->argv[6]) == m->list[m->nlist - 1].seq);
    }

    m->spoilt |= pushed == 0; /* what it is about was there before */
    if (!model_move(m, cursor, c, out)) {
        must(count <= m->nlist);
        m->nlist -= (unsigned)count;
    }
}

/* Of all the list does to others: what the rights are tried with. */
static inline void
model_try(model_t *m, const model_command_t *c, char *out)
{
    int trim = model_is(c->argv[0], "LTRIM");

    must(c->argc == (trim ? 4 : 3) && model_is(c->argv[1], MODEL_KEY));
    if (m->fault == MODEL_WRONGTYPE) {
        model_wrong_type(out);
    } else if (trim) {
        must(model_is(c->argv[2], "0") && model_is(c->argv[3], "-1"));
        sprintf(out, "+OK\r\n");
    } else if (model_is(c->argv[2], "-1") && m->nlist > 0) {
        model_bulk(out, model_text(&m->list[m->nlist - 1]));
    } else {
        sprintf(out, "$-1\r\n");
    }
}

/* ---- commands --------------------------------------------------------- */

static inline void
model_set(model_t *m, const model_command_t *c, char *out)
{
    model_cursor_t *cursor = model_cursor(m, c->argv[1]);
    uint64_t number = model_number(c->argv[2]);

    must(c->argc == 4 && model_is(c->argv[3], "NX"));
    if (cursor->value[0] != '\0') {
        sprintf(out, "$-1\r\n");
        return;
    }

    m->spoilt |= number > cursor->listed;
    model_forget(m, cursor, number);
    cursor->listed = number;
    sprintf(cursor->value, "%" PRIu64, number);
    sprintf(out, "+OK\r\n");
}

static inline void
model_auth(model_t *m, const model_command_t *c, char *out)
{
    must(model_is(c->argv[c->argc - 1], MODEL_PASSWORD));
    must(!m->authed);
    m->authed = 1;
    sprintf(out, "+OK\r\n");
}

/* Does what the command says; out gets the answer. */
static inline void
model_do(model_t *m, const model_command_t *c, char *out)
{
    voc_str_t name = c->argv[0];
    model_cursor_t *cursor;

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
            model_bulk(out,
                       (voc_str_t){cursor->value, strlen(cursor->value)});
        }
    } else if (model_is(name, "SET")) {
        model_set(m, c, out);
    } else if (model_is(name, "DEL")) {
        cursor = model_cursor(m, c->argv[1]);
        must(cursor == &m->left);
        sprintf(out, ":%d\r\n", cursor->value[0] != '\0');
        cursor->value[0] = '\0';
    } else if (model_is(name, "RPUSH")) {
        model_rpush(m, c, out);
    } else if (model_is(name, "EVAL")) {
        model_commit(m, c, out);
        m->fault = MODEL_WELL;
    } else {
        must(model_is(name, "LINDEX") || model_is(name, "LTRIM"));
        model_try(m, c, out);
    }
}

/* ---- transactions ----------------------------------------------------- */

/* Commands of a batch that were not queued, and nothing commits. */
static inline void
model_unfinished(model_t *m)
{
    m->spoilt |= m->pushed > 0;
    m->pushed = 0;
}

/* All of it up to EXEC, of that size, is done with. */
static inline void
model_done(model_t *m, size_t size)
{
    model_drop(m, m->queued + size);
    m->queued = 0;
    m->multi = m->aborted = 0;
}

static inline void
model_exec(model_t *m, char *out)
{
    static model_command_t command;
    size_t at = model_at(m, 0, &command); /* MULTI */
    char *p = out + 4;

    while (at < m->queued) {
        at += model_at(m, at, &command);
        model_do(m, &command, p);
        p += strlen(p);
    }

    must(m->pushed == 0);
    must(model_is(command.argv[0], "LTRIM") ||
         model_is(command.argv[0], "EVAL"));
    m->rights |= model_is(command.argv[0], "LTRIM");
    memcpy(out, "*2\r\n", 4); /* of two commands each */
}

/* One command off the connection; out gets its answer. */
static inline void
model_serve(model_t *m, const model_command_t *c, size_t size, char *out)
{
    voc_str_t name = c->argv[0];

    if (m->password && !m->authed && !model_is(name, "AUTH")) {
        /* it was told that it is welcome, but not by us */
        sprintf(out, "-NOAUTH Authentication required.\r\n");
        model_drop(m, size);
    } else if (model_is(name, "AUTH")) {
        model_auth(m, c, out);
        model_drop(m, size);
    } else if (model_is(name, "MULTI")) {
        must(!m->multi);
        m->multi = 1;
        m->queued = size;
        sprintf(out, "+OK\r\n");
    } else if (model_is(name, "EXEC")) {
        if (!m->multi) {
            sprintf(out, "-ERR EXEC without MULTI\r\n");
        } else if (m->aborted) {
            sprintf(out, "-EXECABORT Transaction discarded because of "
                         "previous errors.\r\n");
        } else {
            model_exec(m, out);
        }
        model_unfinished(m);
        model_done(m, size);
    } else if (m->multi) {
        m->queued += size;
        sprintf(out, "+QUEUED\r\n");
    } else {
        model_do(m, c, out);
        model_drop(m, size);
    }
}

/* It was answered by someone else, as not to be done. */
static inline void
model_refuse(model_t *m, const model_command_t *c, size_t size)
{
    if (m->multi && !model_is(c->argv[0], "EXEC")) {
        m->aborted = 1;
        m->queued += size;
        return;
    }

    model_unfinished(m);
    model_done(m, size);
}

#endif
