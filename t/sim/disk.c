/*
 * The disk under the journals: syncs that fail, files that are cut or
 * deleted, and what is left of them when the power goes.  Of what was written
 * since the last sync any sector may be as it was then, as it is now, as it
 * was in between, or zero.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sim.h"
#include "voc_crc32c.h"

#define SECTOR 512

static int syncing = -1; /* the store whose fdatasync() runs */
static const proc_t *syncs;

/* ---- what the journal no longer has --------------------------------------
 */

/* It may be missing from the list from now on. */
static void
append_gone(append_t *a)
{
    a->gone = 1;
    sim.losses++;
}

void
disk_all_gone(int s)
{
    uint32_t n;

    for (n = 1; n <= sim.nappends; n++) {
        if (sim.appends[n].store == s) {
            append_gone(&sim.appends[n]);
        }
    }
}

/* Of a record that was written when the file was cut already. */
void
disk_numbered(append_t *a)
{
    const store_t *store = &sim.stores[a->store];

    if (store->cut && (store->window_cut || voc_record_size(a->length) >
                                                voc_window_size(store->size) / 2)) {
        append_gone(a);
    }
}

/* ---- sync ----------------------------------------------------------------
 */

static size_t
ring_at(const store_t *store)
{
    return VOC_FILE_WINDOW + voc_window_size(store->size);
}

static size_t
file_size(const store_t *store)
{
    return ring_at(store) + store->size;
}

/* Of a file that was cut, what is not there is zeros. */
static void
take(char **image, const store_t *store, const voc_journal_t *journal)
{
    ssize_t n;

    if (*image == NULL) {
        *image = malloc(file_size(store));
        if (*image == NULL) {
            fail("no memory");
        }
    }

    n = pread(journal->fd, *image, file_size(store), 0);
    if (n == -1) {
        fail("cannot read journal %s", store->path);
    }
    memset(*image + n, 0, file_size(store) - (size_t)n);
}

/* Only where power may fail: it takes most of a run's time. */
static int
images_wanted(const store_t *store)
{
    return sim.rate[FAULT_POWER] > 0 && !store->memory;
}

void
disk_created(int s)
{
    store_t *store = &sim.stores[s];

    store->have = store->size;
    if (images_wanted(store)) {
        take(&store->synced_image, store, store->master);
    }
}

/* In place of the C library's.  Others append while it runs. */
int
fdatasync(int fd)
{
    store_t *store = &sim.stores[syncing];
    proc_t *p;

    (void)fd;
    if (syncing == -1) {
        return 0;
    }

    if (roll(20) == 0) {
        errno = EINTR;
        return -1;
    }

    if (fault(FAULT_SYNC_ERROR)) {
        say("journal %d cannot be synced", syncing);
        store->doomed = 1;
        errno = EIO;
        return -1;
    }

    if (images_wanted(store)) {
        take(&store->synced_image, store, syncs->journal);
        store->between = 0;
    }

    p = proc_any();
    if (!sim.calm && p != syncs && p->store == syncing && roll(4) == 0) {
        proc_append(p, PAYLOAD_MIN);
    }

    return 0;
}

void
disk_sync(proc_t *p)
{
    store_t *store = &sim.stores[p->store];
    uint64_t before = store->returned, synced = 0;
    voc_error_t error;
    voc_journal_rc rc;

    if (syncing != -1) {
        return; /* who appends while another one syncs */
    }

    p->journal->stuck = store_locked(p->store);
    syncing = store->memory ? -1 : p->store;
    syncs = p;
    rc = voc_journal_sync(p->journal, &synced, &error);
    syncing = -1;

    if (rc == VOC_JOURNAL_BUSY) {
        reached("a sync that waits in vain", "");
        return; /* whoever has the lock has stopped */
    }

    if (rc == VOC_JOURNAL_FAILED) {
        if (!store->doomed) {
            fail("journal %d fails without a cause: %s", p->store,
                 error.text);
        }
        store->failed = 1;
        reached("a sync that fails", "");
        return;
    }

    if (store->failed) {
        fail("journal %d has failed, and can be synced", p->store);
    }
    if (synced < before) {
        fail("event %" PRIu64 " of journal %d is not synced, but %" PRIu64,
             before, p->store, synced);
    }
    if (store->synced < synced) {
        store->synced = synced;
    }
}

/* Whether the file still is what it was. */
static void
disk_check(const proc_t *p)
{
    store_t *store = &sim.stores[p->store];
    voc_error_t error;

    if (voc_journal_check(p->journal, &error) != VOC_JOURNAL_FAILED) {
        if (store->cut || store->vanished || store->failed) {
            fail("journal %d is cut or gone, and nobody sees it", p->store);
        }
        return;
    }

    if (!store->doomed) {
        fail("journal %d fails without a cause: %s", p->store, error.text);
    }
    store->failed = 1;
    reached("a look that finds the file", store->vanished ? "gone" : "cut");
}

