/* Damage, and what an earlier start left behind. */

#include <sys/file.h>

#include "journal_fixture.h"

/* n records of size bytes of ring each, the first acked of them done with. */
static voc_journal_t *
filled(uint64_t n, uint64_t size, uint64_t acked)
{
    voc_journal_t *journal = create(RING);
    uint64_t i;

    for (i = 1; i <= n; i++) {
        append(journal, size - 40);
        if (i <= acked) {
            assert_int_equal(voc_journal_acknowledge(journal, i, i * size),
                             0);
        }
    }
    return journal;
}

/* The same, left behind; path: its file. */
static void
left_behind(uint64_t n, uint64_t size, uint64_t acked, char path[1024])
{
    voc_journal_t *journal = filled(n, size, acked);

    snprintf(path, 1024, "%s", voc_journal_path(journal));
    voc_journal_close(journal);
}

static void
expect_status(voc_journal_t *journal, uint64_t tail, uint64_t head)
{
    voc_journal_status_t status;

    voc_journal_status(journal, &status);
    assert_int_equal(status.tail, tail);
    assert_int_equal(status.head, head);
    assert_int_equal(status.pending, head - tail);
}

static void
expect_all(voc_journal_t *journal, uint64_t from, uint64_t to)
{
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    uint64_t i;

    voc_journal_seek(&reader, journal, from - 1);
    for (i = from; i <= to; i++) {
        expect(&reader, i, 0, &record);
    }
    expect_empty(&reader, 0);
}

/* ---- damage in a live journal -------------------------------------------- */

static void
test_damaged_middle(void **state)
{
    voc_journal_t *journal = filled(10, 1024, 0);
    voc_journal_reader_t reader;
    voc_journal_record_t record;

    (void)state;
    flip(voc_journal_path(journal), 2 * 1024 + 500); /* 3: payload */
    flip(voc_journal_path(journal), 3 * 1024);       /* 4: magic */
    flip(voc_journal_path(journal), 6 * 1024 + 33);  /* 7: length */
    voc_journal_seek(&reader, journal, 0);
    expect(&reader, 1, 0, &record);
    expect(&reader, 2, 0, &record);
    expect(&reader, 5, 2, &record);
    expect(&reader, 6, 0, &record);
    expect(&reader, 8, 1, &record);
    assert_int_equal(voc_journal_acknowledge(journal, 8, record.end), 0);
    expect(&reader, 9, 0, &record);
    expect(&reader, 10, 0, &record);
    expect_empty(&reader, 0);
    voc_journal_close(journal);
}

/* Each byte of a record, one after the other: it never validates. */
static void
test_every_byte_counts(void **state)
{
    voc_journal_t *journal = filled(3, 64, 0);
    const char *path = voc_journal_path(journal);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    uint64_t place;

    (void)state;
    for (place = 64; place < 128; place++) {
        flip(path, place);
        voc_journal_seek(&reader, journal, 1);
        expect(&reader, 3, 1, &record);
        flip(path, place);
    }
    expect_all(journal, 1, 3);
    voc_journal_close(journal);
}

static void
test_damaged_end(void **state)
{
    voc_journal_t *journal = filled(5, 1024, 0);
    const char *path = voc_journal_path(journal);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    char buffer[2000];

    (void)state;
    flip(path, 3 * 1024 + 900);
    flip(path, 4 * 1024 + 900);
    voc_journal_seek(&reader, journal, 2);
    expect(&reader, 3, 0, &record);
    assert_int_equal(read_on(&reader, buffer, 2000, &record),
                     VOC_JOURNAL_EMPTY);
    assert_int_equal(record.lost, 2);
    assert_int_equal(record.seq, 5);
    assert_int_equal(voc_journal_acknowledge(journal, record.seq, record.end),
                     0);
    expect_status(journal, 5, 5);
    expect_empty(&reader, 0);
    append(journal, 10);
    expect(&reader, 6, 0, &record);
    voc_journal_close(journal);
}

