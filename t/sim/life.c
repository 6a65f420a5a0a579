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
    voc_journal_options_t options = {NULL, sizes[roll(4)], (uid_t)-1,
                                     (gid_t)-1};
    store_t *store = &sim.stores[sim.nstores];
    task_t task;

    /* once there are files, they are not left behind for memory */
    if (sim.memory == 2 && sim.nstores > 0 && roll(2)) {
        sim.memory = 0;
    }
    store->memory = sim.memory != 0;
    if (!store->memory) {
        options.directory = sim.directory;
    }

    if (!store->memory && fault(FAULT_CREATE_DIE)) {
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
    disk_created(sim.nstores);
    reached("a journal", store->memory ? "in memory" : "in a file");
    say("journal %d: %s", sim.nstores,
        store->memory ? "in memory" : store->path);
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

/* Two masters at a time: no order between what is there. */
void
life_loose(void)
{
    int i;

    for (i = 0; i < sim.nstores; i++) {
        if (!sim.stores[i].deleted && !sim.stores[i].none_left) {
            sim.stores[i].loose = 1;
        }
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
    if (life_mixed()) {
        life_loose();
    }
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
    life_loose();
    life_no_master();
    life_start();
}

void
life_kill_all(void)
{
    int i;

    say("all of nginx dies");
    sim.deaths++;
    life_no_master();
    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0) {
            proc_die(&sim.procs[i]);
        }
    }
}

/* The machine's: what is not on the disk is gone, with Redis' or without. */
void
life_power(void)
{
    say("the power goes");
    life_kill_all();
    disk_power();
    sim.losses++; /* half a record that was not published counts as lost */

    if (roll(3) == 0) {
        redis_restart(roll(2) == 0, 0);
    }
}

/* A graceful stop: no more is accepted, what waits is pushed for a while. */
void
life_quit(void)
{
    int i;

    if (sim.current == -1) {
        return;
    }

    say("nginx is told to quit");
    life_no_master();
    for (i = 0; i < PROCS_MAX; i++) {
        sim.procs[i].exiting = 1;
        sim.procs[i].orphan = 1;
        if (sim.procs[i].serial != 0 && !sim.procs[i].task.used) {
            proc_told(&sim.procs[i]);
        }
    }
}

/* What only those who are gone had in memory, or open, is gone. */
static void
life_lost(int store)
{
    store_t *s = &sim.stores[store];

    if ((s->memory || s->vanished) && !s->none_left) {
        say("journal %d is gone", store);
        disk_all_gone(store);
        s->none_left = 1;
        s->loose = 1; /* nobody fences what an old connection still holds */
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
        life_lost(store);
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

/* It cannot be read, or not be deleted: nobody waits for that. */
static int
is_refused(const voc_journal_directory_t *leftovers, const char *id)
{
    uint64_t key = strtoull(id, NULL, 16);
    unsigned i;

    for (i = 0; i < leftovers->nrefused; i++) {
        if (leftovers->refused[i] == key) {
            return 1;
        }
    }

    return 0;
}

/* By one that pushes now. */
int
life_refused(int store)
{
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0 && sim.procs[i].pusher != NULL &&
            is_refused(&sim.procs[i].leftovers, sim.stores[store].id)) {
            return 1;
        }
    }

    return 0;
}

/* As the glue does it. */
static int
store_done(store_t *store, const voc_journal_directory_t *leftovers)
{
    voc_journal_status_t status;

    int i;

    voc_journal_status(store->master, &status);
    if (status.pending == 0) {
        return 1;
    }
    if (!store->memory) {
        return access(store->path, F_OK) == -1 ||
               is_refused(leftovers, store->id);
    }

    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0 && sim.procs[i].serial == store->seat) {
            return 0;
        }
    }

    /* nobody is left to push it */
    disk_all_gone((int)(store - sim.stores));
    return 1;
}

int
life_may_begin(int store, const voc_journal_directory_t *leftovers)
{
    int i;

    for (i = sim.stores[store].previous; i != -1;
         i = sim.stores[i].previous) {
        if (!store_done(&sim.stores[i], leftovers)) {
            return 0;
        }
    }

    oracle_begun(store, 0);
    return 1;
}