/* ---- what is in a file ----------------------------------------------------
 */

static void
read_file(const store_t *store, char *image)
{
    int fd = open(store->path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd == -1 ? -1 : pread(fd, image, file_size(store), 0);

    if (n == -1) {
        fail("cannot read %s", store->path);
    }
    close(fd);
    memset(image + n, 0, file_size(store) - (size_t)n);
}

/* The crc of the record that stands there, which validates; 0: none does. */
static uint32_t
stands(const store_t *store, const char *area, uint64_t size, uint64_t offset)
{
    static char bytes[64 * 1024];
    voc_file_record_t *record = (voc_file_record_t *)bytes;
    uint64_t place = offset % size, i, n = sizeof(*record);
    uint32_t crc;

    for (i = 0; i < n && i < sizeof(bytes); i++) {
        bytes[i] = area[(place + i) % size];
        if (i == sizeof(*record) - 1 && record->magic == VOC_RECORD_MAGIC &&
            record->offset == offset) {
            n += record->length;
        }
    }

    if (n == sizeof(*record) || n > sizeof(bytes)) {
        return 0;
    }

    crc = voc_crc32c(voc_crc32c(0, store->id, VOC_JOURNAL_ID_LEN),
                     &record->seq, n - offsetof(voc_file_record_t, seq));
    return crc == record->crc ? crc : 0;
}

/* The same of the whole file: what the window has goes before the ring's. */
static uint32_t
found(const store_t *store, const char *image, uint64_t offset)
{
    uint32_t crc =
        stands(store, image + VOC_FILE_WINDOW, voc_window_size(store->size),
               offset);

    return crc != 0 ? crc
                    : stands(store, image + ring_at(store), store->size, offset);
}

/* ---- a file is cut or deleted ---------------------------------------------
 */

static int
store_live(int s)
{
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0 && sim.procs[i].store == s) {
            return 1;
        }
    }

    return 0;
}

/*
 * In the ring, or in the window, where that will not be written over: what it
 * has alone cannot be moved any more.
 */
static int
remains(const store_t *store, const char *image, const append_t *a)
{
    uint64_t moved = atomic_load(&store->master->shared->moved);

    if (a->offset % store->size + voc_record_size(a->length) <= store->have &&
        stands(store, image + ring_at(store), store->size, a->offset) != 0) {
        return 1;
    }

    return a->offset >= moved && store_live((int)(store - sim.stores)) &&
           stands(store, image + VOC_FILE_WINDOW,
                  voc_window_size(store->size), a->offset) != 0;
}

static void
disk_cut(int s)
{
    store_t *store = &sim.stores[s];
    off_t size = roll(6) ? (off_t)(ring_at(store) +
                                   roll((uint32_t)store->size))
                         : (off_t)roll((uint32_t)ring_at(store));
    uint64_t have;
    uint32_t n;
    append_t *a;
    char *image;

    if (roll(2)) {
        size -= size % VOC_FILE_PAGE;
    }

    have = (size_t)size < ring_at(store)
               ? 0
               : ((uint64_t)size - ring_at(store)) & ~7ULL;
    if (have >= store->have) {
        return;
    }

    say("journal %d is cut to %ld bytes", s, (long)size);
    if (truncate(store->path, size) == -1) {
        fail("cannot cut %s", store->path);
    }

    store->have = have;
    store->cut = 1;
    store->window_cut = (size_t)size < ring_at(store);
    store->doomed = 1;

    image = malloc(file_size(store));
    if (image == NULL) {
        fail("no memory");
    }
    read_file(store, image);
    for (n = 1; n <= sim.nappends; n++) {
        a = &sim.appends[n];
        if (a->store == s && a->seq != 0 && !remains(store, image, a)) {
            append_gone(a);
        }
    }
    free(image);
}

static void
disk_vanish(int s)
{
    store_t *store = &sim.stores[s];

    say("journal %d is deleted by someone", s);
    unlink(store->path);
    store->vanished = 1;
    store->doomed = 1;
    life_loose(); /* what follows it does not wait */
    if (!store_live(s)) {
        disk_all_gone(s);
    }
}

static void
faults_of_a_file(void)
{
    int s = sim.nstores > 0 ? (int)roll((uint32_t)sim.nstores) : -1;
    int cut = fault(FAULT_FILE_CUT), vanish = fault(FAULT_VANISH);

    if (s == -1 || sim.stores[s].memory || sim.stores[s].deleted ||
        access(sim.stores[s].path, F_OK) == -1) {
        return;
    }

    if (cut) {
        disk_cut(s);
    } else if (vanish) {
        disk_vanish(s);
    }
}

void
disk_step(void)
{
    proc_t *p = proc_any();
    store_t *store;

    faults_of_a_file();

    if (p == NULL || p->task.used) {
        return;
    }

    store = &sim.stores[p->store];
    if (sim.sync > 0 && roll(2)) {
        disk_sync(p);
    } else if (roll(2)) {
        disk_check(p);
    } else if (images_wanted(store) && roll(8) == 0) {
        take(&store->between_image, store, p->journal);
        store->between = 1;
    }
}

