/*
 * The journal: the window, where the last records stand.  From it they go
 * to the ring many at once.
 *
 * A mapped page that has been to the disk costs a fault when it is written
 * again, and the ring comes to another page, which is in no cache of the
 * CPU, with every few records.  The window's pages are few, and always the
 * same ones; and pwrite() to a page of the ring meets no fault.
 */

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "voc_journal_file.h"

#define VOC_WINDOW_SIZE (128 * 1024) /* bytes: stays in the CPU's cache */

uint64_t
voc_window_size(uint64_t size)
{
    uint64_t quarter = size / 4 - size / 4 % VOC_FILE_PAGE;

    return quarter < VOC_WINDOW_SIZE ? quarter : VOC_WINDOW_SIZE;
}

/* Twice, one behind the other: so no record is split at its end. */
int
voc_window_map(voc_journal_t *journal, int fd, uint64_t size, int prot)
{
    char *map;
    int i;

    map = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) {
        return -1;
    }

    for (i = 0; i < 2; i++) {
        if (mmap(map + (uint64_t)i * size, size, prot, MAP_SHARED | MAP_FIXED,
                 fd, VOC_FILE_WINDOW) == MAP_FAILED) {
            munmap(map, 2 * size);
            return -1;
        }
    }

    journal->window.bytes = map;
    journal->window.size = size;
    journal->window.have = 2 * size;
    return 0;
}

void
voc_window_unmap(voc_journal_t *journal)
{
    if (!voc_window_is_ring(journal)) {
        munmap(journal->window.bytes, 2 * journal->window.size);
        journal->window = journal->ring;
    }
}

int
voc_ring_write(const voc_journal_t *journal, uint64_t offset,
               const void *bytes, uint64_t size)
{
    off_t place = (off_t)(journal->ring_at + offset % journal->size);
    uint64_t done = 0;
    ssize_t n;

    while (done < size) {
        n = pwrite(journal->fd, (const char *)bytes + done, size - done,
                   place + (off_t)done);
        if (n > 0) {
            done += (uint64_t)n;
        } else if (n == 0 || errno == EFAULT) {
            return EIO; /* the window's file does not hold */
        } else if (errno != EINTR) {
            return errno;
        }
    }

    return 0;
}

int
voc_window_move(voc_journal_t *journal)
{
    const voc_area_t *window = &journal->window;
    uint64_t end = voc_journal_head(journal).end;
    uint64_t from = atomic_load(&journal->shared->moved), to;
    struct stat st;
    int rc;

    /* A file that was cut must not grow again. */
    if (journal->fd != -1 && fstat(journal->fd, &st) == 0 &&
        (uint64_t)st.st_size < journal->ring_at + journal->size) {
        return ENODATA;
    }

    for (; journal->fd != -1 && from < end; from = to) {
        to = voc_next_lap(journal, from);
        if (to > end) {
            to = end;
        }

        rc = voc_ring_write(journal, from,
                            window->bytes + from % window->size, to - from);
        if (rc != 0) {
            return rc;
        }
    }

    voc_point(VOC_POINT_MOVED, journal);
    atomic_store(&journal->shared->moved, end);
    return 0;
}
