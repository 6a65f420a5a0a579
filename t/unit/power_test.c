/*
 * Power failures: of what was written since the last sync the disk has any
 * part, of any moment, and some of it as zeros or garbage.  Whatever it is, a
 * record that is still whole is found, nothing is found that was not
 * appended, and what is missing is counted.
 *
 *   POWER_SEED=n  this run alone      POWER_RUNS=n  so many
 */

#include "journal_fixture.h"

#define RUNS      200
#define OPS       400
#define IMAGES    12 /* of a run */
#define RECORDS   4096
#define VERSIONS  8
#define FILE_SIZE (RING_AT + RING)
#define MOST      (2048 + VOC_RECORD_HEADER) /* bytes of a record */
#define SECTOR    512
#define PAGE      4096

typedef enum { SYNC_ALWAYS, SYNC_SOMETIMES, SYNC_OFF, SYNC_N } sync_e;

typedef struct {
    uint64_t offset;
    uint32_t length;
    char bytes[MOST];
} record_t;

static struct {
    uint64_t seed, random;
    voc_journal_t *journal;
    char *file; /* all of it, mapped */
    sync_e sync;
    int ruin; /* zeros and garbage, too: sectors are not atomic */
    record_t records[RECORDS];
    uint64_t head, synced;
    uint64_t cursor;          /* Redis': from here it is read */
    uint64_t acked;           /* the highest that ever was */
    char *versions[VERSIONS]; /* of the file since the sync; [0]: as synced */
    unsigned nversions;
    char *image;
    uint64_t images, records_read, lost, ruined, whole;
} t;

static uint32_t
dice(uint32_t n)
{
    return (uint32_t)(next_random(&t.random) >> 16) % n;
}