/* ---- the power goes
 * ---------------------------------------------------------
 */

/* What is cut stays so. */
static void
write_file(const store_t *store, char *image)
{
    struct stat st;
    int fd = open(store->path, O_WRONLY | O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) == -1 ||
        pwrite(fd, image, (size_t)st.st_size, 0) != (ssize_t)st.st_size) {
        fail("cannot write %s", store->path);
    }
    close(fd);
    memset(image + st.st_size, 0, file_size(store) - (size_t)st.st_size);
}

/* 1: all of it was written since the sync, so it may never have been. */
static int
sector_new(const store_t *store, uint64_t from, size_t at)
{
    uint64_t place = at - ring_at(store), logical;

    if (at < ring_at(store)) {
        return at >= VOC_FILE_WINDOW; /* what is synced is in the ring */
    }

    logical = from - from % store->size + place;
    if (logical < from) {
        logical += store->size;
    }
    return logical + SECTOR <= store->written;
}

/* The offset behind the last record that is synced. */
static uint64_t
synced_end(const store_t *store)
{
    uint64_t seq = store->synced;
    const append_t *a;

    if (seq == 0 || seq >= store->nby_seq || store->by_seq[seq] == 0) {
        return seq == 0 ? 0 : UINT64_MAX - store->size;
    }

    a = &sim.appends[store->by_seq[seq]];
    return a->offset + voc_record_size(a->length);
}

static void
mix(const store_t *store, const char *now, char *image)
{
    const char *from[3] = {now, store->synced_image, store->between_image};
    unsigned n = store->between ? 3 : 2, zero = roll(3) ? 0 : 4, page = 0;
    uint64_t end = synced_end(store);
    size_t at;

    for (at = 0; at < file_size(store); at += SECTOR) {
        if (at % VOC_FILE_PAGE == 0) {
            page = roll(2 * n); /* whole, or by sectors */
        }
        memcpy(image + at, from[page < n ? page : roll(n)] + at, SECTOR);
        if (zero != 0 && sector_new(store, end, at) && roll(zero) == 0) {
            memset(image + at, 0, SECTOR);
        }
    }
}

/* What is not whole any more is gone; it must not have been synced. */
static void
compare(int s, const char *now, const char *image)
{
    store_t *store = &sim.stores[s];
    append_t *a;
    uint32_t n;

    for (n = 1; n <= sim.nappends; n++) {
        a = &sim.appends[n];
        if (a->store != s || a->seq == 0 || a->gone || a->fate != APPEND_OK ||
            store->written > a->offset + store->size ||
            found(store, now, a->offset) == found(store, image, a->offset)) {
            continue;
        }
        if (a->seq <= store->synced) {
            fail("event %u (journal %d, number %" PRIu64 ") was synced, and "
                 "the disk does not have it",
                 n, s, a->seq);
        }
        append_gone(a);
        reached("power: an event that was not synced is gone", "");
    }
}

/* All of nginx is dead. */
void
disk_power(void)
{
    store_t *store;
    char *now, *image;
    int s;

    for (s = 0; s < sim.nstores; s++) {
        store = &sim.stores[s];
        if (store->synced_image == NULL || store->deleted ||
            access(store->path, F_OK) == -1) {
            continue;
        }

        now = malloc(file_size(store));
        image = malloc(file_size(store));
        if (now == NULL || image == NULL) {
            fail("no memory");
        }

        read_file(store, now);
        mix(store, now, image);
        write_file(store, image);
        compare(s, now, image);
        free(now);

        free(store->synced_image); /* nothing is on its way any more */
        store->synced_image = image;
        store->between = 0;
    }
}

static int kept; /* the store whose file may come back */

static void
kept_name(char *name, size_t size)
{
    snprintf(name, size, "%s/kept", sim.directory);
}

/* 1: it comes back, if its deletion stops halfway. */
int
disk_keep(const voc_journal_t *journal)
{
    char name[128];

    kept = store_of(journal->id);
    kept_name(name, sizeof(name));
    return kept != -1 && !sim.stores[kept].vanished &&
           sim.rate[FAULT_POWER] > 0 && roll(2) &&
           link(sim.stores[kept].path, name) == 0;
}

void
disk_undelete(void)
{
    char name[128];

    say("journal %d is there again", kept);
    reached("power: a deleted file is there again", "");
    kept_name(name, sizeof(name));
    if (rename(name, sim.stores[kept].path) == -1) {
        fail("cannot bring %s back", name);
    }
    sim.stores[kept].deleted = 0;
}

void
disk_free(store_t *store)
{
    free(store->synced_image);
    free(store->between_image);
    store->synced_image = NULL;
    store->between_image = NULL;
}