/* A large file of magics, each as if a large record followed. */
static void
test_slices(void **state)
{
    voc_journal_t *journal = create(16 << 20);
    const char *path = voc_journal_path(journal);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    voc_file_record_t header;
    unsigned again = 0;
    uint64_t place;
    voc_journal_rc rc;
    char buffer[100];

    (void)state;
    while (voc_journal_head(journal).end + 300000 < 12 << 20) {
        append(journal, 250000);
    }
    append(journal, 10);
    memset(&header, 0, sizeof(header));
    header.magic = VOC_RECORD_MAGIC;
    header.seq = 1;
    header.length = 200000;
    for (place = 0; place < 11 << 20; place += 250000 / 8 * 8) {
        header.offset = place;
        poke(path, VOC_FILE_RING + place, &header, sizeof(header));
    }

    voc_journal_seek(&reader, journal, 0);
    while ((rc = voc_journal_read(&reader, buffer, 100, &record)) ==
           VOC_JOURNAL_AGAIN) {
        again++;
    }
    assert_in_range(again, 2, 7);
    assert_int_equal(rc, VOC_JOURNAL_SMALL);
    assert_int_equal(record.seq, 47);
    assert_int_equal(record.lost, 46);
    voc_journal_close(journal);
}

/* ---- recovery ------------------------------------------------------------ */

static void
test_recovers(void **state)
{
    voc_journal_t *journal;
    char path[1024];
    int twice;

    (void)state;
    left_behind(40, 1000, 25, path);
    for (twice = 0; twice < 2; twice++) {
        journal = adopt();
        expect_status(journal, 25, 40);
        expect_all(journal, 26, 40);
        expect_all(journal, 1, 40);
        expect_all(journal, 30, 40);
        assert_int_equal(voc_journal_acknowledge(journal, 30, 30000), 0);
        expect_status(journal, 30, 40);
        voc_journal_close(journal); /* nothing of it is written */
    }
}

static void
test_recovers_after_laps(void **state)
{
    voc_journal_t *journal = create(RING);
    int i;

    (void)state;
    for (i = 1; i <= 1007; i++) {
        append(journal, (size_t)(i * 37 % 3000));
        if (i % 10 == 0) {
            voc_journal_acknowledge(journal, (uint64_t)i,
                                    voc_journal_head(journal).end);
        }
    }
    voc_journal_close(journal);

    journal = adopt();
    expect_status(journal, 1000, 1007);
    expect_all(journal, 1001, 1007);
    voc_journal_close(journal);
}

static void
test_recovers_empty(void **state)
{
    voc_journal_t *journal;
    char path[1024];

    (void)state;
    left_behind(0, 0, 0, path);
    journal = adopt();
    expect_status(journal, 0, 0);
    assert_int_equal(voc_journal_retire(journal, &error), 0);
    assert_int_equal(files("", NULL, 0, 0), 0);
}

/* The last record's end did not get to the disk. */
static void
test_torn_end(void **state)
{
    static const char zeros[600];
    voc_journal_t *journal;
    char path[1024];

    (void)state;
    left_behind(10, 1000, 4, path);
    poke(path, VOC_FILE_RING + 9400, zeros, 600);
    journal = adopt();
    expect_status(journal, 4, 9);
    expect_all(journal, 5, 9);
    voc_journal_close(journal);
}

static void
test_zeros_and_garbage(void **state)
{
    char path[1024], page[4096];
    voc_journal_t *journal;
    uint64_t i, random = 5;
    int round;

    (void)state;
    left_behind(60, 1000, 10, path);
    for (round = 0; round < 2; round++) {
        for (i = 0; i < RING; i += sizeof(page)) {
            memset(page, 0, sizeof(page));
            for (size_t k = 0; round == 1 && k < sizeof(page); k += 8) {
                next_random(&random);
                memcpy(page + k, &random, 8);
                if (random % 3 == 0) {
                    uint32_t magic = VOC_RECORD_MAGIC;
                    memcpy(page + k, &magic, 4);
                }
            }
            poke(path, VOC_FILE_RING + i, page, sizeof(page));
        }
        journal = adopt();
        expect_status(journal, 0, 0);
        voc_journal_close(journal);
    }
}

