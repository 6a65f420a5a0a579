/* What an earlier start left behind: adopt, inspect, recover. */

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

    if (header->header_size != VOC_FILE_RING ||
        header->size < VOC_JOURNAL_SIZE_MIN ||
        header->size > VOC_JOURNAL_SIZE_MAX ||
        header->size % VOC_FILE_PAGE != 0 ||
        strspn(header->id, "0123456789abcdef") < VOC_JOURNAL_ID_LEN) {
        return "has impossible values in its header";
    }

    return NULL;
}

static voc_journal_rc
voc_open_map(voc_journal_t *journal, uint64_t size, voc_error_t *error)
{
    void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, journal->fd, 0);

    if (map == MAP_FAILED) {
        voc_journal_error(error, errno, "cannot map journal \"%s\"",
                          journal->path);
        return VOC_JOURNAL_FAILED;
    }

    journal->map = map;
    journal->map_size = size;
    journal->ring = (char *)map + VOC_FILE_RING;
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
    uint64_t size;
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
    if (problem == NULL && st.st_size < VOC_FILE_RING) {
        problem = "is too short";
    }

    if (problem != NULL) {
        voc_journal_error(error, 0, "\"%s\" %s, left alone", journal->path,
                          problem);
        return VOC_JOURNAL_REFUSED;
    }

    voc_journal_set_id(journal, header.id);
    voc_journal_set_size(journal, header.size);

    size = VOC_FILE_RING + header.size;
    if ((uint64_t)st.st_size < size) {
        size = (uint64_t)st.st_size;
        journal->have = (size - VOC_FILE_RING) & ~7ULL;
    }

    return voc_open_map(journal, size, error);
}

/* Takes fd over.  OK with *journal, else nothing is left. */
static voc_journal_rc
voc_open_journal(const char *path, int fd, voc_journal_t **journal,
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

    return voc_open_journal(path, fd, journal, error);
}

/* ---- adopting ----------------------------------------------------------- */

typedef struct {
    char after[VOC_FILE_NAME_LEN + 1];
    char next[VOC_FILE_NAME_LEN + 1]; /* "": none */
} voc_adopt_t;

/* Of fixed length and in lower case: the names' order is the files' age. */
static int
voc_adopt_one(void *ctx, const char *name)
{
    voc_adopt_t *adopt = ctx;

    if (voc_file_generation(name) != 0 && strcmp(name, adopt->after) > 0 &&
        (adopt->next[0] == '\0' || strcmp(name, adopt->next) < 0)) {
        memcpy(adopt->next, name, VOC_FILE_NAME_LEN + 1);
    }

    return 0;
}

/* A file is remembered by its id: an inode may become another file's. */
static uint64_t
voc_refused_key(const char *id)
{
    char digits[VOC_JOURNAL_ID_LEN + 1];

    memcpy(digits, id, VOC_JOURNAL_ID_LEN);
    digits[VOC_JOURNAL_ID_LEN] = '\0';
    return strtoull(digits, NULL, 16);
}

static int
voc_is_refused(const voc_journal_directory_t *directory, uint64_t key)
{
    unsigned i;

    for (i = 0; i < directory->nrefused; i++) {
        if (directory->refused[i] == key) {
            return 1;
        }
    }

    return 0;
}

void
voc_journal_refuse(voc_journal_directory_t *directory, voc_str_t id)
{
    uint64_t key = voc_refused_key(id.data);

    if (!voc_is_refused(directory, key) &&
        directory->nrefused < VOC_JOURNAL_REFUSED_MAX) {
        directory->refused[directory->nrefused++] = key;
    }
}

/* OK; EMPTY: in use or gone; REFUSED; FAILED. */
static voc_journal_rc
voc_adopt_file(int directory, const char *name, const char *path,
               voc_journal_t **journal, voc_error_t *error)
{
    int fd, number;

    fd = openat(directory, name,
                O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd == -1) {
        if (errno == ENOENT) {
            return VOC_JOURNAL_EMPTY;
        }
        voc_journal_error(error, errno, "cannot open journal \"%s\"", path);
        return VOC_JOURNAL_REFUSED;
    }

    if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
        number = errno;
        close(fd);
        if (number == EWOULDBLOCK) {
            return VOC_JOURNAL_EMPTY;
        }
        voc_journal_error(error, number, "cannot lock journal \"%s\"", path);
        return VOC_JOURNAL_REFUSED;
    }

    /* It may have been drained and deleted before we had the lock. */
    if (!voc_file_is(directory, name, fd)) {
        close(fd);
        return VOC_JOURNAL_EMPTY;
    }

    return voc_open_journal(path, fd, journal, error);
}

