/*
 * Processes: each with a journal as fork() leaves it, a pusher where it is
 * the first of its cycle, and one thing that it does at a time.
 */

#include <sys/mman.h>
#include <unistd.h>

#include "sim.h"

#define DRAIN 2000 /* ms */

/* ---- fork ----------------------------------------------------------------
 */

/* The same pages once more, at another address. */
static void *
mapped_again(void *map, size_t size)
{
    void *again = mremap(map, 0, size, MREMAP_MAYMOVE);

    if (again == MAP_FAILED) {
        fail("cannot map a journal again");
    }
    return again;
}

static voc_journal_t *
journal_forked(const voc_journal_t *of)
{
    voc_journal_t *journal = malloc(sizeof(*journal));

    if (journal == NULL) {
        fail("no memory");
    }

    *journal = *of;
    journal->path = strdup(of->path);
    journal->shared = mapped_again(of->shared, sizeof(*of->shared));
    journal->map = mapped_again(of->map, of->map_size);
    journal->ring.bytes =
        (char *)journal->map + (of->ring.bytes - (char *)of->map);
    journal->window = journal->ring;
    journal->fd = of->fd == -1 ? -1 : dup(of->fd);
    if (of->fd != -1 &&
        voc_window_map(journal, journal->fd, of->window.size,
                       PROT_READ | PROT_WRITE) == -1) {
        fail("cannot map a window again");
    }
    journal->sync_fd = -1;
    journal->sync_pid = 0;
    pthread_mutex_init(&journal->sync_lock, NULL);
    return journal;
}

proc_t *
proc_start(int store, int first)
{
    voc_pusher_options_t options;
    proc_t *p = sim.procs;

    while (p < sim.procs + PROCS_MAX && p->serial != 0) {
        p++;
    }
    if (p == sim.procs + PROCS_MAX) {
        return NULL;
    }

    memset(p, 0, sizeof(*p));
    p->serial = ++sim.serials;
    p->store = store;
    p->first = first;
    p->timer_at = SIM_NEVER;
    p->drain_at = SIM_NEVER;
    p->journal = journal_forked(sim.stores[store].master);

    if (first) {
        memset(&options, 0, sizeof(options));
        options.key = (voc_str_t)voc_str(SIM_KEY);
        if (sim.redis.password) {
            options.password = (voc_str_t)voc_str(SIM_PASSWORD);
            options.db = 1;
        }
        options.connect_timeout = 1000;
        options.timeout = 5000;
        options.journal = p->journal;
        options.directory = sim.stores[store].memory ? NULL : &p->leftovers;
        p->leftovers.path = sim.directory;
        p->pusher = voc_pusher_create(&options, &sim_ops, p);
        p->starting = 1;
        p->timer_at = sim.now + 1;
        sim.stores[store].seat = p->serial;
    }

    say("process %u begins with journal %d%s", p->serial, store,
        first ? ", and pushes" : "");
    return p;
}

/* ---- and its end ---------------------------------------------------------
 */

static void
proc_resign(proc_t *p)
{
    if (p->pusher != NULL) {
        say("process %u resigns", p->serial);
        oracle_pusher_ends(voc_pusher_counters(p->pusher));
        voc_pusher_free(p->pusher);
        p->pusher = NULL;
    }

    net_forget(p);
    p->timer_at = SIM_NEVER;
    p->drain_at = SIM_NEVER;
    p->late = 0;
}

static void
proc_end(proc_t *p)
{
    proc_resign(p);

    while (p->nretiring > 0) {
        voc_journal_close(p->retiring[--p->nretiring]);
    }

    free(p->data);
    voc_journal_close(p->journal);
    memset(p, 0, sizeof(*p));
}

static void
proc_task_ended(proc_t *p)
{
    if (p->appending && p->task.dead) {
        oracle_died(p->append);
    }
    p->appending = 0;
    free(p->data);
    p->data = NULL;
}

static void
proc_gone(proc_t *p)
{
    proc_t was = *p;

    say("process %u dies", p->serial);
    proc_end(p);
    life_gone(&was);
}

void
proc_die(proc_t *p)
{
    if (p->task.used) {
        task_resume(&p->task, 1);
        if (!p->task.dead) {
            fail("a process does not die");
        }
        proc_task_ended(p);
    }

    proc_gone(p);
}

void
proc_exit(proc_t *p)
{
    proc_t was = *p;

    say("process %u exits", p->serial);
    proc_end(p);
    if (was.exiting) {
        life_gone(&was);
    }
}

