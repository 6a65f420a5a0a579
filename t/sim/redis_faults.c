/* What can happen to Redis: errors, restarts, an older state. */

#include "redis.h"

/* A state to come back to, with its list as long as it is now. */
void
redis_snapshot(void)
{
    redis_t *r = &sim.redis;

    if (r->nsnapshots == SNAPSHOTS) {
        memmove(r->snapshots, r->snapshots + 1,
                (SNAPSHOTS - 1) * sizeof(r->snapshots[0]));
        r->nsnapshots--;
    }

    r->snapshots[r->nsnapshots++] = r->state;
}

static void
redis_restore(unsigned i)
{
    redis_t *r = &sim.redis;
    size_t n;

    say("Redis: %zu of %zu events are left", r->snapshots[i].nlist,
        r->state.nlist);

    for (n = r->snapshots[i].nlist; n < r->state.nlist; n++) {
        oracle_dropped(r->list[n]);
    }

    r->state = r->snapshots[i];
    r->nsnapshots = i;
    sim.losses++;
}

/*
 * At a failover the old master goes on for its connections, for a while; what
 * it takes is lost.
 */
void
redis_restart(int lose, int failover)
{
    redis_t *r = &sim.redis;
    redis_state_t was = r->state;
    int i;

    say("Redis: %s", failover ? "a failover" : "a restart");
    net_server_gone(!failover);
    r->has_old = failover;

    if (failover) {
        r->old = was;
        sim.losses++;
        for (i = 0; i < CONNS_MAX; i++) {
            sim.conns[i].old_master = sim.conns[i].used;
        }
    }

    if ((lose || failover) && r->nsnapshots > 0) {
        redis_restore(roll(r->nsnapshots));
    }

    if (!failover && !sim.calm && roll(2)) {
        r->loading_until = sim.now + roll(500);
    }
}

void
redis_error(void)
{
    static const char *const errors[] = {
        "LOADING x",
        "BUSY x",
        "MASTERDOWN x",
        "CLUSTERDOWN x",
        "TRYAGAIN x",
        "ERR max number of clients reached",
        "READONLY x",
        "UNBLOCKED x",
        "NOREPLICAS x",
        "OOM x",
        "MISCONF x",
        "NOAUTH x",
        "WRONGPASS x",
        "NOPERM x",
        "ERR invalid password",
        "ERR Client sent AUTH, but no password is set",
        "ERR AUTH <password> called without any password configured for x",
        "The user executing the script can't run this command",
        "WRONGTYPE x",
        "CROSSSLOT x",
        "ERR unknown command",
        "MOVED 1 x:1",
        "ASK 1 x:1",
        "NOSCRIPT x",
        "ERR x",
        "WHATEVER x"};

    sim.redis.error = errors[roll(sizeof(errors) / sizeof(errors[0]))];
    sim.redis.errors = 1 + roll(4);
    sim.redis.place = (place_e)roll(AT_N);
    say("Redis: %u errors to come: %s", sim.redis.errors, sim.redis.error);
}

int
redis_error_due(place_e place)
{
    redis_t *r = &sim.redis;

    if (r->errors == 0 || (r->place != place && r->place != AT_ANY) ||
        (r->place == AT_ANY && roll(2))) {
        return 0;
    }

    r->errors--;
    return 1;
}

/* Who has lost the right to one of them loses all at once. */
static const char *const rights[] = {"MULTI", "LINDEX", "LTRIM",
                                     "EXEC",  "RPUSH",  "EVAL"};

#define RIGHTS_ASKED 4 /* before the first push */

void
redis_deny(void)
{
    redis_t *r = &sim.redis;

    r->denied = (1 + roll((1 << RIGHTS_ASKED) - 1)) | 3 << RIGHTS_ASKED;
    r->denies = roll(2) ? "NOPERM this user has no permissions to run it"
                        : "ERR unknown command";
    say("Redis: rights are taken away: %x", r->denied);
}

const char error_beside[] = "an error";
const char error_before[] = "an error before";

/* ---- what an error asks of the pusher ------------------------------------
 */

