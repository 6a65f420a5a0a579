/* A run: what happens next, by chance, and its end. */

#include "sim.h"

#define STEPS    1500
#define BURST    400
#define CALM_MAX (600 * 1000) /* ms until all has to be on the list */
#define SPIN_MAX 100000
#define HELD     (120 * 1000) /* ms until someone mends what is wrong */

static uint32_t
some_length(void)
{
    switch (roll(sim.large ? 3 : 16)) {
    case 0:
        return PAYLOAD_MIN + roll(3000);
    case 1:
        return sim.large ? PAYLOAD_MIN + roll(15 * 1024) : PAYLOAD_MIN;
    default:
        return PAYLOAD_MIN + roll(200);
    }
}

static void
some_events(void)
{
    proc_t *p = proc_any();
    unsigned n, serial;

    if (p == NULL) {
        return;
    }

    n = 1 + roll(4);
    if ((sim.rush && sim.rate[FAULT_BURST]) || fault(FAULT_BURST)) {
        n = roll(BURST);
    }

    serial = p->serial;
    while (n-- > 0 && p->serial == serial && !p->task.used) {
        proc_append(p, some_length());
    }
}

static void
wake_up(void)
{
    int i;
    proc_t *p;

    for (i = 0; i < PROCS_MAX; i++) {
        p = &sim.procs[i];
        if (p->serial != 0 && p->pusher != NULL && !p->task.used &&
            !p->starting && sim.stores[p->store].wake &&
            sim.stores[p->store].seat == p->serial) {
            sim.stores[p->store].wake = 0;
            proc_call(p, CALL_WAKE, NULL, 0);
        }
    }
}

/* Processes of a master that has been told to quit are still there. */
static int
quitting(void)
{
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0) {
            return 1;
        }
    }

    return 0;
}

static uint64_t
proc_due(const proc_t *p)
{
    return p->drain_at < p->timer_at ? p->drain_at : p->timer_at;
}

/* Timers that are due, in the order of their time. */
static void
time_to(uint64_t to)
{
    proc_t *p, *next;
    unsigned spins = 0;

    do {
        next = NULL;
        for (p = sim.procs; p < sim.procs + PROCS_MAX; p++) {
            if (p->serial != 0 && !p->task.used && proc_due(p) <= to &&
                (next == NULL || proc_due(p) < proc_due(next))) {
                next = p;
            }
        }
        if (next != NULL) {
            if (proc_due(next) > sim.now) {
                sim.now = proc_due(next);
            }
            if (next->drain_at <= sim.now) {
                proc_drained(next);
            } else {
                proc_timer(next);
            }
        }
    } while (next != NULL && roll(3) && ++spins < SPIN_MAX);

    if (next == NULL && to > sim.now) {
        sim.now = to;
    }
}

static void
some_process(void)
{
    proc_t *p = proc_any();

    if (p == NULL) {
        return;
    }

    if (p->task.used) {
        proc_resume(p);
    } else if (p->nretiring > 0) {
        proc_retire(p);
    } else if (p->connecting) {
        net_connecting(p);
    } else if (p->exiting && !p->told && roll(4) == 0) {
        proc_told(p);
    } else if (p->exiting && (p->pusher == NULL || p->told) &&
               p->drain_at == SIM_NEVER && roll(20) == 0) {
        proc_exit(p);
    } else if (fault(FAULT_KILL_WORKER)) {
        proc_die(p);
    }
}

/* ---- what goes wrong -----------------------------------------------------
 */

/* A pusher that is late does not outlive what Redis loses. */
static void
redis_loses(int failover)
{
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        sim.procs[i].late = 0;
    }
    redis_restart(1, failover);
}