proc_t *
proc_any(void)
{
    unsigned i, n = 0, pick;

    for (i = 0; i < PROCS_MAX; i++) {
        n += sim.procs[i].serial != 0;
    }
    if (n == 0) {
        return NULL;
    }

    pick = roll(n);
    for (i = 0;; i++) {
        if (sim.procs[i].serial != 0 && pick-- == 0) {
            return &sim.procs[i];
        }
    }
}

/* ---- the end of an exiting worker's pusher, as the glue does it ----------
 */

/* Another has the seat: this one ends, at once or a little later. */
static int
proc_seated(proc_t *p)
{
    if (p->pusher == NULL) {
        return 0;
    }

    if (sim.stores[p->store].seat == p->serial) {
        return 1;
    }

    if (p->late == 0 || sim.calm) {
        proc_resign(p);
        return 0;
    }

    p->late--;
    return 1;
}

/* It ends with the last event, not before. */
static void
proc_progressed(proc_t *p)
{
    if (p->drain_at != SIM_NEVER && p->pusher != NULL && !p->task.used &&
        p->nretiring == 0 && voc_pusher_finished(p->pusher)) {
        proc_resign(p);
    }
}

void
proc_drained(proc_t *p)
{
    if (p->task.used) {
        return;
    }

    if (proc_seated(p)) {
        say("process %u has drained for long enough", p->serial);
        reached("drain: its time is over", "");
        proc_resign(p);
    }
    p->drain_at = SIM_NEVER;
}

void
proc_told(proc_t *p)
{
    p->told = 1;
    if (!proc_seated(p)) {
        return;
    }

    if (!voc_pusher_counters(p->pusher)->up) {
        reached("drain: Redis is not there", "");
        if (p->nretiring > 0) {
            reached("drain: Redis is not there, a file is being deleted", "");
        }
        proc_resign(p);
        return;
    }

    reached("drain: begins", "");
    p->drain_at = sim.now + DRAIN;
    proc_progressed(p);
}

/* ---- what it does, at once or as a task ----------------------------------
 */

int
store_locked(int store)
{
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0 && sim.procs[i].store == store &&
            sim.procs[i].task.used && sim.procs[i].task.locked) {
            return 1;
        }
    }

    return 0;
}

static void
proc_do(proc_t *p, void (*what)(void *), unsigned pause, unsigned die)
{
    /* who stands in the lock stays there: it is in vain to wait */
    p->journal->stuck = store_locked(p->store);

    if (pause == 0 && die == 0) {
        what(p);
        proc_task_ended(p);
        proc_progressed(p);
        return;
    }

    task_start(&p->task, what, p, pause, die);
    if (!p->task.used) {
        proc_task_ended(p);
        if (p->task.dead) {
            proc_gone(p);
        } else {
            proc_progressed(p);
        }
    }
}

void
proc_resume(proc_t *p)
{
    if (!p->task.used) {
        return;
    }

    if (sim.calm) {
        p->task.pause = 0;
    }

    task_resume(&p->task, 0);
    if (!p->task.used) {
        proc_task_ended(p);
        if (p->task.dead) {
            proc_gone(p);
        } else {
            proc_progressed(p);
        }
    }
}

static void
do_append(void *data)
{
    proc_t *p = data;
    static char payload[32 * 1024];
    store_t *store = &sim.stores[p->store];
    uint64_t seq = 0, before = store->returned;
    uint32_t n = p->append;
    int failed = store->failed;
    size_t length;
    voc_journal_rc rc;
    char *copy;

    length = payload_write(payload, n, sim.appends[n].length);
    copy = malloc(length);
    if (copy == NULL) {
        fail("no memory");
    }
    memcpy(copy, payload, length);
    free(p->data);
    p->data = copy;

    this_append = n;
    rc = voc_journal_append(p->journal, copy, length, append_time(n), &seq);
    oracle_returned(n, rc, seq);
    this_append = 0;

    if (rc == VOC_JOURNAL_OK && store->memory && p->exiting &&
        !store_pushed(p->store)) {
        reached("accepted in memory, and nobody pushes it", "");
    }
    if (rc == VOC_JOURNAL_OK && failed) {
        fail("event %u is taken, though journal %d has failed", n, p->store);
    }
    if (rc == VOC_JOURNAL_OK && seq <= before) {
        fail("event %u has number %" PRIu64 ", though %" PRIu64
             " was given out before",
             n, seq, before);
    }

    if (rc == VOC_JOURNAL_OK && voc_journal_must_wake(p->journal) &&
        !fault(FAULT_LOST_WAKE)) {
        store->wake = 1;
    }
}

/* It gives the ring's end up: rare, and worth a stop. */
static int
proc_skips(const proc_t *p, uint32_t length)
{
    uint64_t size = p->journal->size;

    return !sim.calm && size - voc_journal_head(p->journal).end % size <
                            voc_record_size(length);
}

