/*
 * The journal's reader.  It walks from record to record; where one does not
 * validate it scans, in steps of 8 bytes, for the next that does.
 */

#include "voc_crc32c.h"
#include "voc_journal_file.h"

uint32_t
voc_record_crc(uint32_t seed, const voc_file_record_t *header)
{
    return voc_crc32c(seed, &header->seq,
                      VOC_RECORD_HEADER - offsetof(voc_file_record_t, seq));
}

int
voc_record_header(const voc_journal_t *journal, const voc_area_t *area,
                  uint64_t place, voc_file_record_t *header)
{
    if (place >= area->have || area->have - place < VOC_RECORD_HEADER ||
        voc_journal_copy(journal, header, area->bytes + place,
                         VOC_RECORD_HEADER) == -1) {
        return 0;
    }

    return header->magic == VOC_RECORD_MAGIC &&
           header->offset % area->size == place && header->seq != 0 &&
           header->seq < VOC_RECORD_SEQ_END &&
           header->kind == VOC_RECORD_EVENT &&
           header->length <= journal->payload_max &&
           voc_record_size(header->length) <= area->have - place;
}

int
voc_record_load(const voc_journal_t *journal, const voc_area_t *area,
                const voc_file_record_t *header, void *buffer)
{
    const char *from =
        area->bytes + header->offset % area->size + VOC_RECORD_HEADER;
    uint32_t crc = voc_record_crc(journal->seed, header);
    size_t left = header->length, size;
    char part[VOC_FILE_PAGE];

    if (buffer != NULL) {
        return (left == 0 ||
                voc_journal_copy(journal, buffer, from, left) == 0) &&
               voc_crc32c(crc, buffer, left) == header->crc;
    }

    for (; left > 0; left -= size, from += size) {
        size = left < sizeof(part) ? left : sizeof(part);
        if (voc_journal_copy(journal, part, from, size) == -1) {
            return 0;
        }
        crc = voc_crc32c(crc, part, size);
    }

    return crc == header->crc;
}

uint64_t
voc_record_find(const voc_journal_t *journal, const voc_area_t *area,
                uint64_t place, uint64_t limit)
{
    uint32_t magic, words[VOC_FILE_PAGE / sizeof(uint32_t)];
    uint64_t size, i;

    magic = VOC_RECORD_MAGIC;

    for (; place < limit && place < area->have; place += size) {
        size = VOC_FILE_PAGE - place % VOC_FILE_PAGE;
        if (size > limit - place) {
            size = limit - place;
        }
        if (size > area->have - place) {
            size = area->have - place;
        }

        /* A page that cannot be read holds no record. */
        if (voc_journal_copy(journal, words, area->bytes + place, size) ==
            -1) {
            continue;
        }

        for (i = 0; i < size / sizeof(uint32_t); i += 2) {
            if (words[i] == magic) {
                return place + i * sizeof(uint32_t);
            }
        }
    }

    return limit;
}

/*
 * In the window, or, where that has it no more, in the ring: it has it before
 * the window loses it.
 */
int
voc_record_at(const voc_journal_t *journal, uint64_t offset, void *buffer,
              size_t size, voc_file_record_t *header, uint64_t *cost)
{
    const voc_area_t *areas[2] = {&journal->window, &journal->ring};
    int i, fits;

    for (i = 0; i < 2; i++) {
        if (voc_record_header(journal, areas[i], offset % areas[i]->size,
                              header) &&
            header->offset == offset) {
            fits = header->length <= size;
            *cost += voc_record_size(header->length);
            if (voc_record_load(journal, areas[i], header,
                                fits ? buffer : NULL)) {
                return 1;
            }
        }
        atomic_thread_fence(memory_order_acquire);
    }

    return 0;
}

/* ---- where to start ----------------------------------------------------- */