typedef enum { OWES_NOTHING, OWES_LEAVE, OWES_LEAVE_LONG } owes_e;

static owes_e
owes(const char *error)
{
    static const char *const leave[] = {"READONLY", "UNBLOCKED"},
                             *const denied[] = {"NOAUTH",
                                                "WRONGPASS",
                                                "NOPERM",
                                                "ERR invalid password",
                                                "ERR Client sent AUTH",
                                                "ERR AUTH",
                                                "The user executing"};
    size_t i;

    for (i = 0; error != NULL && i < sizeof(leave) / sizeof(leave[0]); i++) {
        if (strncmp(error, leave[i], strlen(leave[i])) == 0) {
            return OWES_LEAVE;
        }
    }
    for (i = 0; error != NULL && i < sizeof(denied) / sizeof(denied[0]);
         i++) {
        if (strncmp(error, denied[i], strlen(denied[i])) == 0) {
            return OWES_LEAVE_LONG;
        }
    }

    return OWES_NOTHING;
}

/* It asks for its rights anew only once all is answered. */
void
redis_asked_again(const conn_t *c)
{
    if (owes(c->before) != OWES_NOTHING && !c->nonsense) {
        fail("goes on where it was answered %s", c->before);
    }
}

/* It closes, having heard all that was said: until when it stays away. */
uint64_t
redis_bans(const conn_t *c)
{
    if (owes(c->error) != OWES_LEAVE_LONG || c->nonsense || c->closed ||
        c->blocked || c->up.len + c->in.len + c->down.len > 0) {
        return 0;
    }

    reached("stays away:", "");
    return c->heard_at + VOC_PUSHER_HOLD_MAX;
}

void
redis_refuse(conn_t *c, const char *before, const char *error,
             const char *behind)
{
    char text[256];

    if (c->error == NULL) {
        c->error = error;
    }
    snprintf(text, sizeof(text), "%s%s%s", before, error, behind);
    reply_line(c, '-', text);
}

/* ---- refused -------------------------------------------------------------
 */

static int
among(const char *name, const char *const names[], size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (strcmp(name, names[i]) == 0) {
            return (int)i + 1;
        }
    }

    return 0;
}

static int
refuses_rights(conn_t *c, const char *name)
{
    int i = among(name, rights, sizeof(rights) / sizeof(rights[0]));

    if (i == 0 || c->old_master || !(sim.redis.denied & 1u << (i - 1))) {
        return 0;
    }

    reached("not allowed:", name);
    redis_refuse(c, "", sim.redis.denies, "");
    return 1;
}

static int
refuses_by_error(conn_t *c, const char *name)
{
    const char *error = sim.redis.error;
    int exec = strcmp(name, "EXEC") == 0;
    int queued = c->multi || c->bare || strcmp(name, "MULTI") == 0;

    if (!redis_error_due(exec ? AT_EXEC : queued ? AT_QUEUED : AT_PLAIN)) {
        return 0;
    }

    reached(exec ? "by EXEC:" : queued ? "when queued:" : "answered:", error);
    redis_refuse(c,
                 exec && roll(2) ? "EXECABORT Transaction discarded "
                                   "because of: "
                                 : "",
                 error, "");
    return 1;
}

static int
refuses(conn_t *c, const char *name)
{
    static const char *const writes[] = {"RPUSH", "LTRIM", "SET", "DEL",
                                         "EXEC"};
    redis_t *r = &sim.redis;

    if (refuses_rights(c, name) || refuses_by_error(c, name)) {
        return 1;
    }

    if (r->garbage) {
        r->garbage = 0;
        c->nonsense = 1;
        reply_line(c, "+:x*"[roll(4)], "7");
        return 1;
    }

    if (sim.now < r->loading_until) {
        redis_refuse(c, "", "LOADING Redis is loading the dataset in memory",
                     "");
        return 1;
    }

    if (sim.now < r->replica_until && !c->old_master && !c->bare &&
        among(name, writes, sizeof(writes) / sizeof(writes[0]))) {
        redis_refuse(c, "",
                     "READONLY You can't write against a read only "
                     "replica.",
                     "");
        return 1;
    }

    return 0;
}