void
proc_append(proc_t *p, uint32_t length)
{
    unsigned pause = 0, die = 0;
    int skips, store = p->store;

    if (p->task.used) {
        return;
    }

    skips = proc_skips(p, length);
    if (fault(FAULT_PAUSE) ||
        (skips && sim.rate[FAULT_PAUSE] && roll(8) == 0)) {
        pause = 10 + roll(60);
    }
    if (fault(FAULT_DIE) || (skips && sim.rate[FAULT_DIE] && roll(8) == 0)) {
        die = 1 + roll(skips ? 3 : 7);
    }

    p->append = oracle_append(p->store, length);
    p->appending = 1;
    proc_do(p, do_append, pause, die);
    if (sim.sync == 2 && p->serial != 0 && !p->task.used &&
        p->store == store) {
        disk_sync(p);
    }
}

static void
do_call(void *data)
{
    proc_t *p = data;
    voc_str_t id = {p->id, VOC_JOURNAL_ID_LEN};

    switch (p->call) {
    case CALL_START:
        voc_pusher_start(p->pusher, sim.now);
        break;
    case CALL_CONNECTED:
        voc_pusher_connected(p->pusher, sim.now);
        break;
    case CALL_CLOSED:
        voc_pusher_closed(p->pusher, sim.now, "connection closed");
        break;
    case CALL_RECEIVED:
        voc_pusher_received(p->pusher, sim.now, p->data, p->len);
        break;
    case CALL_WRITABLE:
        voc_pusher_writable(p->pusher, sim.now);
        break;
    case CALL_TIMER:
        voc_pusher_timer(p->pusher, sim.now);
        break;
    case CALL_WAKE:
        voc_pusher_wake(p->pusher, sim.now);
        break;
    case CALL_RETIRED:
        voc_pusher_retired(p->pusher, sim.now, id);
        break;
    }
}

/* Takes data over where it is CALL_RECEIVED's. */
int
proc_call(proc_t *p, call_e call, const char *data, size_t len)
{
    unsigned pause = 0, die = 0;

    if (p->task.used || !proc_seated(p)) {
        if (call == CALL_RECEIVED) {
            free((char *)data);
        }
        return 0;
    }

    p->call = call;
    if (call == CALL_RECEIVED) {
        p->data = (char *)data;
        p->len = len;
    }

    /* it moves the tail where it hears of a batch, hardly anywhere else */
    if (fault(FAULT_PUSHER_PAUSE) ||
        (call == CALL_RECEIVED &&
         (fault(FAULT_PUSHER_PAUSE) || fault(FAULT_PUSHER_PAUSE)))) {
        pause = 10 + roll(60);
    }
    if (fault(FAULT_PUSHER_DIE) ||
        (call == CALL_RECEIVED &&
         (fault(FAULT_PUSHER_DIE) || fault(FAULT_PUSHER_DIE)))) {
        die = 1 + roll(call == CALL_RECEIVED ? 3 : 6);
    }

    proc_do(p, do_call, pause, die);
    return 1;
}

void
proc_timer(proc_t *p)
{
    if (p->timer_at > sim.now || p->task.used) {
        return;
    }

    p->timer_at = SIM_NEVER;
    if (p->starting) {
        p->starting = 0;
        proc_call(p, CALL_START, NULL, 0);
    } else {
        proc_call(p, CALL_TIMER, NULL, 0);
    }
}

/* ---- a drained file is deleted -------------------------------------------
 */

static void
do_retire(void *data)
{
    proc_t *p = data;
    voc_error_t error;

    if (voc_journal_retire(p->retiring[0], &error) == -1) {
        fail("%s", error.text);
    }
    p->retiring[0] = NULL;
}

void
proc_retire(proc_t *p)
{
    unsigned die = 0;
    int power;

    if (p->nretiring == 0 || p->task.used) {
        return;
    }

    if (fault(FAULT_RETIRE_DIE)) {
        die = 1;
        fds_remember();
    }

    memcpy(p->id, voc_journal_id(p->retiring[0]).data, sizeof(p->id));
    if (die != 0) {
        power = disk_keep(p->retiring[0]);
        task_start(&p->task, do_retire, p, 0, die);
        if (p->task.dead) {
            fds_close_new();
            proc_gone(p);
            if (power) {
                disk_undelete();
                life_power();
            }
            return;
        }
    } else {
        do_retire(p);
    }

    p->nretiring--;
    memmove(p->retiring, p->retiring + 1,
            p->nretiring * sizeof(p->retiring[0]));
    proc_call(p, CALL_RETIRED, NULL, 0);
}
