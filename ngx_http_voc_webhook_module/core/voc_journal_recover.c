/* What an earlier start left behind: opened, inspected, recovered. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "voc_crc32c.h"
#include "voc_journal_file.h"

/* ---- opening ------------------------------------------------------------ */

/* What is wrong with a header, NULL: nothing. */
static const char *
voc_header_problem(const voc_file_header_t *header)
{
    if (memcmp(header->magic, VOC_FILE_MAGIC, sizeof(header->magic)) != 0) {
        return "is not a journal";
    }

    if (header->byte_order != VOC_FILE_BYTE_ORDER) {
        return "was written on a machine of another byte order";
    }

    if (header->version != VOC_FILE_VERSION) {
        return "is of an unknown version";
    }

    if (header->crc !=
        voc_crc32c(0, header, offsetof(voc_file_header_t, crc))) {
        return "has a damaged header";
    }

    if (header->header_size < VOC_FILE_WINDOW ||
        header->header_size % VOC_FILE_PAGE != 0 ||
        header->header_size - VOC_FILE_WINDOW > header->size ||
        header->size < VOC_JOURNAL_SIZE_MIN ||
        header->size > VOC_JOURNAL_SIZE_MAX ||
        header->size % VOC_FILE_PAGE != 0 ||
        strspn(header->id, "0123456789abcdef") < VOC_JOURNAL_ID_LEN) {
        return "has impossible values in its header";
    }

    return NULL;
}

/* Zeros where the file has no more. */
static void *
voc_open_map_file(int fd, uint64_t size, uint64_t have)
{
    void *map = mmap(NULL, size, PROT_READ,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (map != MAP_FAILED && mmap(map, have < size ? have : size, PROT_READ,
                                  MAP_PRIVATE | MAP_FIXED, fd, 0) ==
                                 MAP_FAILED) {
        munmap(map, size);
        return MAP_FAILED;
    }

    return map;
}

static voc_journal_rc
voc_open_map(voc_journal_t *journal, uint64_t have, voc_error_t *error)
{
    uint64_t size = journal->ring_at + journal->size;
    uint64_t window = journal->ring_at - VOC_FILE_WINDOW;
    void *map = voc_open_map_file(journal->fd, size, have);

    if (map != MAP_FAILED) {
        journal->map = map;
        journal->map_size = size;
        journal->ring.bytes = (char *)map + journal->ring_at;
        if (have < size) {
            journal->ring.have = have < journal->ring_at
                                     ? 0
                                     : (have - journal->ring_at) & ~7ULL;
        }
        journal->window = journal->ring;
    }

    if (map == MAP_FAILED ||
        (window != 0 && voc_window_map(journal, journal->fd, window,
                                       PROT_READ) == -1)) {
        voc_journal_error(error, errno, "cannot map journal \"%s\"",
                          journal->path);
        return VOC_JOURNAL_FAILED;
    }

    return VOC_JOURNAL_OK;
}

/*
 * Reads the header and maps what there is.  Of a file that was cut short the
 * rest is still worth reading.
 */
static voc_journal_rc
voc_open_file(voc_journal_t *journal, voc_error_t *error)
{
    voc_file_header_t header;
    const char *problem;
    struct stat st;
    ssize_t n;

    if (fstat(journal->fd, &st) == -1) {
        voc_journal_error(error, errno, "cannot look at journal \"%s\"",
                          journal->path);
        return VOC_JOURNAL_FAILED;
    }

    n = S_ISREG(st.st_mode) ? pread(journal->fd, &header, sizeof(header), 0)
                            : 0;
    if (n == -1) {
        voc_journal_error(error, errno, "cannot read journal \"%s\"",
                          journal->path);
        return VOC_JOURNAL_REFUSED;
    }

    problem = !S_ISREG(st.st_mode)          ? "is not a regular file"
              : n < (ssize_t)sizeof(header) ? "is too short"
                                            : voc_header_problem(&header);
    if (problem == NULL && st.st_size < VOC_FILE_WINDOW) {
        problem = "is too short";
    }

    if (problem != NULL) {
        voc_journal_error(error, 0, "\"%s\" %s, left alone", journal->path,
                          problem);
        return VOC_JOURNAL_REFUSED;
    }

    voc_journal_set_id(journal, header.id);
    voc_journal_set_size(journal, header.size);

    journal->ring_at = header.header_size;

    return voc_open_map(journal, (uint64_t)st.st_size, error);
}

voc_journal_rc
voc_journal_open(const char *path, int fd, voc_journal_t **journal,
                 voc_error_t *error)
{
    voc_journal_rc rc;

    *journal = voc_journal_new(path, error);
    if (*journal == NULL) {
        close(fd);
        return VOC_JOURNAL_FAILED;
    }

    (*journal)->fd = fd;
    (*journal)->readonly = 1;
    (*journal)->phase = VOC_RECOVER_RING;

    rc = voc_open_file(*journal, error);
    if (rc != VOC_JOURNAL_OK) {
        voc_journal_close(*journal);
        *journal = NULL;
    }

    return rc;
}

voc_journal_rc
voc_journal_inspect(const char *path, voc_journal_t **journal,
                    voc_error_t *error)
{
    int fd;

    *journal = NULL;

    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd == -1) {
        voc_journal_error(error, errno, "cannot open journal \"%s\"", path);
        return VOC_JOURNAL_FAILED;
    }

    return voc_journal_open(path, fd, journal, error);
}