void
voc_journal_seek(voc_journal_reader_t *reader, voc_journal_t *journal,
                 uint64_t seq)
{
    voc_position_t tail = voc_journal_tail(journal);
    voc_position_t head = voc_journal_head(journal);

    reader->journal = journal;

    if (seq >= head.seq) {
        reader->next = head.seq + 1;
        reader->offset = head.end;
        reader->scanning = 0;

    } else if (seq >= tail.seq) {
        /* Between the two it is the scan that skips lower numbers. */
        reader->next = seq + 1;
        reader->offset = tail.end;
        reader->scanning = seq > tail.seq;

    } else {
        reader->next = seq + 1;
        reader->offset =
            head.end > journal->size ? head.end - journal->size : 0;
        reader->scanning = 1;
    }
}

/* ---- reading ------------------------------------------------------------ */

/* The record is found; its payload too, or SMALL. */
static voc_journal_rc
voc_read_found(voc_journal_reader_t *reader, const voc_file_record_t *header,
               voc_journal_record_t *record, int copied)
{
    record->seq = header->seq;
    record->lost = header->seq - reader->next;
    record->offset = header->offset;
    record->end = header->offset + voc_record_size(header->length);
    record->accepted = header->accepted;
    record->length = header->length;

    if (!copied) {
        return VOC_JOURNAL_SMALL;
    }

    reader->next = record->seq + 1;
    reader->offset = record->end;
    reader->scanning = 0;
    return VOC_JOURNAL_OK;
}

/* The next record, if it stands exactly at offset: OK, SMALL or EMPTY. */
static voc_journal_rc
voc_read_at(voc_journal_reader_t *reader, uint64_t offset, void *buffer,
            size_t size, voc_journal_record_t *record)
{
    voc_file_record_t header;
    uint64_t cost = 0;

    if (!voc_record_at(reader->journal, offset, buffer, size, &header,
                       &cost) ||
        header.seq != reader->next) {
        return VOC_JOURNAL_EMPTY;
    }

    return voc_read_found(reader, &header, record, header.length <= size);
}

static voc_journal_rc
voc_read_walk(voc_journal_reader_t *reader, voc_position_t head, void *buffer,
              size_t size, voc_journal_record_t *record)
{
    voc_journal_rc rc = VOC_JOURNAL_EMPTY;
    uint64_t lap;

    if (reader->offset < head.end) {
        rc = voc_read_at(reader, reader->offset, buffer, size, record);
    }

    if (rc != VOC_JOURNAL_EMPTY) {
        return rc;
    }

    lap = voc_next_lap(reader->journal, reader->offset);

    return lap < head.end ? voc_read_at(reader, lap, buffer, size, record)
                          : VOC_JOURNAL_EMPTY;
}

/*
 * A magic stands at the reader's offset.  OK or SMALL: it is a record to
 * return; EMPTY: it is not, and the reader has moved on.  *cost: bytes read.
 */
static voc_journal_rc
voc_read_candidate(voc_journal_reader_t *reader, voc_position_t head,
                   void *buffer, size_t size, voc_journal_record_t *record,
                   uint64_t *cost)
{
    voc_file_record_t header;

    *cost = 8;

    if (!voc_record_at(reader->journal, reader->offset, buffer, size, &header,
                       cost)) {
        reader->offset += 8;
        return VOC_JOURNAL_EMPTY;
    }

    if (header.seq >= reader->next && header.seq <= head.seq) {
        return voc_read_found(reader, &header, record, header.length <= size);
    }

    reader->offset += voc_record_size(header.length);
    return VOC_JOURNAL_EMPTY;
}

/*
 * The offset of the next magic from offset on, in the ring or in the window;
 * or where it went on to in vain, at most limit.
 */