int
redis_refuses(conn_t *c, const char *name)
{
    static const char *const beside[] = {"SET", "DEL", "PING"};
    const char *was = c->error;
    int refused = refuses(c, name);

    if (refused && was == NULL &&
        among(name, beside, sizeof(beside) / sizeof(beside[0]))) {
        c->error = error_beside;
    }

    return refused;
}

int
redis_down(void)
{
    return sim.now < sim.redis.down_until;
}

/* ---- what someone else sets, until somebody sets it right ----------------
 */

static cursor_t *
cursor_made(redis_state_t *state, const char *id)
{
    unsigned i;
    cursor_t *cursor;

    for (i = 0; i < state->ncursors; i++) {
        if (memcmp(state->cursors[i].id, id, VOC_JOURNAL_ID_LEN) == 0) {
            return &state->cursors[i];
        }
    }

    if (state->ncursors == KEYS_MAX) {
        fail("too many cursors");
    }
    cursor = &state->cursors[state->ncursors++];
    memset(cursor, 0, sizeof(*cursor));
    memcpy(cursor->id, id, VOC_JOURNAL_ID_LEN);
    return cursor;
}

void
redis_foreign(void)
{
    static const char *const texts[] = {"",
                                        "x",
                                        "-1",
                                        "+1",
                                        "007",
                                        " 1",
                                        "1.0",
                                        "1e3",
                                        "18446744073709551616",
                                        "99999999999999999999"};
    store_t *store;
    cursor_t *cursor;
    voc_journal_status_t status;

    if (sim.current == -1) {
        return;
    }

    store = &sim.stores[roll(3) ? (uint32_t)sim.current
                                : roll((uint32_t)sim.nstores)];
    if (store->deleted || store->none_left) {
        return;
    }

    cursor = cursor_made(&sim.redis.state, store->id);
    if (cursor->foreign) {
        return;
    }

    memcpy(cursor->right, cursor->value, sizeof(cursor->right));
    voc_journal_status(store->master, &status);
    switch (roll(3)) {
    case 0:
        cursor->foreign = FOREIGN_TYPE;
        break;
    case 1:
        /* far enough for the journal not to get there */
        cursor->foreign = FOREIGN_BEYOND;
        snprintf(cursor->value, sizeof(cursor->value), "%" PRIu64,
                 roll(2) ? UINT64_MAX : status.head + 1000000);
        break;
    default:
        cursor->foreign = FOREIGN_TEXT;
        snprintf(cursor->value, sizeof(cursor->value), "%s",
                 texts[roll(sizeof(texts) / sizeof(texts[0]))]);
        break;
    }

    say("Redis: someone sets the cursor of journal %d: %s",
        store_of(store->id),
        cursor->foreign == FOREIGN_TYPE ? "a list" : cursor->value);
}

/* Somebody notices: as it was. */
void
redis_mend(redis_state_t *state, cursor_t *cursor)
{
    say("Redis: the cursor of journal %d is mended: %s", store_of(cursor->id),
        cursor->right);
    if (cursor->right[0] == '\0') {
        *cursor = state->cursors[--state->ncursors];
        return;
    }
    memcpy(cursor->value, cursor->right, sizeof(cursor->value));
    cursor->foreign = 0;
}

int
redis_foreign_left(void)
{
    unsigned i;

    for (i = 0; i < sim.redis.state.ncursors; i++) {
        if (sim.redis.state.cursors[i].foreign) {
            return 1;
        }
    }

    return sim.redis.wrong_list || sim.redis.denied != 0;
}

void
redis_repair(void)
{
    redis_state_t *state = &sim.redis.state;
    unsigned i;

    sim.redis.wrong_list = 0;
    sim.redis.denied = 0;
    for (i = 0; i < state->ncursors;) {
        if (state->cursors[i].foreign) {
            redis_mend(state, &state->cursors[i]);
            i = 0;
        } else {
            i++;
        }
    }
}