/* A record of the last lap, at its place, is never one of this lap. */
static void
test_previous_lap(void **state)
{
    voc_journal_t *journal = filled(64, 1024, 64);
    char record[1024], path[1024];
    voc_journal_reader_t reader;
    voc_journal_record_t found;

    (void)state;
    snprintf(path, sizeof(path), "%s", voc_journal_path(journal));
    peek(path, VOC_FILE_RING + 1024, record, 1024);
    append(journal, 1024 - 40);
    append(journal, 1024 - 40);
    append(journal, 1024 - 40);
    poke(path, VOC_FILE_RING + 1024, record, 1024); /* 2 over 66 */

    voc_journal_seek(&reader, journal, 64);
    expect(&reader, 65, 0, &found);
    expect(&reader, 67, 1, &found);
    voc_journal_close(journal);

    journal = adopt();
    expect_status(journal, 64, 67);
    voc_journal_seek(&reader, journal, 64);
    expect(&reader, 65, 0, &found);
    expect(&reader, 67, 1, &found);
    voc_journal_close(journal);
}

/* A record of another journal at the same place and offset: not ours. */
static void
test_other_journal(void **state)
{
    char a[1024], b[1024], record[1000];
    voc_journal_t *journal;

    (void)state;
    left_behind(3, 1000, 0, a);
    left_behind(2, 1000, 0, b);
    peek(a, VOC_FILE_RING + 2000, record, 1000);
    poke(b, VOC_FILE_RING + 2000, record, 1000);
    unlink(a);
    journal = adopt();
    expect_status(journal, 0, 2);
    voc_journal_close(journal);
}

/* A good record, but not at its place. */
static void
test_other_place(void **state)
{
    static const char zeros[8];
    char path[1024], record[1000];
    voc_journal_t *journal;

    (void)state;
    left_behind(3, 1000, 0, path);
    peek(path, VOC_FILE_RING + 2000, record, 1000);
    poke(path, VOC_FILE_RING + 8000, record, 1000);
    journal = adopt();
    expect_all(journal, 1, 3);
    voc_journal_close(journal);

    poke(path, VOC_FILE_RING + 2000, zeros, 8);
    journal = adopt();
    expect_status(journal, 0, 2);
    voc_journal_close(journal);
}

static void
test_slots(void **state)
{
    const uint64_t slots[2] = {VOC_FILE_SLOTS,
                               VOC_FILE_SLOTS + VOC_FILE_SLOT_STEP};
    char path[1024], zeros[32] = {0}, saved[2][32];
    voc_journal_t *journal;

    (void)state;
    left_behind(40, 1000, 25, path); /* turn 26 is in slot 0 */
    peek(path, slots[0], saved[0], 32);
    peek(path, slots[1], saved[1], 32);

    poke(path, slots[0] + 8, "x", 1); /* torn: the older one holds */
    journal = adopt();
    expect_status(journal, 24, 40);
    voc_journal_close(journal);

    poke(path, slots[1], zeros, 32); /* both: all that is held */
    journal = adopt();
    expect_status(journal, 0, 40);
    expect_all(journal, 1, 40);
    voc_journal_close(journal);

    poke(path, slots[0], saved[0], 32);
    journal = adopt();
    expect_status(journal, 25, 40);
    voc_journal_close(journal);
}

/* Both slots bad after many laps: what the last lap holds is pending. */
static void
test_slots_bad_after_laps(void **state)
{
    char path[1024], zeros[4096] = {0};
    voc_journal_t *journal;

    (void)state;
    left_behind(100, 1024, 100, path);
    poke(path, VOC_FILE_SLOTS, zeros, 4096);
    journal = adopt();
    expect_status(journal, 36, 100);
    expect_all(journal, 37, 100);
    voc_journal_close(journal);
}

/* Valid slots that cannot be: ahead of the ring, or a lap behind it. */
static void
test_slots_do_not_fit(void **state)
{
    char path[1024], page[4096], ring[1000];
    voc_journal_t *journal;
    uint64_t i;

    (void)state;
    left_behind(40, 1000, 30, path);
    memset(ring, 0, sizeof(ring));
    for (i = 20; i < 40; i++) { /* the disk has only records 1 to 20 */
        poke(path, VOC_FILE_RING + i * 1000, ring, 1000);
    }
    journal = adopt();
    expect_status(journal, 0, 20);
    voc_journal_close(journal);
    unlink(path);

    journal = filled(40, 1024, 5);
    snprintf(path, sizeof(path), "%s", voc_journal_path(journal));
    peek(path, VOC_FILE_SLOTS, page, 4096);
    voc_journal_acknowledge(journal, 40, 40 * 1024);
    for (i = 0; i < 60; i++) {
        append(journal, 1024 - 40);
    }
    voc_journal_close(journal);
    poke(path, VOC_FILE_SLOTS, page, 4096); /* the disk has the old tail */
    journal = adopt();
    expect_status(journal, 36, 100);
    voc_journal_close(journal);
}