static uint64_t
voc_read_find(const voc_journal_t *journal, voc_position_t head,
              uint64_t offset, uint64_t limit)
{
    const voc_area_t *areas[2] = {&journal->window, &journal->ring};
    uint64_t window = head.end > journal->window.size
                          ? head.end - journal->window.size
                          : 0;
    uint64_t moved, place, n, end;
    int look[2], i;

    do {
        moved = atomic_load(&journal->shared->moved);
        look[0] = offset >= window;
        look[1] = offset < moved && !voc_window_is_ring(journal);

        end = !look[0] ? window : look[1] ? moved : limit;
        n = (end < limit ? end : limit) - offset;

        for (i = 0; i < 2; i++) {
            place = offset % areas[i]->size;
            if (look[i] && n > areas[i]->size - place) {
                n = areas[i]->size - place;
            }
        }

        for (i = 0; i < 2; i++) {
            place = offset % areas[i]->size;
            if (look[i]) {
                n = voc_record_find(journal, areas[i], place, place + n) -
                    place;
            }
        }

        /* the window may have been written over since it was chosen */
        atomic_thread_fence(memory_order_acquire);
    } while (offset >= moved &&
             atomic_load(&journal->shared->moved) > offset);

    return offset + n;
}

/* At most a slice: OK, SMALL, AGAIN, or EMPTY at the head. */
static voc_journal_rc
voc_read_scan(voc_journal_reader_t *reader, voc_position_t head, void *buffer,
              size_t size, voc_journal_record_t *record)
{
    voc_journal_t *journal = reader->journal;
    uint64_t spent = 0, cost, limit, found;
    voc_journal_rc rc;

    /* What stood a lap behind the head is overwritten. */
    if (head.end > journal->size &&
        reader->offset < head.end - journal->size) {
        reader->offset = head.end - journal->size;
    }

    while (reader->offset < head.end) {
        if (spent >= VOC_JOURNAL_SLICE) {
            return VOC_JOURNAL_AGAIN;
        }

        limit = reader->offset + (VOC_JOURNAL_SLICE - spent);
        if (limit > head.end) {
            limit = head.end;
        }

        found = voc_read_find(journal, head, reader->offset, limit);
        spent += found - reader->offset;
        reader->offset = found;

        if (found < limit) {
            rc = voc_read_candidate(reader, head, buffer, size, record, &cost);
            if (rc != VOC_JOURNAL_EMPTY) {
                return rc;
            }
            spent += cost;
        }
    }

    return VOC_JOURNAL_EMPTY;
}

voc_journal_rc
voc_journal_read(voc_journal_reader_t *reader, void *buffer, size_t size,
                 voc_journal_record_t *record)
{
    voc_position_t head = voc_journal_head(reader->journal);
    voc_journal_rc rc;

    memset(record, 0, sizeof(*record));

    if (reader->next > head.seq) {
        return VOC_JOURNAL_EMPTY;
    }

    if (!reader->scanning) {
        rc = voc_read_walk(reader, head, buffer, size, record);
        if (rc != VOC_JOURNAL_EMPTY) {
            return rc;
        }
        reader->scanning = 1;
    }

    rc = voc_read_scan(reader, head, buffer, size, record);
    if (rc != VOC_JOURNAL_EMPTY) {
        return rc;
    }

    /* The last ones are damaged: reported once, with where they end. */
    record->seq = head.seq;
    record->lost = head.seq + 1 - reader->next;
    record->offset = record->end = head.end;

    reader->next = head.seq + 1;
    reader->offset = head.end;
    reader->scanning = 0;
    return VOC_JOURNAL_EMPTY;
}

/* ---- waking the reader: each says first, then looks -------------------- */

int
voc_journal_must_wake(voc_journal_t *journal)
{
    voc_journal_shared_t *shared = journal->shared;
    uint64_t at;

    atomic_thread_fence(memory_order_seq_cst);

    at = atomic_load(&shared->wake_at);
    return at != 0 && atomic_load(&shared->seq) >= at &&
           atomic_compare_exchange_strong(&shared->wake_at, &at, 0);
}

int
voc_journal_sleep(voc_journal_t *journal, uint64_t seq)
{
    voc_journal_shared_t *shared = journal->shared;

    atomic_store(&shared->wake_at, seq + 1);
    atomic_thread_fence(memory_order_seq_cst);

    if (atomic_load(&shared->seq) > seq) {
        atomic_store(&shared->wake_at, 0);
        return 0;
    }

    return 1;
}

void
voc_journal_awake(voc_journal_t *journal)
{
    atomic_store(&journal->shared->wake_at, 0);
}