static void
faults_of_redis(void)
{
    if (fault(FAULT_ERROR)) {
        redis_error();
    }
    if (fault(FAULT_GARBAGE)) {
        sim.redis.garbage = 1;
    }
    if (fault(FAULT_RIGHTS)) {
        redis_deny();
    }
    if (fault(FAULT_RESTART)) {
        redis_restart(0, 0);
    }
    if (fault(FAULT_RESTORE)) {
        redis_loses(0);
    }
    if (fault(FAULT_FAILOVER)) {
        redis_loses(1);
    }
    if (fault(FAULT_DOWN)) {
        sim.redis.down_until = sim.now + roll(20000);
        redis_restart(0, 0);
    }
    if (fault(FAULT_FOREIGN)) {
        redis_foreign();
    }
    if (fault(FAULT_WRONG_LIST)) {
        say("Redis: someone sets a string at the list's key");
        sim.redis.wrong_list = 1;
    }
    if (roll(30) == 0) {
        redis_repair();
    }
    if (fault(FAULT_REPLICA)) {
        sim.redis.replica_until = sim.now + roll(5000);
    }
    if (roll(40) == 0) {
        redis_snapshot();
    }
}

static void
power_goes(void)
{
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        sim.procs[i].late = 0;
    }
    life_power();
}

static void
faults_of_nginx(void)
{
    if (fault(FAULT_KILL_ALL)) {
        life_kill_all();
    }
    if (fault(FAULT_POWER)) {
        power_goes();
    }
    if (fault(FAULT_QUIT)) {
        life_quit();
    }
    if (fault(FAULT_RELOAD)) {
        life_reload(0);
    }
    if (fault(FAULT_RESIZE)) {
        life_reload(1);
    }
    if (fault(FAULT_SECOND)) {
        life_second();
    }
    if (sim.current == -1 && roll(4) && (!quitting() || roll(20) == 0)) {
        life_start();
    }
}

static void
faults_of_the_network(void)
{
    conn_t *c = net_any();

    if (c == NULL) {
        return;
    }
    if (fault(FAULT_CUT)) {
        net_cut(c);
    } else if (fault(FAULT_MUTE)) {
        c->mute = 1;
    } else if (c->old_master && roll(100) == 0) {
        net_server_gone(0);
    }
}

static void
step(void)
{
    sim.steps++;

    if (sim.rush && roll(8) == 0) {
        some_events();
        sim.rush = 0;
    }

    switch (roll(16)) {
    case 0:
        some_events();
        break;
    case 1:
        faults_of_redis();
        break;
    case 2:
        faults_of_nginx();
        break;
    case 3:
        faults_of_the_network();
        break;
    case 4:
    case 5:
        time_to(sim.now + roll(roll(sim.pace) ? 20 : 3000));
        break;
    case 6:
    case 7:
        some_process();
        break;
    case 8:
        wake_up();
        break;
    case 9:
        disk_step();
        break;
    default:
        net_step();
        break;
    }
}

/* ---- its end -------------------------------------------------------------
 */

static void
calm_processes(void)
{
    int i;
    proc_t *p;

    for (i = 0; i < PROCS_MAX; i++) {
        p = &sim.procs[i];
        while (p->serial != 0 && p->task.used) {
            proc_resume(p);
        }
        while (p->serial != 0 && p->nretiring > 0 && !p->task.used) {
            proc_retire(p);
        }
        if (p->serial != 0 && p->exiting && !p->told) {
            proc_told(p);
        }
        if (p->serial != 0 && p->exiting && p->drain_at == SIM_NEVER) {
            proc_exit(p);
        } else if (p->serial != 0 && p->connecting) {
            net_connecting(p);
        }
    }
}

/* That of today, and those that its pusher leaves alone. */
static unsigned
files_due(void)
{
    unsigned n = 0;
    int i;
    const store_t *store;

    for (i = 0; i < sim.nstores; i++) {
        store = &sim.stores[i];
        n += !store->memory && !store->vanished && !store->deleted &&
             (i == sim.current || life_refused(i));
    }

    return n;
}

static int
calm_done(void)
{
    int i, up = 0;
    proc_t *p;

    for (i = 0; i < PROCS_MAX; i++) {
        p = &sim.procs[i];
        if (p->serial == 0 || p->pusher == NULL) {
            continue;
        }
        if (voc_pusher_pending(p->pusher) > 0) {
            return 0;
        }
        up += voc_pusher_counters(p->pusher)->up;
    }

    return up == 1 && world_files(0) == files_due() && oracle_complete();
}

