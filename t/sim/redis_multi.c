/*
 * Transactions of the model: commands are queued, and carried out by EXEC
 * with nothing in between.  What is pushed in one is not on the list before
 * its end.
 */

#include "redis.h"

/* ---- the list ------------------------------------------------------------
 */

/* That of an old master is not kept: there RPUSH never fails. */
static size_t
list_last(const conn_t *c, char *out)
{
    const redis_t *r = &sim.redis;
    uint32_t n;
    size_t len;

    if (c->old_master || r->state.nlist == 0) {
        return 0;
    }

    n = r->list[r->state.nlist - 1];
    len = event_write(out, n);
    return len +
           (size_t)sprintf(out + len, "%" PRIu64 "\"}", sim.appends[n].seq);
}

int
list_ends_with(const exec_t *x, const char *item, size_t len)
{
    char last[EVENT_MAX];
    unsigned i = x->kept + 1;

    if (x->kept > 0) {
        return x->push.lens[i] == len &&
               memcmp(x->push.argv[i], item, len) == 0;
    }

    return list_last(x->conn, last) == len && memcmp(last, item, len) == 0;
}

/* ---- what comes ----------------------------------------------------------
 */

static const char *const in_multi[] = {"RPUSH", "EVAL", "LINDEX", "LTRIM",
                                       "EXEC"};

void
multi_comes(conn_t *c, const char *name)
{
    size_t i;
    int within = 0;

    for (i = 0; i < sizeof(in_multi) / sizeof(in_multi[0]); i++) {
        within |= strcmp(name, in_multi[i]) == 0;
    }
    if (within != (c->multi || c->bare)) {
        fail("%s %s a transaction", name, within ? "outside of" : "in");
    }

    if (strcmp(name, "MULTI") == 0) {
        c->before = c->error;
        c->error = NULL;
    } else if (strcmp(name, "LINDEX") == 0) {
        c->granted = 0;
        redis_asked_again(c);
        if (c->before == error_beside) {
            c->error = error_before;
        }
    } else if (strcmp(name, "RPUSH") == 0) {
        if (!c->granted) {
            fail("a push by who may not take it back");
        }
        if (c->before != NULL) {
            c->error = c->before;
        }
    }
}

static void
multi_over(conn_t *c)
{
    c->multi = c->aborts = c->bare = 0;
    c->queue.len = 0;
    c->queued = 0;
}

void
multi_refused(conn_t *c, const char *name)
{
    if (strcmp(name, "MULTI") == 0) {
        c->bare = 1;
    } else if (strcmp(name, "EXEC") == 0) {
        multi_over(c);
    } else {
        c->aborts |= c->multi;
    }
}

void
multi_begin(conn_t *c)
{
    c->multi = 1;
    reply_line(c, '+', "OK");
}

void
multi_queue(conn_t *c, const char *raw, size_t len)
{
    bytes_add(&c->queue, raw, len);
    c->queued++;
    reply_line(c, '+', "QUEUED");
}

/* ---- carried out ---------------------------------------------------------
 */

static void
list_command(const command_t *k, unsigned argc)
{
    if (k->argc < argc || strcmp(k->argv[1], SIM_KEY) != 0) {
        fail("not a command for the list: %s", k->argv[0]);
    }
}

static void
probe_lindex(conn_t *c, const command_t *k)
{
    list_command(k, 3);
    if (strtoll(k->argv[2], NULL, 10) < 1LL << 40) {
        fail("an event is asked for: LINDEX %s", k->argv[2]);
    }
    if (wrong_list(c)) {
        reply_line(c, '-', "WRONGTYPE Operation against a key");
    } else {
        reply_line(c, '$', "-1");
    }
}

static void
probe_ltrim(conn_t *c, const command_t *k)
{
    list_command(k, 4);
    if (strcmp(k->argv[2], "0") != 0 || strcmp(k->argv[3], "-1") != 0) {
        fail("events are taken off the list");
    }
    if (wrong_list(c)) {
        reply_line(c, '-', "WRONGTYPE Operation against a key");
    } else {
        reply_line(c, '+', "OK");
    }
}

/*
 * Who refuses MULTI refuses these, too: nobody pushes who has not asked, and
 * was allowed all of it.
 */