#define check(what)                                                          \
    do {                                                                     \
        if (!(what)) {                                                       \
            fail_msg("seed %" PRIu64 ": %s", t.seed, #what);                 \
        }                                                                    \
    } while (0)

/* ---- what happens before ------------------------------------------------
 */

static void
remember(unsigned version)
{
    if (t.versions[version] == NULL) {
        t.versions[version] = malloc(FILE_SIZE);
        assert_non_null(t.versions[version]);
    }
    memcpy(t.versions[version], t.file, FILE_SIZE);
}

static void
sync_it(void)
{
    check(voc_journal_sync(t.journal, &t.synced, &error) == VOC_JOURNAL_OK);
    check(t.synced == t.head);
    remember(0);
    t.nversions = 1;
}

static void
append_one(void)
{
    static char payload[2048];
    uint64_t seq, need;
    size_t length = dice(20) == 0 ? dice(2048) : dice(300);
    voc_position_t head = voc_journal_head(t.journal);
    record_t *record = &t.records[t.head + 1];

    need = voc_record_size(length);
    record->length = (uint32_t)length;
    record->offset = head.end;
    if (RING - head.end % RING < need) {
        record->offset += RING - head.end % RING;
    }

    fill(payload, length, t.head + 1);
    if (voc_journal_append(t.journal, payload, length, NOW, &seq) !=
        VOC_JOURNAL_OK) {
        return;
    }

    check(seq == ++t.head);
    memcpy(record->bytes, t.journal->window.bytes + record->offset % WINDOW,
           VOC_RECORD_HEADER + length);
    if (t.sync == SYNC_ALWAYS && dice(3)) {
        sync_it();
    }
}

/* Redis has some more; what it has confirmed is acknowledged. */
static void
push_some(void)
{
    uint64_t more = t.head - t.cursor;
    const record_t *last;

    if (more == 0) {
        return;
    }

    t.cursor += 1 + dice((uint32_t)more);
    if (dice(4)) {
        last = &t.records[t.cursor];
        check(voc_journal_acknowledge(t.journal, t.cursor,
                                      last->offset +
                                          voc_record_size(last->length)) ==
              VOC_JOURNAL_OK);
        t.acked = t.cursor > t.acked ? t.cursor : t.acked;
    }
}

/* Redis has lost some of it: what is still held is kept. */
static void
redis_loses(void)
{
    uint64_t seq = t.cursor - dice(20);
    voc_journal_record_t record;

    if (t.cursor < 20) {
        return;
    }

    memset(&record, 0, sizeof(record));
    record.seq = seq + 1;
    record.offset = t.records[seq + 1].offset;
    if (seq < t.cursor &&
        voc_journal_retain(t.journal, &record) == VOC_JOURNAL_OK) {
        t.cursor = seq;
    }
}

static void
operate(void)
{
    switch (dice(16)) {
    case 0:
    case 1:
        push_some();
        break;
    case 2:
        if (t.sync == SYNC_SOMETIMES && dice(3) == 0) {
            sync_it();
        }
        break;
    case 3:
        if (dice(8) == 0) {
            redis_loses();
        }
        break;
    case 4:
        if (t.nversions < VERSIONS) {
            remember(t.nversions++);
        }
        break;
    default:
        append_one();
        break;
    }
}

/* ---- what is on the disk afterwards --------------------------------------
 */

static void
put_ruin(char *to, size_t size)
{
    size_t i;

    t.ruined++;
    switch (dice(3)) {
    case 0:
        memset(to, 0, size);
        break;
    case 1:
        for (i = 0; i < size; i++) {
            to[i] = (char)dice(256);
        }
        break;
    default: /* another one's */
        memcpy(to,
               t.file + dice((uint32_t)(FILE_SIZE / size)) * size, size);
        break;
    }
}

static int
dirty(size_t at, size_t size)
{
    unsigned i;

    for (i = 0; i < t.nversions; i++) {
        if (memcmp(t.versions[i] + at, t.file + at, size) != 0) {
            return 1;
        }
    }

    return 0;
}

static void
put_version(size_t at, size_t size)
{
    unsigned version = dice(t.nversions + 1);
    const char *from =
        version == t.nversions ? t.file : t.versions[version];

    memcpy(t.image + at, from + at, size);
}

/* A slot that is half written. */
static void
tear_slot(void)
{
    size_t at = VOC_FILE_SLOTS + dice(2) * VOC_FILE_SLOT_STEP, i;

    for (i = 0; i < sizeof(voc_file_slot_t); i += 4) {
        put_version(at + i, 4);
    }
}

static void
make_image(void)
{
    unsigned ruin = t.ruin ? 2 + dice(10) : 0;
    size_t at, sector;

    memcpy(t.image, t.file, FILE_SIZE);

    for (at = 0; at < FILE_SIZE; at += PAGE) {
        if (!dirty(at, PAGE)) {
            continue;
        }

        if (dice(2)) {
            put_version(at, PAGE);
            if (ruin != 0 && dice(ruin) == 0) {
                put_ruin(t.image + at, PAGE);
            }
            continue;
        }

        for (sector = at; sector < at + PAGE; sector += SECTOR) {
            if (dirty(sector, SECTOR)) {
                put_version(sector, SECTOR);
                if (ruin != 0 && dice(ruin) == 0) {
                    put_ruin(t.image + sector, SECTOR);
                }
            }
        }
    }

    if (t.ruin && dice(2)) {
        tear_slot();
    }
}

/* ---- what is found --------------------------------------------------------
 */

/* In the ring, or in the window. */
static int
is_whole(uint64_t seq)
{
    const record_t *record = &t.records[seq];
    size_t size = VOC_RECORD_HEADER + record->length;
    size_t place = record->offset % WINDOW, first = WINDOW - place;
    const char *window = t.image + VOC_FILE_WINDOW;

    first = size < first ? size : first;

    return memcmp(t.image + RING_AT + record->offset % RING,
                  record->bytes, size) == 0 ||
           (memcmp(window + place, record->bytes, first) == 0 &&
            memcmp(window, record->bytes + first, size - first) == 0);
}

static voc_journal_t *
opened(const char *path)
{
    voc_journal_t *journal = NULL;

    check(voc_journal_inspect(path, &journal, &error) == VOC_JOURNAL_OK);
    return journal;
}

/* Without a slot the tail is before the oldest record that is held. */
static void
check_tail(voc_journal_t *journal)
{
    voc_journal_status_t status;
    uint64_t seq;

    voc_journal_status(journal, &status);
    check(status.head <= t.head);
    check(status.tail <= status.head);
    for (seq = t.acked + 1; seq <= status.tail; seq++) {
        check(!is_whole(seq));
        check(t.ruin || seq > t.synced);
    }
    check(status.bytes <= RING);
}

/* Reads it behind the cursor, as the pusher does; the sum of it. */
static uint64_t
check_records(voc_journal_t *journal)
{
    static char data[4096], want[4096];
    uint64_t last = t.cursor, lost = 0, n = 0, seq, sum = 0;
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    voc_position_t head = voc_journal_head(journal);

    voc_journal_seek(&reader, journal, t.cursor);

    while (read_on(&reader, data, sizeof(data), &record) == VOC_JOURNAL_OK) {
        check(record.seq > last);
        check(record.seq <= t.head);
        check(record.lost == record.seq - last - 1);
        check(record.length == t.records[record.seq].length);
        check(record.offset == t.records[record.seq].offset);
        fill(want, record.length, record.seq);
        check(memcmp(data, want, record.length) == 0);

        for (seq = last + 1; seq < record.seq; seq++) {
            check(!is_whole(seq));
            check(t.ruin || seq > t.synced);
        }

        lost += record.lost;
        last = record.seq;
        sum = sum * 31 + last;
        n++;
    }

    lost += record.lost;
    check(head.seq < t.cursor || n + lost == head.seq - t.cursor);

    for (seq = last + 1; seq <= t.head; seq++) {
        check(!is_whole(seq));
        check(t.ruin || seq > t.synced);
    }

    t.records_read += n;
    t.lost += lost;
    return sum * 31 + lost;
}

static void
recover_it(const char *path)
{
    static char after[FILE_SIZE];
    voc_journal_t *journal;
    uint64_t sum[2];
    int i;

    /* one that dies on its way */
    journal = opened(path);
    voc_journal_recover(journal);
    voc_journal_close(journal);

    for (i = 0; i < 2; i++) {
        journal = opened(path);
        while (voc_journal_recover(journal) == VOC_JOURNAL_AGAIN) {
        }
        check_tail(journal);
        sum[i] = check_records(journal);
        voc_journal_close(journal);
    }
    check(sum[0] == sum[1]);

    /* nothing was written */
    peek(path, 0, after, FILE_SIZE);
    check(memcmp(after, t.image, FILE_SIZE) == 0);
}

static void
run(uint64_t seed)
{
    char path[1024];
    unsigned i, op, images = 0;

    memset(t.records, 0, sizeof(t.records));
    t.seed = seed;
    t.random = (seed + 1) * 0x9E3779B97F4A7C15ULL;
    t.sync = (sync_e)(seed % SYNC_N);
    t.ruin = seed / SYNC_N % 2 == 1;
    t.head = t.synced = t.cursor = t.acked = 0;
    t.journal = create(RING);
    assert_int_equal(t.journal->window.size, WINDOW);
    t.file = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, t.journal->fd, 0);
    assert_true(t.file != MAP_FAILED);
    remember(0);
    t.nversions = 1;
    snprintf(path, sizeof(path), "%s/image", directory);

    for (op = 0; op < OPS * 4 && t.head < RECORDS - 2; op++) {
        operate();
        if (dice(OPS * 4 / IMAGES) != 0) {
            continue;
        }

        for (i = 0; i < 2; i++, images++) {
            make_image();
            close(open(path, O_CREAT | O_WRONLY, 0600));
            poke(path, 0, t.image, FILE_SIZE);
            recover_it(path);
        }
    }

    t.images += images;
    unlink(path);
    munmap(t.file, FILE_SIZE);
    assert_int_equal(voc_journal_retire(t.journal, &error), 0);
}

