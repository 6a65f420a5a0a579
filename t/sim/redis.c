/* The model of Redis: RESP in and out, a list, cursors, single commands. */

#include "redis.h"

/* ---- its state -----------------------------------------------------------
 */

redis_state_t *
state_of(const conn_t *c)
{
    return c->old_master ? &sim.redis.old : &sim.redis.state;
}

cursor_t *
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

void
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

const char *
cursor_id(const command_t *k, unsigned arg)
{
    static const char key[] = "{" SIM_KEY "}:cursor:";

    if (arg >= k->argc ||
        k->lens[arg] != sizeof(key) - 1 + VOC_JOURNAL_ID_LEN ||
        memcmp(k->argv[arg], key, sizeof(key) - 1) != 0) {
        fail("not the key of a cursor: %s",
             arg < k->argc ? k->argv[arg] : "");
    }

    return k->argv[arg] + sizeof(key) - 1;
}

int
wrong_list(const conn_t *c)
{
    return sim.redis.wrong_list && !c->old_master;
}

void
redis_free(void)
{
    free(sim.redis.list);
}

/* ---- replies -------------------------------------------------------------
 */

void
reply_line(conn_t *c, char type, const char *text)
{
    bytes_add(&c->down, &type, 1);
    bytes_add(&c->down, text, strlen(text));
    bytes_add(&c->down, "\r\n", 2);
}

void
reply_bulk(conn_t *c, const char *text, size_t len)
{
    char head[32];

    snprintf(head, sizeof(head), "%zu", len);
    reply_line(c, '$', head);
    bytes_add(&c->down, text, len);
    bytes_add(&c->down, "\r\n", 2);
}

/* ---- commands ------------------------------------------------------------
 */

static void
redis_set(conn_t *c, const command_t *k)
{
    redis_state_t *state = state_of(c);
    const char *id = cursor_id(k, 1);

    if (k->argc != 4 || strcmp(k->argv[3], "NX") != 0) {
        fail("SET without NX");
    }

    if (cursor_of(state, id) != NULL) {
        reply_line(c, '$', "-1");
        return;
    }

    say("Redis: cursor %s of journal %d", k->argv[2], store_of(id));
    oracle_cursor_made(id, strtoull(k->argv[2], NULL, 10), c->old_master);
    cursor_set(state, id, k->argv[2]);
    reply_line(c, '+', "OK");
}

static void
redis_delete(conn_t *c, const command_t *k)
{
    redis_state_t *state = state_of(c);
    const char *id = cursor_id(k, 1);
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
redis_get(conn_t *c, const command_t *k)
{
    const char *id = cursor_id(k, 1);
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
            redis_refuse(c, "", "WRONGTYPE Operation against a key", "");
            return;
        }
    }

    say("Redis: the cursor of journal %d is %s", store_of(id),
        cursor != NULL ? cursor->value : "not there");

    if (cursor != NULL) {
        reply_bulk(c, cursor->value, strlen(cursor->value));
    } else {
        reply_line(c, '$', "-1");
    }
}

static void
redis_role(conn_t *c)
{
    int slave = sim.now < sim.redis.replica_until && !c->old_master;

    reply_line(c, '*', "3");
    reply_bulk(c, slave ? "slave" : "master", slave ? 5 : 6);
    reply_line(c, ':', "1");
    reply_line(c, '*', "0");
}

static void
redis_auth(conn_t *c, const command_t *k)
{
    c->authed = strcmp(k->argv[k->argc - 1], SIM_PASSWORD) == 0;
    if (c->authed) {
        reply_line(c, '+', "OK");
    } else {
        redis_refuse(c, "", "WRONGPASS invalid username-password pair", "");
    }
}

static void
redis_single(conn_t *c, const command_t *k)
{
    const char *name = k->argv[0];

    if (strcmp(name, "SELECT") == 0) {
        reply_line(c, '+', "OK");
    } else if (strcmp(name, "PING") == 0) {
        reply_line(c, '+', "PONG");
    } else if (strcmp(name, "ROLE") == 0) {
        redis_role(c);
    } else if (strcmp(name, "GET") == 0) {
        redis_get(c, k);
    } else if (strcmp(name, "SET") == 0) {
        redis_set(c, k);
    } else if (strcmp(name, "DEL") == 0) {
        redis_delete(c, k);
    } else {
        fail("unknown command %s", name);
    }
}

static void
redis_command(conn_t *c, const command_t *k, const char *raw, size_t len)
{
    const char *name = k->argv[0];

    c->asked |= strcmp(name, "AUTH") == 0;
    multi_comes(c, name);

    if (redis_refuses(c, name)) {
        say("Redis: an answer that is none, to %s", name);
        multi_refused(c, name);
    } else if (strcmp(name, "AUTH") == 0) {
        redis_auth(c, k);
    } else if (sim.redis.password && !c->authed) {
        if (!c->asked) {
            fail("%s before AUTH", name);
        }
        redis_refuse(c, "", "NOAUTH Authentication required.", "");
        multi_refused(c, name);
    } else if (strcmp(name, "MULTI") == 0) {
        multi_begin(c);
    } else if (strcmp(name, "EXEC") == 0) {
        multi_exec(c);
    } else if (c->multi) {
        multi_queue(c, raw, len);
    } else if (c->bare) {
        multi_bare(c, k);
    } else {
        redis_single(c, k);
    }
}

size_t
redis_parse(char *data, size_t len, command_t *k)
{
    char *p = data, *end, *line;
    unsigned i;

    line = len > 0 ? memchr(p, '\n', len) : NULL;
    if (line == NULL) {
        return 0;
    }
    end = data + len;

    k->argc = (unsigned)strtoul(p + 1, NULL, 10);
    if (*p != '*' || k->argc == 0 || k->argc >= ARGS_MAX) {
        fail("not a command");
    }

    for (i = 0, p = line + 1; i < k->argc; i++) {
        line = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
        if (line == NULL) {
            return 0;
        }
        if (*p != '$') {
            fail("not a string");
        }
        k->lens[i] = strtoul(p + 1, NULL, 10);
        p = line + 1;
        if ((size_t)(end - p) < k->lens[i] + 2) {
            return 0;
        }
        k->argv[i] = p;
        p += k->lens[i] + 2;
    }

    for (i = 0; i < k->argc; i++) {
        k->argv[i][k->lens[i]] = '\0'; /* its CR */
    }

    return (size_t)(p - data);
}

int
redis_serve(conn_t *c)
{
    static command_t command;
    size_t used;

    if (c->closed) {
        return 0;
    }

    used = redis_parse(c->in.data, c->in.len, &command);
    if (used == 0) {
        return 0;
    }

    redis_command(c, &command, c->in.data, used);
    bytes_drop(&c->in, used);
    return 1;
}

void
redis_forget(conn_t *c)
{
    if (c->multi) {
        reached("a transaction without its end", "");
    }
    c->asked = c->authed = 0;
    c->granted = 0;
    c->nonsense = 0;
    c->error = c->before = NULL;
    c->queue.len = 0;
    c->queued = 0;
    c->multi = c->aborts = c->bare = 0;
}
