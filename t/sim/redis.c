/*
 * The model of Redis: RESP in and out, one list, cursors, and the script,
 * which is read line by line, so that it is the pusher's own that runs.
 */

#include <openssl/sha.h>

#include "sim.h"

static char *argv[ARGS_MAX];
static size_t lens[ARGS_MAX];
static unsigned argc;

/* ---- its state -----------------------------------------------------------
 */

static redis_state_t *
state_of(const conn_t *c)
{
    return c->old_master ? &sim.redis.old : &sim.redis.state;
}

static cursor_t *
cursor_of(redis_state_t *state, const char *id)
{
    unsigned i;

    for (i = 0; i < state->ncursors; i++) {
        if (memcmp(state->cursors[i].id, id, VOC_JOURNAL_ID_LEN) == 0) {
            return &state->cursors[i];
        }
    }

    return NULL;
}

int
redis_has_cursor(const char *id)
{
    return cursor_of(&sim.redis.state, id) != NULL;
}

static void
cursor_set(redis_state_t *state, const char *id, const char *value)
{
    cursor_t *cursor = cursor_of(state, id);

    if (cursor == NULL) {
        if (state->ncursors == KEYS_MAX) {
            fail("too many cursors");
        }
        cursor = &state->cursors[state->ncursors++];
        memcpy(cursor->id, id, VOC_JOURNAL_ID_LEN);
    }

    snprintf(cursor->value, sizeof(cursor->value), "%s", value);
    cursor->foreign = 0;
}

static const char *
cursor_id(unsigned arg)
{
    static const char key[] = "{" SIM_KEY "}:cursor:";

    if (arg >= argc || lens[arg] != sizeof(key) - 1 + VOC_JOURNAL_ID_LEN ||
        memcmp(argv[arg], key, sizeof(key) - 1) != 0) {
        fail("not the key of a cursor: %s", arg < argc ? argv[arg] : "");
    }

    return argv[arg] + sizeof(key) - 1;
}

void
redis_free(void)
{
    free(sim.redis.list);
}

/* ---- replies -------------------------------------------------------------
 */

static void
reply_line(conn_t *c, char type, const char *text)
{
    bytes_add(&c->down, &type, 1);
    bytes_add(&c->down, text, strlen(text));
    bytes_add(&c->down, "\r\n", 2);
}

static void
reply_bulk(conn_t *c, const char *text)
{
    char head[32];

    snprintf(head, sizeof(head), "%zu", strlen(text));
    reply_line(c, '$', head);
    bytes_add(&c->down, text, strlen(text));
    bytes_add(&c->down, "\r\n", 2);
}

/* ---- the script ----------------------------------------------------------
 */

typedef enum {
    OP_GET,
    OP_COMPARE,
    OP_SET_SAME,
    OP_PUSH,
    OP_SET,
    OP_RETURN
} op_e;

static const char *const ops[] = {
    [OP_GET] = "local cursor = redis.call('GET', KEYS[2]) or ''\n",
    [OP_COMPARE] = "if cursor ~= ARGV[1] then\n    return cursor\nend\n",
    [OP_SET_SAME] = "redis.call('SET', KEYS[2], cursor, 'XX')\n",
    [OP_PUSH] = "redis.call('RPUSH', KEYS[1], unpack(ARGV, 3))\n",
    [OP_SET] = "redis.call('SET', KEYS[2], ARGV[2])\n",
    [OP_RETURN] = "return ARGV[2]\n"};

#define OPS (sizeof(ops) / sizeof(ops[0]))

static op_e script[16];
static unsigned script_n;
static char script_sha1[41];

static void
script_load(const char *text, size_t len)
{
    unsigned char digest[SHA_DIGEST_LENGTH];
    const char *at = text;
    size_t i;

    SHA1((const unsigned char *)text, len, digest);
    for (i = 0; i < sizeof(digest); i++) {
        sprintf(script_sha1 + 2 * i, "%02x", digest[i]);
    }

    for (script_n = 0; at < text + len && script_n < 16; script_n++) {
        for (i = 0; i < OPS && strncmp(at, ops[i], strlen(ops[i])) != 0;
             i++) {
        }
        if (i == OPS) {
            fail("the model does not know this line of the script: %s", at);
        }
        script[script_n] = (op_e)i;
        at += strlen(ops[i]);
    }
}

static void
script_push(conn_t *c, const char *id, uint64_t previous)
{
    redis_t *r = &sim.redis;
    unsigned i;
    uint32_t n;

    for (i = 7; i < argc; i++) {
        n = oracle_push(id, &previous, argv[i], lens[i], c->old_master);
        if (!c->old_master) {
            r->list = grown(r->list, r->state.nlist + 1, &r->list_size,
                            sizeof(uint32_t));
            r->list[r->state.nlist++] = n;
        }
    }
}