static voc_journal_rc
voc_adopt_named(voc_journal_directory_t *directory, int fd, const char *name,
                voc_journal_t **journal, voc_error_t *error)
{
    voc_str_t id = {name + VOC_FILE_NAME_ID, VOC_JOURNAL_ID_LEN};
    voc_journal_rc rc;
    char *path;

    if (directory->nrefused == VOC_JOURNAL_REFUSED_MAX ||
        voc_is_refused(directory, voc_refused_key(id.data))) {
        return VOC_JOURNAL_EMPTY;
    }

    if (asprintf(&path, "%s/%s", directory->path, name) == -1) {
        voc_journal_error(error, ENOMEM, "no memory for journal \"%s\"", name);
        return VOC_JOURNAL_FAILED;
    }

    rc = voc_adopt_file(fd, name, path, journal, error);
    if (rc == VOC_JOURNAL_REFUSED) {
        voc_journal_refuse(directory, id);
    }

    free(path);
    return rc;
}

voc_journal_rc
voc_journal_adopt(voc_journal_directory_t *directory, voc_journal_t **journal,
                  voc_error_t *error)
{
    voc_journal_rc rc = VOC_JOURNAL_EMPTY;
    voc_adopt_t adopt;
    int fd, number;

    *journal = NULL;
    memset(&adopt, 0, sizeof(adopt));

    fd = open(directory->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    number = errno;

    if (fd != -1) {
        voc_file_clean(fd);
    }

    while (rc == VOC_JOURNAL_EMPTY) {
        adopt.next[0] = '\0';
        if (fd == -1 || voc_file_each(fd, voc_adopt_one, &adopt) == -1) {
            voc_journal_error(error, fd == -1 ? number : errno,
                              "cannot look for journals in \"%s\"",
                              directory->path);
            rc = VOC_JOURNAL_FAILED;
            break;
        }

        if (adopt.next[0] == '\0') {
            break;
        }

        memcpy(adopt.after, adopt.next, sizeof(adopt.after));
        rc = voc_adopt_named(directory, fd, adopt.next, journal, error);
    }

    if (fd != -1) {
        close(fd);
    }

    return rc;
}

/* ---- recovering --------------------------------------------------------- */

/*
 * A record stands at place.  The highest number is the head; of two with the
 * same number the later one was never published (voc_append_skip()).
 */
static void
voc_recover_found(voc_journal_t *journal, const voc_file_record_t *header)
{
    if (header->seq > journal->found.seq ||
        (header->seq == journal->found.seq &&
         header->offset < journal->found_at)) {
        journal->found.seq = header->seq;
        journal->found.end =
            header->offset + voc_record_size(header->length);
        journal->found_at = header->offset;
    }
}

/* All of the ring as it lies there, whichever lap a record is of. */
static voc_journal_rc
voc_recover_ring(voc_journal_t *journal)
{
    uint64_t spent = 0, place, limit, cost;
    voc_file_record_t header;

    while (journal->scanned < journal->have) {
        if (spent >= VOC_JOURNAL_SLICE) {
            return VOC_JOURNAL_AGAIN;
        }

        limit = journal->scanned + (VOC_JOURNAL_SLICE - spent);
        if (limit > journal->have) {
            limit = journal->have;
        }

        place = voc_record_find(journal, journal->scanned, limit);
        spent += place - journal->scanned;
        journal->scanned = place;
        if (place == limit) {
            continue;
        }

        cost = 8;
        journal->scanned += 8;
        if (voc_record_header(journal, place, &header)) {
            cost = voc_record_size(header.length);
            if (voc_record_load(journal, &header, NULL)) {
                voc_recover_found(journal, &header);
                journal->scanned = place + cost;
            }
        }
        spent += cost;
    }

    return VOC_JOURNAL_OK;
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
    voc_position_t tail;
    voc_journal_rc rc;

    switch (journal->phase) {
    case VOC_RECOVER_RING:
        rc = voc_recover_ring(journal);
        if (rc != VOC_JOURNAL_OK) {
            return rc;
        }

        atomic_store(&shared->end[journal->found.seq & 1],
                     journal->found.end);
        atomic_store(&shared->seq, journal->found.seq);

        journal->scanned = 0;
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
