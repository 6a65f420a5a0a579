/* What can happen to Redis: errors, restarts, an older state. */

#include "sim.h"

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

    r->loaded = 0;
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
    sim.redis.in_scripts = roll(2) == 0;
    say("Redis: %u errors to come: %s", sim.redis.errors, sim.redis.error);
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

    return sim.redis.wrong_list;
}

void
redis_repair(void)
{
    redis_state_t *state = &sim.redis.state;
    unsigned i;

    sim.redis.wrong_list = 0;
    for (i = 0; i < state->ncursors;) {
        if (state->cursors[i].foreign) {
            redis_mend(state, &state->cursors[i]);
            i = 0;
        } else {
            i++;
        }
    }
}
