/*
 * A journal that an earlier start left behind, damaged: the input is a script
 * of changes to a good file (the first byte says which), and of reading.
 *
 *   0x00 to 0x7f  a change: bits flipped, bytes zeroed, moved or written,
 *                 records, tails and headers forged, the file cut short
 *   0x80 to 0xff  reading: seek, read, acknowledge, retain; the first one
 *                 opens the file, changes behind it come while it is read
 */

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal_image.h"

#define OPS_MAX   256
#define FILE_MAX  (IMAGE_SIZE + VOC_FILE_PAGE)
#define RING_MAX  (256ULL << 20) /* bytes that a forged header may claim */
#define STEPS_MAX (RING_MAX / VOC_JOURNAL_SLICE + IMAGE_RECORDS + 4)

static char directory[256], path[512];
static int file = -1;

static const image_t *original;
static uint8_t bytes[FILE_MAX]; /* what has to be in the file, */
static uint8_t opened[FILE_MAX]; /* and what was when it was opened */
static size_t size;
static uint64_t ring_size; /* that the header tells */
static int forged;         /* a record may validate that was never written */
static int moving;         /* changed while it is read */

static voc_journal_t *journal;
static voc_journal_reader_t reader;
static voc_journal_record_t last;
static int have_last;
static uint64_t next; /* the number that the reader stands at */

/* ---- changes ---------------------------------------------------------- */

static void
change(size_t offset, const void *data, size_t len)
{
    if (offset >= size) {
        return;
    }
    if (len > size - offset) {
        len = size - offset;
    }
    memmove(bytes + offset, data, len);
    must(pwrite(file, bytes + offset, len, (off_t)offset) == (ssize_t)len);
    moving |= journal != NULL;
}

static size_t
take_place(fuzz_input_t *in)
{
    return fuzz_take(in, 3) % FILE_MAX;
}

static void
change_flip(fuzz_input_t *in)
{
    size_t offset = take_place(in);
    uint8_t byte = bytes[offset] ^ (uint8_t)(1U << fuzz_take(in, 1) % 8);

    change(offset, &byte, 1);
}

static void
change_zero(fuzz_input_t *in)
{
    static const uint8_t zeros[65536];
    size_t offset = take_place(in);

    change(offset, zeros, fuzz_take(in, 2));
}

static void
change_move(fuzz_input_t *in)
{
    size_t from = take_place(in), to = take_place(in);
    size_t len = fuzz_take(in, 2);

    if (len > FILE_MAX - from) {
        len = FILE_MAX - from;
    }
    change(to, bytes + from, len);
}

static void
change_write(fuzz_input_t *in)
{
    size_t offset = take_place(in), len;
    const uint8_t *data;

    len = fuzz_bytes(in, fuzz_take(in, 1), &data);
    forged = 1;
    change(offset, data, len);
}

/* A record that validates: fields as they stand there, or other ones. */
static void
change_record(fuzz_input_t *in)
{
    voc_file_record_t record;
    uint8_t *ring = bytes + IMAGE_RING_AT;
    uint64_t place = fuzz_take(in, 2) % (IMAGE_RING / 8) * 8;
    unsigned fields = (unsigned)fuzz_take(in, 1);

    if (IMAGE_RING - place < 40 || size < IMAGE_RING_AT + place + 40) {
        return;
    }

    memcpy(&record, ring + place, 40);
    record.offset = place;
    if (fields & 1) {
        record.seq = fuzz_take(in, fields & 2 ? 8 : 2);
    }
    if (fields & 4) {
        record.offset += fuzz_take(in, fields & 8 ? 8 : 1) * ring_size;
    }
    if (fields & 16) {
        record.length = (uint32_t)fuzz_take(in, 2);
    }
    record.kind = fields & 32 ? (uint32_t)fuzz_take(in, 1) : 0;

    forged = 1;
    if (record.offset % IMAGE_RING == place &&
        image_sign(ring, IMAGE_RING, &record)) {
        change(IMAGE_RING_AT + place, ring + place, 40);
    }
}

static void
change_slot(fuzz_input_t *in)
{
    unsigned wide = (unsigned)fuzz_take(in, 1) % 2 ? 8 : 3;
    uint64_t turn = fuzz_take(in, wide), seq = fuzz_take(in, wide);
    uint64_t offset = fuzz_take(in, wide);

    image_slot(bytes, turn, seq, offset);
    forged = 1;
    change(VOC_FILE_SLOTS, bytes + VOC_FILE_SLOTS, VOC_FILE_PAGE);
}