/* ---- recovering --------------------------------------------------------- */

/*
 * The highest number is the head.  Of two with the same number the later one
 * was never published (voc_append_clear()); of two at the same offset that of
 * the ring, which is looked at first.
 */
static voc_journal_rc
voc_recover_found(voc_journal_t *journal, const voc_file_record_t *header)
{
    if (header->seq > journal->found.seq ||
        (header->seq == journal->found.seq &&
         header->offset <= journal->found_at)) {
        journal->found.seq = header->seq;
        journal->found.end =
            header->offset + voc_record_size(header->length);
        journal->found_at = header->offset;
    }

    return VOC_JOURNAL_OK;
}

/*
 * What the window has goes to its place in the ring, as this process sees
 * it: the file stays as it is.  Where the ring may be of a later lap it is
 * newer.
 */
static voc_journal_rc
voc_recover_moved(voc_journal_t *journal, const voc_file_record_t *header)
{
    const voc_area_t *window = &journal->window;
    voc_area_t *ring = &journal->ring;
    uint64_t need = voc_record_size(header->length);
    uint64_t place = header->offset % ring->size;
    uint64_t page = place - place % VOC_FILE_PAGE;

    if (header->offset + ring->size < journal->found.end ||
        header->offset + need > journal->found.end ||
        need > ring->size - place) {
        return VOC_JOURNAL_OK;
    }

    if (mprotect(ring->bytes + page, place + need - page,
                 PROT_READ | PROT_WRITE) == -1) {
        return VOC_JOURNAL_FAILED;
    }

    (void)voc_journal_copy(journal, ring->bytes + place,
                           window->bytes + header->offset % window->size,
                           need);

    /* The file may have been cut in front of it. */
    if (ring->have < place + need) {
        ring->have = place + need;
    }

    return VOC_JOURNAL_OK;
}