static void
test_power(void **state)
{
    const char *one = getenv("POWER_SEED"), *many = getenv("POWER_RUNS");
    uint64_t seed = 0, end = many != NULL ? strtoull(many, NULL, 10) : RUNS;
    unsigned i;

    (void)state;
    if (one != NULL) {
        seed = strtoull(one, NULL, 10);
        end = seed + 1;
    }

    t.image = malloc(FILE_SIZE);
    assert_non_null(t.image);
    for (; seed < end; seed++) {
        run(seed);
    }

    print_message("# %" PRIu64 " images, %" PRIu64
                  " ruined sectors or pages, "
                  "%" PRIu64 " records read, %" PRIu64 " lost\n",
                  t.images, t.ruined, t.records_read, t.lost);
    if (one == NULL) {
        assert_true(t.images > end * IMAGES / 2 && t.lost > 0 &&
                    t.ruined > 0);
    }

    free(t.image);
    for (i = 0; i < VERSIONS; i++) {
        free(t.versions[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_power, setup, teardown),
    };

    /* the disk is made up here: thousands of real syncs show nothing more */
    if (access("/dev/shm", W_OK) == 0) {
        setenv("TMPDIR", "/dev/shm", 0);
    }

    return cmocka_run_group_tests(tests, NULL, NULL);
}