static void
change_header(fuzz_input_t *in)
{
    voc_file_header_t header;
    unsigned what = (unsigned)fuzz_take(in, 1);

    memcpy(&header, bytes, sizeof(header));
    if (what & 1) {
        header.size = fuzz_take(in, 2) * (what & 16 ? 1 : VOC_FILE_PAGE);
    }
    if (what & 2) {
        header.version = (uint32_t)fuzz_take(in, 1);
    }
    if (what & 4) {
        header.byte_order = (uint32_t)fuzz_take(in, 4);
    }
    if (what & 8) {
        header.header_size = (uint32_t)fuzz_take(in, 2);
    }
    if (what & 32) {
        header.size = fuzz_take(in, 8);
        if (header.size > RING_MAX && header.size <= VOC_JOURNAL_SIZE_MAX) {
            header.size = RING_MAX;
        }
    }

    image_header(bytes, &header);
    forged = 1;
    if (journal == NULL && header.size >= VOC_JOURNAL_SIZE_MIN) {
        ring_size = header.size;
    }
    change(0, bytes, sizeof(header));
}

static void
change_size(fuzz_input_t *in)
{
    size_t now = fuzz_take(in, 3) % (FILE_MAX + 1);

    size = now < size ? now : size;
    memset(bytes + size, 0, FILE_MAX - size);
    size = now;
    must(ftruncate(file, (off_t)size) == 0);
    moving |= journal != NULL;
}

static void
change_op(unsigned op, fuzz_input_t *in)
{
    static void (*const changes[])(fuzz_input_t * in) = {
        change_flip,   change_zero, change_move,   change_write,
        change_record, change_slot, change_header, change_size};

    changes[op % 8](in);
}

/* ---- what has to hold ------------------------------------------------- */

/*
 * Bytes of ring in the file; and those that may hold records, where the
 * window has some behind them, or zeros complete one.
 */
UNSEEN static uint64_t
ring_have(void)
{
    uint64_t have = size > IMAGE_RING_AT ? (size - IMAGE_RING_AT) & ~7ULL : 0;

    return have < ring_size ? have : ring_size;
}

UNSEEN static uint64_t
ring_most(void)
{
    uint64_t most = FILE_MAX - IMAGE_RING_AT;

    return most < ring_size ? most : ring_size;
}

/* Nothing was written to the file. */
UNSEEN static void
check_file(void)
{
    static uint8_t now[FILE_MAX + 1];

    must(pread(file, now, sizeof(now), 0) == (ssize_t)size);
    must(memcmp(now, bytes, size) == 0);
}

UNSEEN static voc_journal_status_t
check_status(void)
{
    voc_journal_status_t status;

    voc_journal_status(journal, &status);
    must(status.tail <= status.head);
    must(status.pending == status.head - status.tail);
    must(status.bytes <= ring_size);
    return status;
}

/* What stands in the window at this offset. */
UNSEEN static void
window_bytes(const uint8_t *from, uint64_t offset, uint8_t *to, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        to[i] = from[VOC_FILE_WINDOW + (offset + i) % IMAGE_WINDOW];
    }
}

/* The record stands there, whole, and its checksum is right. */
UNSEEN static int
stands(const uint8_t *from, int window, const voc_journal_record_t *record,
       const char *payload)
{
    static uint8_t copy[IMAGE_WINDOW];
    const uint8_t *ring = from + IMAGE_RING_AT;
    uint64_t place = record->offset % ring_size;
    voc_file_record_t header;

    if (window) {
        if (record->length + 40ULL > sizeof(copy)) {
            return 0;
        }
        window_bytes(from, record->offset, copy, 40 + record->length);
        memcpy(&header, copy, 40);
        ring = copy;
        place = 0;
        if (header.magic != VOC_RECORD_MAGIC || header.kind != 0 ||
            header.length != record->length ||
            header.crc != voc_crc32c(image_seeded(&header.seq, 32), copy + 40,
                                     header.length)) {
            return 0;
        }
    } else if (!image_valid(ring, ring_most(), ring_size, place, &header)) {
        return 0;
    }

    return header.seq == record->seq && header.offset == record->offset &&
           header.length == record->length &&
           header.accepted == record->accepted &&
           (record->length == 0 ||
            memcmp(payload, ring + place + 40, record->length) == 0);
}

UNSEEN static void
check_record(const voc_journal_record_t *record, const char *payload)
{
    must(moving || size > VOC_FILE_WINDOW);
    must(record->end == record->offset + (record->length + 47ULL) / 8 * 8);
    must(stands(bytes, 0, record, payload) ||
         stands(opened, 0, record, payload) ||
         stands(opened, 1, record, payload));
}

/*
 * Nothing but what was written is in the file where nothing was forged.  Its
 * first len bytes are as they were, in the ring or in the window.
 */