static void
test_recovers_after_kill(void **state)
{
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    static char data[3000];
    voc_journal_t *journal;
    uint64_t seq, told, random, n;
    int round, pipes[2];
    pid_t pid;

    (void)state;
    for (round = 0; round < 30; round++) {
        assert_int_equal(pipe(pipes), 0);
        pid = child();
        if (pid == 0) {
            voc_journal_options_t options = {directory, RING, (uid_t)-1,
                                             (gid_t)-1};

            random = (uint64_t)round + 1;
            journal = voc_journal_create(&options, NULL);
            while (journal != NULL) {
                if (voc_journal_append(journal, data,
                                       next_random(&random) % sizeof(data),
                                       NOW, &seq) == VOC_JOURNAL_FULL) {
                    voc_journal_acknowledge(
                        journal, seq, voc_journal_head(journal).end);
                } else if (write(pipes[1], &seq, 8) != 8) {
                    break;
                }
            }
            _exit(1);
        }
        close(pipes[1]);

        /* So many answered, then the kill; the rest of the pipe is told, too. */
        for (n = 0; n < 50 + (uint64_t)round * 20; n++) {
            assert_int_equal(read(pipes[0], &told, 8), 8);
        }
        kill(pid, SIGKILL);
        assert_int_equal(ended(pid), 1000 + SIGKILL);
        while (read(pipes[0], &seq, 8) == 8) {
            told = seq;
        }
        close(pipes[0]);

        journal = adopt();
        assert_in_range(voc_journal_head(journal).seq, told, told + 1);
        seq = voc_journal_tail(journal).seq;
        voc_journal_seek(&reader, journal, seq);
        while (read_on(&reader, data, sizeof(data), &record) ==
               VOC_JOURNAL_OK) {
            assert_int_equal(record.seq, ++seq);
            assert_int_equal(record.lost, 0);
        }
        assert_int_equal(record.lost, 0);
        assert_int_equal(seq, voc_journal_head(journal).seq);
        assert_int_equal(voc_journal_retire(journal, &error), 0);
    }
}

/* ---- adopting ------------------------------------------------------------ */