void
multi_bare(conn_t *c, const command_t *k)
{
    if (strcmp(k->argv[0], "LINDEX") == 0) {
        probe_lindex(c, k);
    } else if (strcmp(k->argv[0], "LTRIM") == 0) {
        probe_ltrim(c, k);
    } else {
        redis_refuse(c, "", "ERR x", "");
    }
}

static void
exec_push(exec_t *x, const command_t *k)
{
    unsigned last = k->argc - 1;
    conn_t *c = x->conn;
    char number[24];

    list_command(k, 3);
    if (wrong_list(c)) {
        redis_refuse(c, "", "WRONGTYPE Operation against a key", "");
        return;
    }

    /* its rights may have changed, but not while it pushes the same again */
    if (!c->old_master && !list_ends_with(x, k->argv[last], k->lens[last]) &&
        redis_error_due(AT_PUSH)) {
        reached("by RPUSH:", sim.redis.error);
        redis_refuse(c, "", sim.redis.error, "");
        return;
    }

    x->push = *k;
    x->kept = k->argc - 2;
    snprintf(number, sizeof(number), "%zu", x->state->nlist + x->kept);
    reply_line(c, ':', number);
}

static void
exec_command(exec_t *x, const command_t *k)
{
    const char *name = k->argv[0];
    conn_t *c = x->conn;

    if (strcmp(name, "LTRIM") == 0) {
        c->granted = 1;
    }

    /* since it was queued */
    if (sim.redis.denied && !c->old_master) {
        reached("in EXEC:", "rights have changed");
        if (name[0] == 'L') {
            reply_line(c, '-', sim.redis.denies);
        } else {
            redis_refuse(c, "", sim.redis.denies, "");
        }
    } else if (strcmp(name, "RPUSH") == 0) {
        exec_push(x, k);
    } else if (strcmp(name, "EVAL") == 0) {
        script_run(x, k);
    } else if (strcmp(name, "LINDEX") == 0) {
        probe_lindex(c, k);
    } else {
        probe_ltrim(c, k);
    }
}

/* What is still there is on the list. */
static void
exec_end(exec_t *x)
{
    redis_t *r = &sim.redis;
    uint64_t previous = strtoull(x->before, NULL, 10);
    const cursor_t *cursor;
    unsigned i;
    uint32_t n;

    if (x->kept == 0) {
        return;
    }
    if (x->id == NULL) {
        fail("%u events without a cursor", x->kept);
    }
    if (x->foreign) {
        fail("a batch behind a cursor that someone else has set");
    }

    cursor = cursor_of(x->state, x->id);
    say("Redis: %u events behind %s, cursor %s, of journal %d%s", x->kept,
        x->before, cursor != NULL ? cursor->value : "none", store_of(x->id),
        x->conn->old_master ? ", to the old master" : "");

    for (i = 2; i < x->kept + 2; i++) {
        n = oracle_push(x->id, &previous, x->push.argv[i], x->push.lens[i],
                        x->conn->old_master);
        if (!x->conn->old_master) {
            r->list = grown(r->list, r->state.nlist + 1, &r->list_size,
                            sizeof(uint32_t));
            r->list[r->state.nlist++] = n;
        }
    }

    if (x->kept != x->push.argc - 2 || cursor == NULL ||
        strcmp(cursor->value, x->before) == 0) {
        fail("%u events are on the list, and the cursor is still %s", x->kept,
             x->before);
    }
}

void
multi_exec(conn_t *c)
{
    static command_t command;
    static exec_t x;
    unsigned i;
    size_t at;
    char number[24];

    if (c->bare) {
        redis_refuse(c, "", "ERR EXEC without MULTI", "");
    } else if (c->aborts) {
        redis_refuse(c, "",
                     "EXECABORT Transaction discarded because of "
                     "previous errors.",
                     "");
    } else {
        if (!c->old_master && fault(FAULT_RIGHTS)) {
            redis_deny();
        }
        memset(&x, 0, sizeof(x));
        x.conn = c;
        x.state = state_of(c);
        snprintf(number, sizeof(number), "%u", c->queued);
        reply_line(c, '*', number);
        for (i = 0, at = 0; i < c->queued; i++) {
            at +=
                redis_parse(c->queue.data + at, c->queue.len - at, &command);
            exec_command(&x, &command);
        }
        exec_end(&x);
    }

    multi_over(c);
}
