/* The journal: its shared state, its lock, acknowledge. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "voc_crc32c.h"
#include "voc_guard.h"
#include "voc_journal_file.h"

#define VOC_LOCK_SPINS 64 /* an append takes about a microsecond */

void (*voc_journal_point)(voc_point_e point, voc_journal_t *journal);

void
voc_journal_error(voc_error_t *error, int number, const char *format, ...)
{
    char cause[128];
    va_list args;
    int n;

    if (error == NULL) {
        return;
    }

    error->number = number;

    va_start(args, format);
    n = vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);

    if (number != 0 && n >= 0 && (size_t)n < sizeof(error->text)) {
        snprintf(error->text + n, sizeof(error->text) - (size_t)n,
                 " (%d: %s)", number,
                 strerror_r(number, cause, sizeof(cause)));
    }
}

/* ---- positions, published by one store each --------------------------- */

voc_position_t
voc_journal_head(const voc_journal_t *journal)
{
    voc_journal_shared_t *shared = journal->shared;
    voc_position_t head;

    do {
        head.seq = atomic_load(&shared->seq);
        head.end = atomic_load(&shared->end[head.seq & 1]);
    } while (atomic_load(&shared->seq) != head.seq);

    return head;
}

voc_position_t
voc_journal_tail(const voc_journal_t *journal)
{
    voc_journal_shared_t *shared = journal->shared;
    voc_position_t tail;
    uint64_t turn;

    do {
        turn = atomic_load(&shared->turn);
        tail.seq = atomic_load(&shared->tail_seq[turn & 1]);
        tail.end = atomic_load(&shared->tail_end[turn & 1]);
    } while (atomic_load(&shared->turn) != turn);

    return tail;
}

void
voc_journal_set_tail(voc_journal_t *journal, voc_position_t tail)
{
    voc_journal_shared_t *shared = journal->shared;
    uint64_t turn = atomic_load(&shared->turn) + 1;

    atomic_store(&shared->tail_seq[turn & 1], tail.seq);
    atomic_store(&shared->tail_end[turn & 1], tail.end);
    voc_point(VOC_POINT_TAIL_TURN, journal);
    atomic_store(&shared->turn, turn);
}

void
voc_journal_status(const voc_journal_t *journal, voc_journal_status_t *status)
{
    /* In this order the head is never behind the tail. */
    voc_position_t tail = voc_journal_tail(journal);
    voc_position_t head = voc_journal_head(journal);

    status->head = head.seq;
    status->tail = tail.seq;
    status->pending = head.seq - tail.seq;
    status->bytes = head.end - tail.end;
}

/* ---- a journal, and its end -------------------------------------------- */

static int
voc_shared_init(voc_journal_shared_t *shared)
{
    pthread_mutexattr_t attr;
    int rc;

    if ((rc = pthread_mutexattr_init(&attr)) != 0) {
        return rc;
    }

    if ((rc = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED)) ==
            0 &&
        (rc = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST)) == 0) {
        rc = pthread_mutex_init(&shared->mutex, &attr);
    }

    pthread_mutexattr_destroy(&attr);
    return rc;
}

