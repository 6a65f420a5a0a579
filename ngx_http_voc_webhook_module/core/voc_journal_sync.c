/* The journal: is it on the disk, and is the file still there? */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "voc_journal_file.h"

static voc_journal_rc
voc_sync_failed(const voc_journal_t *journal, int number, voc_error_t *error)
{
    switch (number) {
    case 0:
        return VOC_JOURNAL_OK;
    case ENODATA:
        voc_journal_error(error, 0, "journal \"%s\" was truncated",
                          journal->path);
        break;
    case ENOENT:
        voc_journal_error(error, 0, "journal \"%s\" was deleted",
                          journal->path);
        break;
    default:
        voc_journal_error(error, number, "journal \"%s\" failed",
                          journal->path);
    }

    return VOC_JOURNAL_FAILED;
}

/*
 * The kernel reports a failed write once per open file description, and all
 * that forked share one: a process could be told that all is well because
 * another one has just been told that it is not.  So each opens its own.
 */
static int
voc_sync_fd(voc_journal_t *journal)
{
    char name[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
    pid_t pid = getpid();

    if (journal->sync_pid == pid) {
        return journal->sync_fd;
    }

    if (journal->sync_fd != -1 && journal->sync_fd != journal->fd) {
        close(journal->sync_fd); /* a copy of the parent's */
    }

    snprintf(name, sizeof(name), "/proc/self/fd/%d", journal->fd);
    journal->sync_fd = open(name, O_RDONLY | O_CLOEXEC);
    if (journal->sync_fd == -1) {
        journal->sync_fd = journal->fd;
    }

    journal->sync_pid = pid;
    return journal->sync_fd;
}

/* What is on the disk must be in the ring: the window is written over. */
static voc_journal_rc
voc_sync_move(voc_journal_t *journal, uint64_t *seq)
{
    voc_journal_rc rc = voc_journal_lock(journal);
    int number;

    if (rc != VOC_JOURNAL_OK) {
        return rc;
    }

    *seq = voc_journal_head(journal).seq;
    number = voc_window_move(journal);
    voc_journal_unlock(journal);

    return number == 0 ? VOC_JOURNAL_OK : voc_journal_fail(journal, number);
}

static voc_journal_rc
voc_sync_locked(voc_journal_t *journal)
{
    voc_journal_shared_t *shared = journal->shared;
    uint64_t seq = atomic_load(&shared->seq);
    uint64_t synced = atomic_load(&shared->synced);
    voc_journal_rc rc;

    if (atomic_load(&shared->failed) != 0 || synced >= seq) {
        return VOC_JOURNAL_OK;
    }

    rc = voc_sync_move(journal, &seq);
    if (rc != VOC_JOURNAL_OK) {
        return rc;
    }

    while (fdatasync(voc_sync_fd(journal)) == -1) {
        if (errno != EINTR) {
            return voc_journal_fail(journal, errno);
        }
    }

    while (synced < seq &&
           !atomic_compare_exchange_weak(&shared->synced, &synced, seq)) {
        /* another process was there first; synced is its number now */
    }

    return VOC_JOURNAL_OK;
}

voc_journal_rc
voc_journal_sync(voc_journal_t *journal, uint64_t *synced, voc_error_t *error)
{
    voc_journal_rc rc = VOC_JOURNAL_OK;

    if (journal->fd != -1 && !journal->readonly) {
        /* Who waited here finds its records synced by the one before. */
        pthread_mutex_lock(&journal->sync_lock);
        rc = voc_sync_locked(journal);
        pthread_mutex_unlock(&journal->sync_lock);
    }

    *synced = voc_journal_synced(journal);
    if (rc == VOC_JOURNAL_BUSY) {
        return rc;
    }

    return voc_sync_failed(journal, atomic_load(&journal->shared->failed),
                           error);
}

uint64_t
voc_journal_synced(const voc_journal_t *journal)
{
    if (journal->fd == -1 || journal->readonly) {
        return atomic_load(&journal->shared->seq);
    }

    return atomic_load(&journal->shared->synced);
}

voc_journal_rc
voc_journal_check(voc_journal_t *journal, voc_error_t *error)
{
    int number = 0;
    struct stat st;

    if (journal->fd != -1) {
        if (fstat(journal->fd, &st) == -1) {
            number = errno;
        } else if (st.st_nlink == 0) {
            number = ENOENT;
        } else if ((uint64_t)st.st_size < journal->ring_at + journal->size) {
            number = ENODATA;
        }
    }

    /* What was left behind is read to its end, whatever became of it. */
    if (!journal->readonly) {
        if (number != 0) {
            voc_journal_fail(journal, number);
        }
        number = atomic_load(&journal->shared->failed);
    }

    return voc_sync_failed(journal, number, error);
}