static void
script_refuses(conn_t *c, const char *error)
{
    char text[256];

    reached("in a script:", error);
    snprintf(text, sizeof(text),
             roll(2) ? "ERR Error running script (call to f_x): "
                       "@user_script:1: -%s"
                     : "%s script: x, on @user_script:6.",
             error);
    reply_line(c, '-', text);
}

/* An error may come before its RPUSH, never behind it. */
static int
script_error(conn_t *c)
{
    redis_t *r = &sim.redis;

    if (r->error == NULL || r->errors == 0 || (!r->in_scripts && roll(2))) {
        return 0;
    }

    r->errors--;
    script_refuses(c, r->error);
    return 1;
}

static void
script_run(conn_t *c)
{
    redis_state_t *state = state_of(c);
    const char *id = cursor_id(4);
    cursor_t *cursor = cursor_of(state, id);
    char value[24];
    unsigned i;

    value[0] = '\0';

    for (i = 0; i < script_n; i++) {
        if (script[i] == OP_GET && cursor != NULL &&
            cursor->foreign == FOREIGN_TYPE) {
            script_refuses(c, "WRONGTYPE Operation against a key");
            return;
        }
        if (script[i] < OP_SET && script_error(c)) {
            return;
        }

        switch (script[i]) {
        case OP_GET:
            snprintf(value, sizeof(value), "%s",
                     cursor != NULL ? cursor->value : "");
            break;
        case OP_COMPARE:
            if (strcmp(value, argv[5]) != 0) {
                say("Redis: a batch behind %s, the cursor is %s", argv[5],
                    value);
                reply_bulk(c, value);
                return;
            }
            break;
        case OP_SET_SAME:
            break;
        case OP_PUSH:
            if (sim.redis.wrong_list && !c->old_master) {
                script_refuses(c, "WRONGTYPE Operation against a key");
                return;
            }
            if (cursor != NULL && cursor->foreign) {
                fail("a batch behind a cursor that someone else has set");
            }
            say("Redis: %u events behind %s, up to %s, of journal %d%s",
                argc - 7, value, argv[6], store_of(id),
                c->old_master ? ", to the old master" : "");
            script_push(c, id, strtoull(value, NULL, 10));
            break;
        case OP_SET:
            cursor_set(state, id, argv[6]);
            break;
        case OP_RETURN:
            reply_bulk(c, argv[6]);
            return;
        }
    }
}

static void
redis_eval(conn_t *c, int by_sha1)
{
    redis_t *r = &sim.redis;

    if (argc < 8 || strcmp(argv[2], "2") != 0 ||
        strcmp(argv[3], SIM_KEY) != 0) {
        fail("not a script's call");
    }

    if (!by_sha1) {
        script_load(argv[1], lens[1]);
        r->loaded = 1;
    } else if (!r->loaded || strcmp(argv[1], script_sha1) != 0) {
        reply_line(c, '-', "NOSCRIPT No matching script. Please use EVAL.");
        return;
    }

    if (sim.now < r->replica_until && !c->old_master) {
        reply_line(c, '-',
                   "READONLY You can't write against a read only "
                   "replica.");
        return;
    }

    script_run(c);
}

/* ---- commands ------------------------------------------------------------
 */

static void
redis_set(conn_t *c)
{
    redis_state_t *state = state_of(c);
    const char *id = cursor_id(1);

    if (argc != 4 || strcmp(argv[3], "NX") != 0) {
        fail("SET without NX");
    }

    if (cursor_of(state, id) != NULL) {
        reply_line(c, '$', "-1");
        return;
    }

    say("Redis: cursor %s of journal %d", argv[2], store_of(id));
    oracle_cursor_made(id, strtoull(argv[2], NULL, 10), c->old_master);
    cursor_set(state, id, argv[2]);
    reply_line(c, '+', "OK");
}

static void
redis_delete(conn_t *c)
{
    redis_state_t *state = state_of(c);
    const char *id = cursor_id(1);
    cursor_t *cursor = cursor_of(state, id);
    int s = store_of(id);

    if (s != -1 && !sim.stores[s].deleted) {
        fail("the cursor of journal %d goes before its file", s);
    }

    if (cursor == NULL) {
        reply_line(c, ':', "0");
        return;
    }

    *cursor = state->cursors[--state->ncursors];
    reply_line(c, ':', "1");
}

/*
 * Of a leftover any number is believed: its last records may have been lost
 * with the power, after Redis had them.
 */
static int
redis_bounded(int s)
{
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0 && sim.procs[i].store == s) {
            return 1;
        }
    }

    return 0;
}