voc_journal_t *
voc_journal_new(const char *path, voc_error_t *error)
{
    voc_journal_t *journal;
    int rc;

    journal = calloc(1, sizeof(*journal));
    if (journal == NULL || (journal->path = strdup(path)) == NULL) {
        voc_journal_error(error, ENOMEM, "no memory for journal \"%s\"", path);
        free(journal);
        return NULL;
    }

    journal->fd = -1;
    journal->sync_fd = -1;
    pthread_mutex_init(&journal->sync_lock, NULL);

    journal->shared =
        mmap(NULL, sizeof(voc_journal_shared_t), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (journal->shared == MAP_FAILED) {
        journal->shared = NULL;
        rc = errno;
    } else {
        rc = voc_shared_init(journal->shared);
    }

    if (rc == 0 && voc_guard_install() == -1) {
        rc = errno;
    }

    if (rc != 0) {
        voc_journal_error(error, rc, "cannot set up journal \"%s\"", path);
        voc_journal_close(journal);
        return NULL;
    }

    return journal;
}

void
voc_journal_set_id(voc_journal_t *journal, const char *id)
{
    memcpy(journal->id, id, VOC_JOURNAL_ID_LEN);
    journal->seed = voc_crc32c(0, id, VOC_JOURNAL_ID_LEN);
}

void
voc_journal_set_size(voc_journal_t *journal, uint64_t size)
{
    journal->size = size;
    journal->ring.size = size;
    journal->ring.have = size;
    journal->payload_max = voc_payload_max(size);
}

void
voc_journal_detach(voc_journal_t *journal)
{
    journal->readonly = 1;

    if (journal->map != NULL) {
        voc_window_unmap(journal);
        munmap(journal->map, journal->map_size);
        journal->map = NULL;
    }

    if (journal->sync_fd != -1 && journal->sync_fd != journal->fd) {
        close(journal->sync_fd);
    }

    if (journal->fd != -1) {
        close(journal->fd);
    }

    journal->sync_fd = -1;
    journal->fd = -1;
}

void
voc_journal_close(voc_journal_t *journal)
{
    if (journal == NULL) {
        return;
    }

    voc_journal_detach(journal);

    /* The mutex is not destroyed: other processes go on with it. */
    if (journal->shared != NULL) {
        munmap(journal->shared, sizeof(voc_journal_shared_t));
    }

    pthread_mutex_destroy(&journal->sync_lock);
    free(journal->path);
    free(journal);
}

voc_str_t
voc_journal_id(const voc_journal_t *journal)
{
    voc_str_t id = {journal->id, VOC_JOURNAL_ID_LEN};

    return id;
}

const char *
voc_journal_path(const voc_journal_t *journal)
{
    return journal->path;
}

uint64_t
voc_journal_size(const voc_journal_t *journal)
{
    return journal->size;
}

uint64_t
voc_journal_payload_max(const voc_journal_t *journal)
{
    return journal->payload_max;
}

/* ---- the lock ----------------------------------------------------------- */

voc_journal_rc
voc_journal_fail(voc_journal_t *journal, int number)
{
    int none = 0;

    atomic_compare_exchange_strong(&journal->shared->failed, &none, number);
    return VOC_JOURNAL_FAILED;
}

/*
 * An owner may be off the CPU for a while, or stopped for good.  So one
 * append waits; those after it only look, until the lock is seen free.
 */
static int
voc_journal_lock_wait(voc_journal_t *journal)
{
    pthread_mutex_t *mutex = &journal->shared->mutex;
    struct timespec until;
    int rc, i;

    for (i = 0; i < VOC_LOCK_SPINS; i++) {
        rc = pthread_mutex_trylock(mutex);
        if (rc != EBUSY) {
            journal->stuck = 0;
            return rc;
        }
    }

    if (journal->stuck) {
        return EBUSY;
    }

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += VOC_JOURNAL_LOCK_WAIT * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }

    rc = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
    journal->stuck = rc == ETIMEDOUT;
    return rc;
}

/*
 * The owner died.  What it had not published is as if it had never begun;
 * what is published must make sense, or something wrote where it should not.
 */
static voc_journal_rc
voc_journal_take_over(voc_journal_t *journal)
{
    voc_position_t head = voc_journal_head(journal);
    voc_position_t tail = voc_journal_tail(journal);

    pthread_mutex_consistent(&journal->shared->mutex);

    if (atomic_load(&journal->shared->moved) > head.end) {
        atomic_store(&journal->shared->moved, head.end);
    }

    if (tail.seq > head.seq || tail.end > head.end ||
        head.end - tail.end > journal->size || head.end % 8 != 0) {
        pthread_mutex_unlock(&journal->shared->mutex);
        return voc_journal_fail(journal, EUCLEAN);
    }

    return VOC_JOURNAL_OK;
}