UNSEEN static int
as_written(const voc_file_record_t *record, size_t len)
{
    static uint8_t was[IMAGE_RING], is[IMAGE_RING];
    uint64_t place = record->offset % IMAGE_RING;

    if (record->offset < original->moved) {
        memcpy(was, original->bytes + IMAGE_RING_AT + place, len);
    } else {
        window_bytes(original->bytes, record->offset, was, len);
    }

    if (place + (len + 7) / 8 * 8 <= ring_have() &&
        memcmp(was, bytes + IMAGE_RING_AT + place, len) == 0) {
        return 1;
    }

    window_bytes(bytes, record->offset, is, len);
    return len <= IMAGE_WINDOW && memcmp(was, is, len) == 0;
}

UNSEEN static int
check_original(const voc_file_record_t *record)
{
    return as_written(record, 40 + record->length);
}

UNSEEN static int
check_header(const voc_file_record_t *record)
{
    return as_written(record, 40);
}

/* ---- reading ---------------------------------------------------------- */

static voc_journal_rc
read_on(void *buffer, size_t room)
{
    voc_journal_record_t record;
    uint64_t steps = 0;
    voc_journal_rc rc;

    do {
        rc = voc_journal_read(&reader, buffer, room, &record);
        must(++steps < STEPS_MAX);
    } while (rc == VOC_JOURNAL_AGAIN);

    must(rc == VOC_JOURNAL_OK || rc == VOC_JOURNAL_EMPTY ||
         rc == VOC_JOURNAL_SMALL);

    if (rc == VOC_JOURNAL_SMALL) {
        must(record.length > room);
        must(reader.next == next);
        last.length = record.length;
        return rc;
    }

    if (rc == VOC_JOURNAL_OK) {
        must(record.length <= room);
        check_record(&record, buffer);
    }

    if (rc == VOC_JOURNAL_OK || record.lost > 0) {
        must(record.seq >= next);
        must(record.lost ==
             record.seq - next + (rc == VOC_JOURNAL_EMPTY ? 1 : 0));
        next = record.seq + 1;
        last = record;
        have_last = rc == VOC_JOURNAL_OK ? 1 : 2;
    }

    return rc;
}

/* From behind seq to the end; every record that is there, in order. */
UNSEEN static void
read_all(uint64_t seq)
{
    static char buffer[VOC_JOURNAL_PAYLOAD_MAX];
    voc_journal_status_t status = check_status();
    uint64_t head_end, from;
    unsigned i = 0, steps = 0;
    int exact = !forged && !moving;

    voc_journal_seek(&reader, journal, seq);
    must(reader.next == (seq < status.head ? seq : status.head) + 1);
    next = reader.next;
    have_last = 0;

    head_end = voc_journal_head(journal).end;
    from = seq >= status.tail      ? head_end - status.bytes
           : head_end > IMAGE_RING ? head_end - IMAGE_RING
                                   : 0;

    while (read_on(buffer, sizeof(buffer)) == VOC_JOURNAL_OK) {
        must(++steps <= IMAGE_RECORDS + OPS_MAX || moving);
        must(steps < 4 * IMAGE_RECORDS);
        while (exact && i < original->n &&
               (original->records[i].seq <= seq ||
                original->records[i].offset < from ||
                !check_original(&original->records[i]))) {
            i++;
        }
        must(!exact ||
             (i < original->n && original->records[i].seq == last.seq));
        i++;
    }

    for (; exact && i < original->n; i++) {
        must(original->records[i].seq <= seq ||
             original->records[i].offset < from ||
             !check_original(&original->records[i]));
    }

    must(next == status.head + 1 || seq >= status.head);
    must(read_on(buffer, sizeof(buffer)) == VOC_JOURNAL_EMPTY);
}

/* The reader's buffer ends where it ends. */
static void
read_exact(size_t room)
{
    char *buffer = fuzz_alloc(room);

    read_on(buffer, room);
    free(buffer);
}

static void
read_op(unsigned op, fuzz_input_t *in)
{
    voc_journal_status_t status;
    uint64_t seq;

    switch (op % 8) {
    case 0:
    case 1:
        status = check_status();
        seq = fuzz_take(in, 2);
        if (op & 8) {
            seq = status.tail + seq % (status.pending + 2);
        }
        voc_journal_seek(&reader, journal, seq);
        next = reader.next;
        have_last = 0;
        break;

    case 2:
        read_all(fuzz_take(in, op & 8 ? 8 : 2));
        break;

    case 3:
        read_exact(fuzz_take(in, 2));
        break;

    case 4:
        if (read_on(NULL, 0) == VOC_JOURNAL_SMALL) {
            read_exact(last.length);
        }
        break;

    case 5:
        if (have_last) {
            must(voc_journal_acknowledge(journal, last.seq, last.end) ==
                 VOC_JOURNAL_OK);
            must(check_status().tail >= last.seq || forged);
        }
        break;

    case 6:
        if (have_last == 1 &&
            voc_journal_retain(journal, &last) == VOC_JOURNAL_OK) {
            must(check_status().tail < last.seq);
        }
        break;

    default:
        must(voc_journal_append(journal, "x", 1, 0, &seq) ==
             VOC_JOURNAL_FAILED);
        break;
    }
}