static uint64_t
calm_next_timer(void)
{
    uint64_t at = SIM_NEVER;
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0 && proc_due(&sim.procs[i]) < at) {
            at = proc_due(&sim.procs[i]);
        }
    }

    return at;
}

static void
calm_settle(void)
{
    uint64_t until = sim.now + CALM_MAX, at;
    unsigned spins = 0;

    do {
        do {
            if (++spins > SPIN_MAX) {
                fail("it spins");
            }
            calm_processes();
            wake_up();
        } while (net_flush());

        if (calm_done()) {
            return;
        }

        at = calm_next_timer();
        time_to(at > sim.now ? at : sim.now);
    } while (at != SIM_NEVER && sim.now < until);

    oracle_final();
    fail("it does not come to its end: %u files", world_files(0));
}

/* Nobody sets it right for a while: nothing is pushed, and nothing skipped.
 */
static void
finish_repair(void)
{
    uint64_t until = sim.now + HELD, at;

    while (redis_foreign_left() && sim.now < until) {
        calm_processes();
        wake_up();
        if (!net_flush()) {
            at = calm_next_timer();
            time_to(at < until ? at : until);
        }
    }
    redis_repair();
}

static void
append_each(void)
{
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0) {
            proc_append(&sim.procs[i], PAYLOAD_MIN);
        }
    }
}

static int
calm_up(void)
{
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0 && sim.procs[i].pusher != NULL &&
            voc_pusher_counters(sim.procs[i].pusher)->up) {
            return 1;
        }
    }

    return 0;
}

/* Redis answers all the time: all is pushed, and no cursor stays behind. */
static void
finish_quit(void)
{
    unsigned spins = 0;
    int left = 0;

    /* that of a crash is drained at the same time */
    if (roll(2) && sim.nstores < STORES_MAX && sim.memory == 0) {
        append_each();
        life_kill_all();
        life_start();
        while (!calm_up() && ++spins < SPIN_MAX) {
            calm_processes();
            if (!net_flush()) {
                time_to(calm_next_timer());
            }
        }
        left = 1;
    }
    if (roll(2)) {
        append_each();
    }

    life_quit();
    while (quitting()) {
        if (++spins > SPIN_MAX) {
            fail("it does not quit");
        }
        calm_processes();
        if (!net_flush()) {
            time_to(calm_next_timer());
        }
    }
    oracle_stopped();
    if (left) {
        reached("drain: of a leftover", "");
    }
}

static void
finish(void)
{
    int i;

    sim.calm = 1;
    sim.redis.errors = 0;
    sim.redis.garbage = 0;
    sim.redis.down_until = sim.redis.loading_until = 0;
    sim.redis.replica_until = 0;
    net_server_gone(0);

    if (sim.current == -1) {
        calm_processes();
        life_start();
    }
    finish_repair();
    calm_settle();

    /* and it goes on working */
    append_each();
    calm_settle();
    sim.settled = 1;
    finish_quit();
    oracle_final();

    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0) {
            proc_exit(&sim.procs[i]);
        }
    }
    for (i = 0; i < sim.nstores; i++) {
        voc_journal_close(sim.stores[i].master);
    }
}

void
run(uint64_t seed)
{
    unsigned steps;

    world_begin(seed);
    voc_journal_point = task_point;
    sim.workers = 1 + roll(3);
    sim.redis.password = roll(4) == 0;
    sim.large = roll(3) == 0;
    sim.memory = roll(6) ? 0 : 1 + (int)roll(2);
    sim.sync = (int)roll(3);
    sim.pace = 4 + roll(60);
    if (roll(4) == 0) {
        redis_snapshot(); /* of nothing at all */
    }

    life_start();
    for (steps = STEPS / 4 + roll(STEPS); steps > 0; steps--) {
        step();
    }
    finish();

    say("%u events, %zu on the list", sim.nappends, sim.redis.state.nlist);
    world_end();
}