/* Each record of an area as it lies there, whichever lap it is of. */
static voc_journal_rc
voc_recover_area(voc_journal_t *journal, const voc_area_t *area, uint64_t end,
                 voc_journal_rc (*each)(voc_journal_t *journal,
                                        const voc_file_record_t *header))
{
    uint64_t spent = 0, place, limit, cost;
    voc_file_record_t header;

    while (journal->scanned < end) {
        if (spent >= VOC_JOURNAL_SLICE) {
            return VOC_JOURNAL_AGAIN;
        }

        limit = journal->scanned + (VOC_JOURNAL_SLICE - spent);
        if (limit > end) {
            limit = end;
        }

        place = voc_record_find(journal, area, journal->scanned, limit);
        spent += place - journal->scanned;
        journal->scanned = place;
        if (place == limit) {
            continue;
        }

        cost = 8;
        journal->scanned += 8;
        if (voc_record_header(journal, area, place, &header)) {
            cost = voc_record_size(header.length);
            if (voc_record_load(journal, area, &header, NULL)) {
                if (each(journal, &header) != VOC_JOURNAL_OK) {
                    return VOC_JOURNAL_FAILED;
                }
                journal->scanned = place + cost;
            }
        }
        spent += cost;
    }

    journal->scanned = 0;
    return VOC_JOURNAL_OK;
}

/*
 * The next record stands there, and is damaged: its magic is right, and its
 * number or offset, but it does not validate; or it would, were it not for
 * the magic.  What an earlier lap left has another number and offset, what
 * was never finished neither magic nor crc.
 */
static int
voc_recover_damaged(const voc_journal_t *journal, const voc_area_t *area,
                    uint64_t offset, voc_file_record_t *header)
{
    uint64_t place = offset % area->size;
    int valid, known;

    if (offset + VOC_RECORD_HEADER - journal->found_at > area->size ||
        place >= area->have || area->have - place < VOC_RECORD_HEADER ||
        voc_journal_copy(journal, header, area->bytes + place,
                         VOC_RECORD_HEADER) == -1) {
        return 0;
    }

    known = (header->seq == journal->found.seq + 1) +
            (header->offset == offset);
    valid = header->offset == offset &&
            header->length <= journal->payload_max &&
            voc_record_size(header->length) <= area->have - place &&
            voc_record_load(journal, area, header, NULL);

    return header->magic == VOC_RECORD_MAGIC ? known > 0 && !valid
                                             : known == 2 && valid;
}

/* Such a one at the offset, or at the start of the next lap: its offset. */
static int
voc_recover_next(const voc_journal_t *journal, uint64_t *offset,
                 voc_file_record_t *header)
{
    const voc_area_t *window = &journal->window, *ring = &journal->ring;
    uint64_t lap = voc_next_lap(journal, *offset);

    if (voc_recover_damaged(journal, window, *offset, header) ||
        voc_recover_damaged(journal, ring, *offset, header)) {
        return 1;
    }

    *offset = lap;
    return voc_recover_damaged(journal, window, lap, header) ||
           voc_recover_damaged(journal, ring, lap, header);
}

/*
 * Damaged records behind the last that validates, as far as they can be told
 * from what was never written.  They are lost, and reading counts what is
 * lost up to the head: so they belong before it.
 */
static voc_journal_rc
voc_recover_end(voc_journal_t *journal)
{
    voc_position_t *found = &journal->found;
    voc_file_record_t header;
    uint64_t offset, room, size, spent;

    for (spent = 0; spent < VOC_JOURNAL_SLICE; spent += size) {
        offset = found->end;
        if (!voc_recover_next(journal, &offset, &header)) {
            return VOC_JOURNAL_OK;
        }

        /* a length that cannot be leads nowhere */
        room = journal->size - offset % journal->size;
        size = voc_record_size(header.length);
        if (header.length > journal->payload_max || size > room) {
            size = VOC_RECORD_HEADER;
        }

        found->seq++;
        found->end = offset + size;
    }

    return VOC_JOURNAL_AGAIN;
}

/* The newer of the tail's slots that validate; 0: there is none. */
static int
voc_recover_slot(const voc_journal_t *journal, voc_file_slot_t *newest)
{
    voc_file_slot_t slot;
    const char *from;
    int i, have = 0;

    memset(newest, 0, sizeof(*newest));

    for (i = 0; i < 2; i++) {
        from = (char *)journal->map + VOC_FILE_SLOTS + i * VOC_FILE_SLOT_STEP;
        if (voc_journal_copy(journal, &slot, from, sizeof(slot)) == 0 &&
            slot.crc == voc_slot_crc(journal->seed, &slot) &&
            (!have || slot.turn > newest->turn)) {
            *newest = slot;
            have = 1;
        }
    }

    return have;
}

