/* Starts, reloads, deaths: what a master does, and what happens to it. */

#include <unistd.h>

#include "sim.h"

static voc_journal_t *made; /* by a start that may die */

static void
do_create(void *data)
{
    voc_journal_options_t *options = data;
    voc_error_t error;

    made = voc_journal_create(options, &error);
    if (made == NULL) {
        fail("%s", error.text);
    }
}

/* Workers of another master are there: they drain what they find. */
static int
life_mixed(void)
{
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0 && sim.procs[i].orphan) {
            return 1;
        }
    }

    return 0;
}

/* A fresh store; -1: its maker died. */
static int
store_create(void)
{
    static const uint64_t sizes[] = {64 * 1024, 64 * 1024, 68 * 1024,
                                     128 * 1024};
    voc_journal_options_t options = {sim.directory, sizes[roll(4)], (uid_t)-1,
                                     (gid_t)-1};
    store_t *store = &sim.stores[sim.nstores];
    task_t task;

    if (fault(FAULT_CREATE_DIE)) {
        fds_remember();
        task_start(&task, do_create, &options, 0, 1 + roll(3));
        if (task.dead) {
            say("a start dies");
            fds_close_new();
            return -1;
        }
    } else {
        do_create(&options);
    }

    store->master = made;
    memcpy(store->id, voc_journal_id(made).data, VOC_JOURNAL_ID_LEN);
    store->size = voc_journal_size(made);
    store->path = strdup(voc_journal_path(made));
    store->previous = -1;
    store->loose = life_mixed();
    say("journal %d: %s", sim.nstores, store->path);
    return sim.nstores++;
}

static void
life_workers(void)
{
    unsigned i;

    for (i = 0; i < sim.workers; i++) {
        proc_start(sim.current, i == 0);
    }
}

/* How many more fit. */
static unsigned
life_room(void)
{
    unsigned i, n = 0;

    for (i = 0; i < PROCS_MAX; i++) {
        n += sim.procs[i].serial == 0;
    }

    return n;
}

void
life_start(void)
{
    if (sim.nstores == STORES_MAX || life_room() < sim.workers) {
        return;
    }

    say("nginx starts");
    sim.current = store_create();
    if (sim.current != -1) {
        life_workers();
    }
}

static void
life_old(void)
{
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        sim.procs[i].exiting = 1;
        if (sim.procs[i].pusher != NULL && fault(FAULT_LATE)) {
            sim.procs[i].late = 1 + roll(6);
        }
    }
}

void
life_reload(int resize)
{
    int old = sim.current, fresh;

    if (old == -1 || life_room() < sim.workers) {
        return;
    }

    if (resize) {
        if (sim.nstores == STORES_MAX) {
            return;
        }
        fresh = store_create();
        if (fresh == -1) {
            life_kill_all();
            return;
        }
        sim.stores[fresh].previous = old;
        voc_journal_follow(sim.stores[fresh].master, sim.stores[old].master);
        sim.current = fresh;
    }

    say("a reload");
    life_old();
    life_workers();
}

/* The master is gone; its workers still have the numbers. */
static void
life_no_master(void)
{
    int i;

    for (i = 0; i < sim.nstores; i++) {
        voc_journal_detach(sim.stores[i].master);
    }
    sim.current = -1;
}

/* The old workers go on, with journals that the new master knows not of. */
void
life_second(void)
{
    int i;

    if (sim.current == -1 || life_room() < sim.workers) {
        return;
    }

    say("the master dies alone");
    life_old();
    for (i = 0; i < PROCS_MAX; i++) {
        sim.procs[i].orphan = 1;
    }
    for (i = 0; i < sim.nstores; i++) {
        if (!sim.stores[i].deleted) {
            sim.stores[i].loose = 1;
        }
    }
    life_no_master();
    life_start();
}

void
life_kill_all(void)
{
    int i;

    say("all of nginx dies");
    life_no_master();
    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0) {
            proc_die(&sim.procs[i]);
        }
    }
}

/* Of a journal that no worker has any more the master keeps the numbers. */
static void
life_release(int store)
{
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0 && sim.procs[i].store == store) {
            return;
        }
    }

    if (store != sim.current) {
        voc_journal_detach(sim.stores[store].master);
    }
}

void
life_gone(const proc_t *p)
{
    proc_t *fresh;

    if (p->exiting || p->store != sim.current) {
        life_release(p->store);
        return;
    }

    fresh = proc_start(p->store, p->first);
    if (fresh == NULL) {
        fail("no room for a process");
    }
}

/* As the glue does it. */
static int
store_done(const store_t *store)
{
    voc_journal_status_t status;

    voc_journal_status(store->master, &status);
    return status.pending == 0 || access(store->path, F_OK) == -1;
}

int
life_may_begin(int store)
{
    int i;

    for (i = sim.stores[store].previous; i != -1;
         i = sim.stores[i].previous) {
        if (!store_done(&sim.stores[i])) {
            return 0;
        }
    }

    oracle_begun(store);
    return 1;
}
