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
        "LOADING x",     "BUSY x",      "MASTERDOWN x",
        "CLUSTERDOWN x", "TRYAGAIN x",  "ERR max number of clients reached",
        "READONLY x",    "UNBLOCKED x", "NOREPLICAS x",
        "OOM x",         "MISCONF x",   "NOAUTH x",
        "WRONGPASS x",   "NOPERM x",    "ERR invalid password",
        "WRONGTYPE x",   "CROSSSLOT x", "ERR unknown command",
        "MOVED 1 x:1",   "ASK 1 x:1",   "NOSCRIPT x",
        "ERR x",         "WHATEVER x"};

    sim.redis.error = errors[roll(sizeof(errors) / sizeof(errors[0]))];
    sim.redis.errors = 1 + roll(4);
    say("Redis: %u errors to come: %s", sim.redis.errors, sim.redis.error);
}

int
redis_down(void)
{
    return sim.now < sim.redis.down_until;
}
