/* The journal: appending. */

#include <errno.h>

#include "voc_crc32c.h"
#include "voc_guard.h"
#include "voc_journal_file.h"

static const char voc_no_mark[VOC_RECORD_MARK];

/*
 * Where the next record goes.  A process that died may have left a whole
 * record at head, unpublished, with the number that is given out next: where
 * head is skipped, that record must not be there to be found.
 */
static int
voc_append_skip(voc_journal_t *journal, uint64_t place)
{
    if (journal->size - place < VOC_RECORD_HEADER) {
        return 0;
    }

    if (voc_journal_copy(journal, journal->ring + place, voc_no_mark,
                         VOC_RECORD_MARK) == -1) {
        return -1;
    }

    voc_point(VOC_POINT_SKIPPED, journal);
    return 0;
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
voc_append_write(voc_journal_t *journal, uint64_t place,
                 voc_file_record_t *header, const void *payload)
{
    voc_guard_t guard;

    header->crc = voc_crc32c(voc_record_crc(journal->seed, header), payload,
                             header->length);

    if (voc_guard_enter(&guard) == -1) {
        return -1;
    }

    voc_append_store(journal, journal->ring + place, header, payload);
    voc_guard_leave();

    return 0;
}

/*
 * The ring is larger than the CPU's cache, so its lines have to come from
 * memory; those of the next record can come while there is none.
 */
static void
voc_append_prefetch(const voc_journal_t *journal, uint64_t place)
{
    uint64_t i;

    if (journal->size - place >= VOC_RECORD_MOST) {
        for (i = 0; i < VOC_RECORD_MOST; i += 64) {
            __builtin_prefetch(journal->ring + place + i, 1);
        }
    }
}

static voc_journal_rc
voc_append_locked(voc_journal_t *journal, voc_file_record_t *header,
                  const void *payload)
{
    voc_journal_shared_t *shared = journal->shared;
    voc_position_t head = voc_journal_head(journal);
    voc_position_t tail = voc_journal_tail(journal);
    uint64_t need = voc_record_size(header->length);
    uint64_t place = head.end % journal->size, skipped = 0;

    if (journal->size - place < need) {
        skipped = journal->size - place;
    }

    header->seq = head.seq + 1;
    header->offset = head.end + skipped;

    if (header->offset + need - tail.end > journal->size) {
        return VOC_JOURNAL_FULL;
    }

    if (skipped != 0) {
        if (voc_append_skip(journal, place) == -1) {
            return voc_journal_fail(journal, EIO);
        }
        place = 0;
    }

    if (voc_append_write(journal, place, header, payload) == -1) {
        return voc_journal_fail(journal, EIO);
    }

    atomic_store_explicit(&shared->end[header->seq & 1],
                          header->offset + need, memory_order_release);
    voc_point(VOC_POINT_END, journal);
    atomic_store_explicit(&shared->seq, header->seq, memory_order_release);
    voc_point(VOC_POINT_PUBLISHED, journal);

    voc_append_prefetch(journal, place + need);
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
        voc_journal_map(journal, header.offset + voc_record_size(length));
    }

    return rc;
}
