/* The journal: appending. */

#include <errno.h>

#include "voc_crc32c.h"
#include "voc_guard.h"
#include "voc_journal_file.h"

static const char voc_no_mark[VOC_RECORD_MARK];

static char *
voc_append_at(const voc_journal_t *journal, uint64_t offset)
{
    return journal->window.bytes + offset % journal->window.size;
}

/*
 * A process that died may have left a whole record where the head is,
 * unpublished, with the number that is given out next.  Where the next record
 * goes elsewhere, that one must not be there to be found.
 */
static int
voc_append_clear(voc_journal_t *journal, uint64_t offset)
{
    if (voc_journal_copy(journal, voc_append_at(journal, offset), voc_no_mark,
                         VOC_RECORD_MARK) == -1) {
        return EIO;
    }

    return journal->fd == -1 ? 0
                             : voc_ring_write(journal, offset, voc_no_mark,
                                              VOC_RECORD_MARK);
}

/*
 * Magic and crc go first and come last, by one store each: what a killed
 * process left unfinished does not look like a record that was damaged later.
 */
static void
voc_append_store(voc_journal_t *journal, char *to,
                 const voc_file_record_t *header, const void *payload)
{
    memcpy(to, voc_no_mark, VOC_RECORD_MARK);
    atomic_signal_fence(memory_order_seq_cst);

    if (header->length != 0) {
        memcpy(to + VOC_RECORD_HEADER, payload, header->length);
    }
    voc_point(VOC_POINT_PAYLOAD, journal);

    memcpy(to + VOC_RECORD_MARK, (const char *)header + VOC_RECORD_MARK,
           VOC_RECORD_HEADER - VOC_RECORD_MARK);
    voc_point(VOC_POINT_HEADER, journal);

    atomic_signal_fence(memory_order_seq_cst);
    memcpy(to, header, VOC_RECORD_MARK);
}

static int
voc_append_window(voc_journal_t *journal, const voc_file_record_t *header,
                  const void *payload)
{
    voc_guard_t guard;

    if (voc_guard_enter(&guard) == -1) {
        return EIO;
    }

    voc_append_store(journal, voc_append_at(journal, header->offset), header,
                     payload);
    voc_guard_leave();

    return 0;
}

/* Too large for the window: to the ring at once, in the same order. */
static int
voc_append_ring(voc_journal_t *journal, const voc_file_record_t *header,
                const void *payload)
{
    const char *bytes = (const char *)header;
    uint64_t at = header->offset;
    int rc;

    if ((rc = voc_append_clear(journal, at)) != 0 ||
        (rc = voc_ring_write(journal, at + VOC_RECORD_HEADER, payload,
                             header->length)) != 0) {
        return rc;
    }
    voc_point(VOC_POINT_PAYLOAD, journal);

    rc = voc_ring_write(journal, at + VOC_RECORD_MARK, bytes + VOC_RECORD_MARK,
                        VOC_RECORD_HEADER - VOC_RECORD_MARK);
    if (rc != 0) {
        return rc;
    }
    voc_point(VOC_POINT_HEADER, journal);

    rc = voc_ring_write(journal, at, bytes, VOC_RECORD_MARK);
    if (rc == 0) {
        atomic_store(&journal->shared->moved,
                     at + voc_record_size(header->length));
    }

    return rc;
}

/* At most a quarter of the window is not in the ring yet, or one record. */
static int
voc_append_write(voc_journal_t *journal, voc_position_t head,
                 voc_file_record_t *header, const void *payload)
{
    uint64_t window = journal->window.size;
    uint64_t need = voc_record_size(header->length);
    int rc = 0;

    header->crc = voc_crc32c(voc_record_crc(journal->seed, header), payload,
                             header->length);

    if (header->offset + need - atomic_load(&journal->shared->moved) >
        window / 4) {
        rc = voc_window_move(journal);
    }

    if (rc == 0 && header->offset - head.end >= VOC_RECORD_HEADER) {
        rc = voc_append_clear(journal, head.end);
        voc_point(VOC_POINT_SKIPPED, journal);
    }

    if (rc == 0) {
        rc = need > window / 2 ? voc_append_ring(journal, header, payload)
                               : voc_append_window(journal, header, payload);
    }

    return rc;
}

static voc_journal_rc
voc_append_locked(voc_journal_t *journal, voc_file_record_t *header,
                  const void *payload)
{
    voc_journal_shared_t *shared = journal->shared;
    voc_position_t head = voc_journal_head(journal);
    voc_position_t tail = voc_journal_tail(journal);
    uint64_t need = voc_record_size(header->length);
    int rc;

    header->seq = head.seq + 1;
    header->offset = head.end;
    if (journal->size - head.end % journal->size < need) {
        header->offset = voc_next_lap(journal, head.end);
    }

    if (header->offset + need - tail.end > journal->size) {
        return VOC_JOURNAL_FULL;
    }

    rc = voc_append_write(journal, head, header, payload);
    if (rc != 0) {
        return voc_journal_fail(journal, rc);
    }

    atomic_store_explicit(&shared->end[header->seq & 1],
                          header->offset + need, memory_order_release);
    voc_point(VOC_POINT_END, journal);
    atomic_store_explicit(&shared->seq, header->seq, memory_order_release);
    voc_point(VOC_POINT_PUBLISHED, journal);

    return VOC_JOURNAL_OK;
}

voc_journal_rc
voc_journal_append(voc_journal_t *journal, const void *payload, size_t length,
                   uint64_t now, uint64_t *seq)
{
    voc_file_record_t header;
    voc_journal_rc rc;

    if (length > journal->payload_max) {
        return VOC_JOURNAL_TOO_LARGE;
    }

    if (journal->readonly || atomic_load(&journal->shared->failed) != 0) {
        return VOC_JOURNAL_FAILED;
    }

    memset(&header, 0, sizeof(header));
    header.magic = VOC_RECORD_MAGIC;
    header.accepted = now;
    header.length = (uint32_t)length;
    header.kind = VOC_RECORD_EVENT;

    rc = voc_journal_lock(journal);
    if (rc == VOC_JOURNAL_OK) {
        voc_point(VOC_POINT_LOCKED, journal);
        rc = voc_append_locked(journal, &header, payload);
        voc_journal_unlock(journal);
        voc_point(VOC_POINT_UNLOCKED, journal);
    }

    if (rc == VOC_JOURNAL_OK) {
        *seq = header.seq;
    }

    return rc;
}