static void
test_adopt_order(void **state)
{
    voc_journal_directory_t d = {directory, {0}, 0};
    voc_journal_t *live, *a, *b, *none;
    char path[3][1024], temp[1100];
    int i;

    (void)state;
    for (i = 0; i < 3; i++) {
        left_behind((uint64_t)i + 1, 1000, 0, path[i]);
    }
    live = create(RING);
    assert_non_null(strstr(voc_journal_path(live), "/0000000000000004-"));

    /* A temporary file that a creator left, and one that is being made. */
    snprintf(temp, sizeof(temp),
             "%s/.00000000000000aa-0123456789abcdef.journal.tmp", directory);
    close(open(temp, O_CREAT | O_WRONLY, 0600));
    temp[strlen(directory) + 2] = '1';
    i = open(temp, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(flock(i, LOCK_EX | LOCK_NB), 0);

    assert_int_equal(voc_journal_adopt(&d, &a, &error), VOC_JOURNAL_OK);
    assert_int_equal(files(".tmp", NULL, 0, 0), 1);
    close(i);
    assert_string_equal(voc_journal_path(a), path[0]);
    assert_int_equal(voc_journal_adopt(&d, &b, &error), VOC_JOURNAL_OK);
    assert_int_equal(files(".tmp", NULL, 0, 0), 0);
    assert_string_equal(voc_journal_path(b), path[1]);
    assert_int_equal(voc_journal_retire(a, &error), 0);
    voc_journal_close(b);
    assert_int_equal(voc_journal_adopt(&d, &b, &error), VOC_JOURNAL_OK);
    assert_string_equal(voc_journal_path(b), path[1]);
    assert_int_equal(voc_journal_adopt(&d, &a, &error), VOC_JOURNAL_OK);
    assert_string_equal(voc_journal_path(a), path[2]);
    assert_int_equal(voc_journal_adopt(&d, &none, &error), VOC_JOURNAL_EMPTY);
    assert_int_equal(voc_journal_retire(a, &error), 0);
    assert_int_equal(voc_journal_retire(b, &error), 0);
    assert_int_equal(voc_journal_adopt(&d, &none, &error), VOC_JOURNAL_EMPTY);
    assert_int_equal(files("", NULL, 0, 0), 1);
    voc_journal_close(live);

    d.path = "/nowhere/at/all";
    assert_int_equal(voc_journal_adopt(&d, &a, &error), VOC_JOURNAL_FAILED);
    assert_int_equal(error.number, ENOENT);
}

/* The lock lives as long as one of the processes that inherited it. */
static void
test_lock_is_inherited(void **state)
{
    voc_journal_directory_t d = {directory, {0}, 0};
    voc_journal_t *journal = filled(2, 1000, 0), *other;
    int pipes[2];
    pid_t pid;
    char c;

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    pid = child();
    if (pid == 0) {
        close(pipes[1]);
        _exit((int)read(pipes[0], &c, 1));
    }
    close(pipes[0]);
    voc_journal_close(journal);
    assert_int_equal(voc_journal_adopt(&d, &other, &error), VOC_JOURNAL_EMPTY);
    close(pipes[1]);
    assert_int_equal(ended(pid), 0);
    assert_int_equal(voc_journal_adopt(&d, &other, &error), VOC_JOURNAL_OK);
    voc_journal_close(other);
}

static void
refused(const char *path, const char *text)
{
    voc_journal_directory_t d = {directory, {0}, 0};
    voc_journal_t *journal;
    struct stat before, after;

    assert_int_equal(lstat(path, &before), 0);
    assert_int_equal(voc_journal_adopt(&d, &journal, &error),
                     VOC_JOURNAL_REFUSED);
    if (strstr(error.text, text) == NULL || !strstr(error.text, path)) {
        fail_msg("\"%s\" not in \"%s\"", text, error.text);
    }
    assert_null(journal);
    assert_int_equal(voc_journal_adopt(&d, &journal, &error),
                     VOC_JOURNAL_EMPTY);
    assert_int_equal(lstat(path, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
    assert_int_not_equal(voc_journal_inspect(path, &journal, &error),
                         VOC_JOURNAL_OK);
}

/* Changes the header, with a checksum that fits. */
static void
set_header(const char *path, size_t at, const void *value, size_t size)
{
    voc_file_header_t header;

    peek(path, 0, &header, sizeof(header));
    memcpy((char *)&header + at, value, size);
    header.crc = voc_crc32c(0, &header, offsetof(voc_file_header_t, crc));
    poke(path, 0, &header, sizeof(header));
}

static void
test_refused(void **state)
{
    const uint32_t two = 2, swapped = 0x04030201, one = 1;
    const uint32_t order = VOC_FILE_BYTE_ORDER;
    const uint64_t odd = RING + 1;
    const uint64_t ring = RING;
    char path[1024], target[1100];
    voc_journal_t *journal;

    (void)state;
    left_behind(2, 1000, 0, path);
    set_header(path, offsetof(voc_file_header_t, version), &two, 4);
    refused(path, "unknown version");
    set_header(path, offsetof(voc_file_header_t, version), &one, 4);
    set_header(path, offsetof(voc_file_header_t, byte_order), &swapped, 4);
    refused(path, "byte order");
    set_header(path, offsetof(voc_file_header_t, byte_order), &order, 4);
    set_header(path, offsetof(voc_file_header_t, size), &odd, 8);
    refused(path, "impossible");
    set_header(path, offsetof(voc_file_header_t, size), &ring, 8);
    poke(path, 0, "X", 1);
    refused(path, "is not a journal");
    poke(path, 0, "V", 1);
    poke(path, offsetof(voc_file_header_t, created), "\xFF", 1);
    refused(path, "damaged header");
    set_header(path, 0, "V", 1);

    journal = adopt(); /* and now it is as it was */
    expect_status(journal, 0, 2);
    voc_journal_close(journal);

    snprintf(target, sizeof(target), "%s/elsewhere", directory);
    assert_int_equal(rename(path, target), 0);
    assert_int_equal(symlink(target, path), 0);
    refused(path, "cannot open");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    refused(path, "not a regular file");
    unlink(path);

    assert_int_equal(rename(target, path), 0);
    assert_int_equal(truncate(path, 8191), 0);
    refused(path, "too short");
    assert_int_equal(truncate(path, 71), 0);
    refused(path, "too short");
    assert_int_equal(truncate(path, 0), 0);
    refused(path, "too short");
}

/* What is refused does not stand in the way of the others. */
static void
test_refused_and_others(void **state)
{
    voc_journal_directory_t d = {directory, {0}, 0};
    char bad[1024], good[1024];
    voc_journal_t *journal;

    (void)state;
    left_behind(2, 1000, 0, bad);
    left_behind(3, 1000, 0, good);
    poke(bad, 0, "X", 1);
    assert_int_equal(voc_journal_adopt(&d, &journal, &error),
                     VOC_JOURNAL_REFUSED);
    assert_int_equal(voc_journal_adopt(&d, &journal, &error), VOC_JOURNAL_OK);
    assert_string_equal(voc_journal_path(journal), good);
    assert_int_equal(voc_journal_retire(journal, &error), 0);
    assert_int_equal(voc_journal_adopt(&d, &journal, &error),
                     VOC_JOURNAL_EMPTY);
    assert_int_equal(access(bad, F_OK), 0);
}

/* Cut short while left behind, and while it is read. */
static void
test_cut_short(void **state)
{
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    voc_journal_t *journal;
    char path[1024];

    (void)state;
    left_behind(40, 1000, 2, path);
    assert_int_equal(truncate(path, VOC_FILE_RING + 20503), 0);
    journal = adopt();
    expect_status(journal, 2, 20);
    expect_all(journal, 3, 20);
    assert_int_equal(voc_journal_check(journal, &error), VOC_JOURNAL_FAILED);
    assert_non_null(strstr(error.text, "was truncated"));
    assert_int_equal(voc_journal_acknowledge(journal, 3, 3000),
                     VOC_JOURNAL_OK);

    assert_int_equal(truncate(path, VOC_FILE_RING + 4096), 0);
    voc_journal_seek(&reader, journal, 2);
    expect(&reader, 3, 0, &record);
    expect(&reader, 4, 0, &record);
    expect_empty(&reader, 16);
    voc_journal_close(journal);
}

static voc_journal_rc
inspect_it(voc_journal_t **journal)
{
    char path[1024];

    files(".journal", path, sizeof(path), 0);
    return voc_journal_inspect(path, journal, &error);
}

static void
test_inspect_live(void **state)
{
    voc_journal_t *journal = filled(100, 1024, 90), *other;

    (void)state;
    other = recovered(inspect_it);
    expect_status(other, 90, 100);
    expect_all(other, 37, 100);
    append(journal, 100);
    voc_journal_close(other);
    voc_journal_close(journal);
}

/* The file that was replaced by another of its name is not deleted. */
static void
test_retire_only_ours(void **state)
{
    voc_journal_t *journal = create(RING);
    char path[1024];

    (void)state;
    snprintf(path, sizeof(path), "%s", voc_journal_path(journal));
    unlink(path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(voc_journal_retire(journal, &error), 0);
    assert_int_equal(access(path, F_OK), 0);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_damaged_middle),      T(test_every_byte_counts),
        T(test_damaged_end),         T(test_slices),
        T(test_recovers),            T(test_recovers_after_laps),
        T(test_recovers_empty),      T(test_torn_end),
        T(test_zeros_and_garbage),   T(test_previous_lap),
        T(test_other_journal),       T(test_other_place),
        T(test_slots),
        T(test_slots_bad_after_laps), T(test_slots_do_not_fit),
        T(test_recovers_after_kill), T(test_adopt_order),
        T(test_lock_is_inherited),   T(test_refused),
        T(test_refused_and_others),  T(test_cut_short),
        T(test_inspect_live),        T(test_retire_only_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