/*
 * A slot is of use where what it says can be: power may have failed between
 * the writes of the tail and those of the ring.
 */
static int
voc_recover_tail(const voc_journal_t *journal, voc_position_t *tail)
{
    const voc_position_t *head = &journal->found;
    voc_file_slot_t slot;

    if (!voc_recover_slot(journal, &slot) || slot.seq > head->seq ||
        slot.offset > head->end || head->end - slot.offset > journal->size ||
        slot.offset % 8 != 0 ||
        (slot.seq == head->seq && slot.offset != head->end)) {
        return 0;
    }

    tail->seq = slot.seq;
    tail->end = slot.offset;
    return 1;
}

/* No slot: everything that is held is taken for pending. */
static voc_journal_rc
voc_recover_oldest(voc_journal_t *journal, voc_position_t *tail)
{
    voc_journal_record_t record;
    voc_journal_reader_t reader;
    voc_journal_rc rc;

    /* A reader without a buffer: it finds the record, and stays. */
    memset(&reader, 0, sizeof(reader));
    reader.journal = journal;
    reader.next = 1;
    reader.offset = journal->scanned;
    reader.scanning = 1;

    rc = voc_journal_read(&reader, NULL, 0, &record);
    journal->scanned = reader.offset;

    if (rc == VOC_JOURNAL_AGAIN) {
        return rc;
    }

    if (rc == VOC_JOURNAL_EMPTY) {
        *tail = journal->found;
    } else {
        tail->seq = record.seq - 1;
        tail->end = record.offset;
    }

    return VOC_JOURNAL_OK;
}

voc_journal_rc
voc_journal_recover(voc_journal_t *journal)
{
    voc_journal_shared_t *shared = journal->shared;
    uint64_t window = voc_window_is_ring(journal) ? 0 : journal->window.size;
    voc_position_t tail;
    voc_journal_rc rc;

    switch (journal->phase) {
    case VOC_RECOVER_RING:
        rc = voc_recover_area(journal, &journal->ring, journal->ring.have,
                              voc_recover_found);
        if (rc != VOC_JOURNAL_OK) {
            return rc;
        }
        journal->phase = VOC_RECOVER_WINDOW;
        /* fall through */

    case VOC_RECOVER_WINDOW:
        rc = voc_recover_area(journal, &journal->window, window,
                              voc_recover_found);
        if (rc != VOC_JOURNAL_OK) {
            return rc;
        }
        journal->phase = VOC_RECOVER_MOVED;
        /* fall through */

    case VOC_RECOVER_MOVED:
        rc = voc_recover_area(journal, &journal->window, window,
                              voc_recover_moved);
        if (rc != VOC_JOURNAL_OK) {
            return rc;
        }
        journal->phase = VOC_RECOVER_END;
        /* fall through */

    case VOC_RECOVER_END:
        rc = voc_recover_end(journal);
        if (rc != VOC_JOURNAL_OK) {
            return rc;
        }

        atomic_store(&shared->end[journal->found.seq & 1],
                     journal->found.end);
        atomic_store(&shared->seq, journal->found.seq);

        voc_window_unmap(journal);
        journal->phase = VOC_RECOVER_TAIL;
        if (voc_recover_tail(journal, &tail)) {
            break;
        }
        voc_journal_set_tail(journal, journal->found);
        return VOC_JOURNAL_AGAIN;

    case VOC_RECOVER_TAIL:
        rc = voc_recover_oldest(journal, &tail);
        if (rc != VOC_JOURNAL_OK) {
            return rc;
        }
        break;

    default:
        return VOC_JOURNAL_OK;
    }

    voc_journal_set_tail(journal, tail);
    journal->phase = VOC_RECOVER_DONE;
    return VOC_JOURNAL_OK;
}