/* ---- opening ---------------------------------------------------------- */

static voc_journal_rc
open_adopted(voc_error_t *error)
{
    voc_journal_directory_t d = {.path = directory};
    voc_journal_t *again;
    voc_journal_rc rc = voc_journal_adopt(&d, &journal, error);

    /* it is ours, or not to be had: in no case a second time */
    must(rc == VOC_JOURNAL_OK || rc == VOC_JOURNAL_REFUSED);
    must(voc_journal_adopt(&d, &again, error) == VOC_JOURNAL_EMPTY);
    must(d.nrefused == (rc == VOC_JOURNAL_REFUSED));
    return rc;
}

/* 0 where it is none of ours to read. */
static int
open_journal(int adopt)
{
    voc_error_t error = {0};
    uint64_t steps = 0;
    voc_journal_rc rc;
    int good = size >= VOC_FILE_WINDOW &&
               memcmp(bytes, original->bytes, sizeof(voc_file_header_t)) == 0;

    rc = adopt ? open_adopted(&error)
               : voc_journal_inspect(path, &journal, &error);

    if (rc != VOC_JOURNAL_OK) {
        must(rc == VOC_JOURNAL_REFUSED && journal == NULL);
        must(error.text[0] != '\0' && !good);
        return 0;
    }

    must(good || forged);
    memcpy(opened, bytes, sizeof(opened));
    ring_size = voc_journal_size(journal);
    do {
        rc = voc_journal_recover(journal);
        must(++steps < STEPS_MAX);
    } while (rc == VOC_JOURNAL_AGAIN);
    must(rc == VOC_JOURNAL_OK);

    voc_journal_seek(&reader, journal, 0);
    next = reader.next;
    return 1;
}

/*
 * What recovery finds is the last record that is whole, and damaged ones
 * behind it: those at least whose header is not.
 */
UNSEEN static void
check_recovered(void)
{
    voc_journal_status_t status = check_status();
    uint64_t head = 0;
    unsigned i;

    if (forged) {
        return;
    }

    for (i = 0; i < original->n; i++) {
        if (check_original(&original->records[i])) {
            head = original->records[i].seq;
        }
    }
    must(status.head <= original->seq);
    for (i = 0; i < original->n; i++) {
        if (original->records[i].seq == head + 1 &&
            check_header(&original->records[i])) {
            head++;
        }
    }
    must(status.head >= head);
    if (size >= IMAGE_SIZE &&
        memcmp(bytes, original->bytes, IMAGE_SIZE) == 0) {
        must(status.head == original->seq);
    }
}

/* ---- a run ------------------------------------------------------------ */

static void
remove_directory(void)
{
    unlink(path);
    rmdir(directory);
}

static void
init(void)
{
    const char *tmp = getenv("TMPDIR");
    struct stat st;

    if (file != -1) {
        return;
    }

    if (tmp == NULL || tmp[0] == '\0') {
        tmp = stat("/dev/shm", &st) == 0 ? "/dev/shm" : "/tmp";
    }
    must(strlen(tmp) < sizeof(directory) - 32);
    sprintf(directory, "%s/voc-fuzz-XXXXXX", tmp);
    must(mkdtemp(directory) != NULL);
    sprintf(path, "%s/%s", directory, IMAGE_NAME);
    file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    must(file != -1);
    atexit(remove_directory);
}

static void
start(unsigned which)
{
    original = image(which);
    size = IMAGE_SIZE;
    memcpy(bytes, original->bytes, size);
    memset(bytes + size, 0, sizeof(bytes) - size);
    ring_size = IMAGE_RING;
    forged = moving = have_last = 0;
    memset(&last, 0, sizeof(last));
    must(ftruncate(file, (off_t)size) == 0);
    must(pwrite(file, bytes, size, 0) == (ssize_t)size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    fuzz_input_t in = {data, len};
    unsigned how, op, n;

    init();
    how = (unsigned)fuzz_take(&in, 1);
    start(how);

    for (n = 0; in.left > 0 && n < OPS_MAX; n++) {
        op = (unsigned)fuzz_take(&in, 1);
        if (op < 0x80) {
            change_op(op, &in);
            continue;
        }
        if (journal == NULL) {
            if (!open_journal(how & 8)) {
                break;
            }
            check_recovered();
        }
        read_op(op, &in);
    }

    if (journal == NULL && n < OPS_MAX && open_journal(how & 8)) {
        check_recovered();
    }
    if (journal != NULL) {
        read_all(0);
        read_all(check_status().tail);
        voc_journal_close(journal);
        journal = NULL;
    }
    check_file();
    return 0;
}