voc_journal_rc
voc_journal_lock(voc_journal_t *journal)
{
    switch (voc_journal_lock_wait(journal)) {
    case 0:
        return VOC_JOURNAL_OK;
    case EOWNERDEAD:
        return voc_journal_take_over(journal);
    case EBUSY:
    case ETIMEDOUT:
        return VOC_JOURNAL_BUSY;
    default: /* ENOTRECOVERABLE */
        return voc_journal_fail(journal, ENOTRECOVERABLE);
    }
}

void
voc_journal_unlock(voc_journal_t *journal)
{
    pthread_mutex_unlock(&journal->shared->mutex);
}

/* ---- what is in the file ------------------------------------------------ */

int
voc_journal_copy(const voc_journal_t *journal, void *to, const void *from,
                 size_t size)
{
    if (journal->fd == -1) {
        memcpy(to, from, size);
        return 0;
    }

    return voc_guard_copy(to, from, size);
}

uint32_t
voc_slot_crc(uint32_t seed, const voc_file_slot_t *slot)
{
    return voc_crc32c(seed, slot, offsetof(voc_file_slot_t, crc));
}

/* ---- the tail ----------------------------------------------------------- */

/* A failed write costs no event: the older slot still holds. */
static void
voc_tail_write(voc_journal_t *journal, voc_position_t tail)
{
    voc_file_slot_t slot;
    uint64_t turn = atomic_load(&journal->shared->turn) + 1;
    char *page;

    if (journal->fd == -1 || journal->readonly) {
        return;
    }

    page = (char *)journal->map + VOC_FILE_SLOTS;

    memset(&slot, 0, sizeof(slot));
    slot.turn = turn;
    slot.seq = tail.seq;
    slot.offset = tail.end;
    slot.crc = voc_slot_crc(journal->seed, &slot);

    if (voc_guard_copy(page + (turn & 1) * VOC_FILE_SLOT_STEP, &slot,
                       sizeof(slot)) == -1) {
        voc_journal_fail(journal, EIO);
    }
}

static voc_journal_rc
voc_tail_move(voc_journal_t *journal, voc_position_t tail)
{
    voc_tail_write(journal, tail);
    voc_point(VOC_POINT_TAIL_FILE, journal);
    voc_journal_set_tail(journal, tail);
    voc_point(VOC_POINT_TAIL_DONE, journal);

    return atomic_load(&journal->shared->failed) != 0 ? VOC_JOURNAL_FAILED
                                                      : VOC_JOURNAL_OK;
}

voc_journal_rc
voc_journal_acknowledge(voc_journal_t *journal, uint64_t seq, uint64_t end)
{
    voc_position_t head, tail = {seq, end};
    voc_journal_rc rc;

    rc = voc_journal_lock(journal);
    if (rc != VOC_JOURNAL_OK) {
        return rc;
    }

    head = voc_journal_head(journal);
    if (seq >= head.seq) {
        tail = head;
    }

    /* An end that cannot be is a caller's mistake: it costs no record. */
    if (tail.seq > voc_journal_tail(journal).seq && tail.end <= head.end) {
        rc = voc_tail_move(journal, tail);
    }

    voc_journal_unlock(journal);
    return rc;
}

voc_journal_rc
voc_journal_retain(voc_journal_t *journal, const voc_journal_record_t *record)
{
    voc_position_t tail = {record->seq - 1, record->offset};
    voc_file_record_t header;
    uint64_t cost = 0;
    voc_journal_rc rc;

    rc = voc_journal_lock(journal);
    if (rc != VOC_JOURNAL_OK) {
        return rc;
    }

    /* The head has written up to one lap behind itself, no further. */
    if (record->seq == 0 ||
        record->offset + journal->size < voc_journal_head(journal).end ||
        !voc_record_at(journal, record->offset, NULL, 0, &header, &cost) ||
        header.seq != record->seq) {
        rc = VOC_JOURNAL_EMPTY;

    } else if (record->seq <= voc_journal_tail(journal).seq) {
        rc = voc_tail_move(journal, tail);
    }

    voc_journal_unlock(journal);
    return rc;
}