static void
redis_get(conn_t *c)
{
    const char *id = cursor_id(1);
    cursor_t *cursor = cursor_of(state_of(c), id);

    /* who has seen the new master sees no more of the old one */
    if (sim.redis.has_old && !c->old_master) {
        sim.redis.has_old = 0;
        net_server_gone(0);
    }

    if (cursor != NULL && cursor->foreign == FOREIGN_BEYOND &&
        !redis_bounded(store_of(id))) {
        redis_mend(state_of(c), cursor);
        cursor = cursor_of(state_of(c), id);
    }
    if (cursor != NULL && cursor->foreign) {
        reached("a cursor of someone else's:",
                cursor->foreign == FOREIGN_TYPE     ? "type"
                : cursor->foreign == FOREIGN_BEYOND ? "beyond"
                                                    : "no number");
        if (cursor->foreign == FOREIGN_TYPE) {
            reply_line(c, '-', "WRONGTYPE Operation against a key");
            return;
        }
    }

    say("Redis: the cursor of journal %d is %s", store_of(id),
        cursor != NULL ? cursor->value : "not there");

    if (cursor != NULL) {
        reply_bulk(c, cursor->value);
    } else {
        reply_line(c, '$', "-1");
    }
}

static void
redis_role(conn_t *c)
{
    reply_line(c, '*', "3");
    reply_bulk(c, sim.now < sim.redis.replica_until && !c->old_master
                      ? "slave"
                      : "master");
    reply_line(c, ':', "1");
    reply_line(c, '*', "0");
}

/* 1: another answer than the command's own; it is not carried out. */
static int
redis_refuses(conn_t *c)
{
    redis_t *r = &sim.redis;

    if (r->errors > 0 && !r->in_scripts && roll(2)) {
        r->errors--;
        reached("answered:", r->error);
        reply_line(c, '-', r->error);
        return 1;
    }

    if (r->garbage) {
        r->garbage = 0;
        reply_line(c, "+:x*"[roll(4)], "7");
        return 1;
    }

    if (sim.now < r->loading_until) {
        reply_line(c, '-', "LOADING Redis is loading the dataset in memory");
        return 1;
    }

    return 0;
}

static void
redis_auth(conn_t *c)
{
    c->authed = strcmp(argv[argc - 1], SIM_PASSWORD) == 0;
    if (c->authed) {
        reply_line(c, '+', "OK");
    } else {
        reply_line(c, '-', "WRONGPASS invalid username-password pair");
    }
}

static void
redis_command(conn_t *c)
{
    const char *name = argv[0];

    c->asked |= strcmp(name, "AUTH") == 0;

    if (redis_refuses(c)) {
        say("Redis: an answer that is none, to %s", name);
    } else if (strcmp(name, "AUTH") == 0) {
        redis_auth(c);
    } else if (sim.redis.password && !c->authed) {
        if (!c->asked) {
            fail("%s before AUTH", name);
        }
        reply_line(c, '-', "NOAUTH Authentication required.");
    } else if (strcmp(name, "SELECT") == 0) {
        reply_line(c, '+', "OK");
    } else if (strcmp(name, "PING") == 0) {
        reply_line(c, '+', "PONG");
    } else if (strcmp(name, "ROLE") == 0) {
        redis_role(c);
    } else if (strcmp(name, "GET") == 0) {
        redis_get(c);
    } else if (strcmp(name, "SET") == 0) {
        redis_set(c);
    } else if (strcmp(name, "DEL") == 0) {
        redis_delete(c);
    } else if (strcmp(name, "EVALSHA") == 0 || strcmp(name, "EVAL") == 0) {
        redis_eval(c, name[4] != '\0');
    } else {
        fail("unknown command %s", name);
    }
}

/* Sets argv; the bytes that the command takes, 0: it is not complete. */
static size_t
redis_parse(bytes_t *in)
{
    char *p = in->data, *end = p + in->len, *line;
    unsigned i;

    line = in->len > 0 ? memchr(p, '\n', in->len) : NULL;
    if (line == NULL) {
        return 0;
    }

    argc = (unsigned)strtoul(p + 1, NULL, 10);
    if (*p != '*' || argc == 0 || argc >= ARGS_MAX) {
        fail("not a command");
    }

    for (i = 0, p = line + 1; i < argc; i++) {
        line = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
        if (line == NULL) {
            return 0;
        }
        if (*p != '$') {
            fail("not a string");
        }
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

    return (size_t)(p - in->data);
}

int
redis_serve(conn_t *c)
{
    size_t used;

    if (c->closed) {
        return 0;
    }

    used = redis_parse(&c->in);
    if (used == 0) {
        return 0;
    }

    redis_command(c);
    bytes_drop(&c->in, used);
    return 1;
}
