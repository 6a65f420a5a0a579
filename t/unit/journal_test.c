/* The live journal: appending, reading, its processes, its file. */

#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "journal_fixture.h"

/* ---- one process --------------------------------------------------------- */

static void
round_trip(voc_journal_t *journal)
{
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    voc_journal_status_t status;

    voc_journal_seek(&reader, journal, 0);
    expect_empty(&reader, 0);

    assert_int_equal(append(journal, 0), 1);
    assert_int_equal(append(journal, 1), 2);
    assert_int_equal(append(journal, 5000), 3);

    expect(&reader, 1, 0, &record);
    expect(&reader, 2, 0, &record);
    assert_int_equal(voc_journal_read(&reader, NULL, 0, &record),
                     VOC_JOURNAL_SMALL);
    assert_int_equal(record.length, 5000);
    expect(&reader, 3, 0, &record);
    expect_empty(&reader, 0);

    voc_journal_status(journal, &status);
    assert_int_equal(status.head, 3);
    assert_int_equal(status.pending, 3);
    assert_int_equal(status.bytes, 40 + 48 + 5040);

    assert_int_equal(voc_journal_acknowledge(journal, 3, record.end), 0);
    assert_int_equal(voc_journal_acknowledge(journal, 2, 88), 0);
    voc_journal_status(journal, &status);
    assert_int_equal(status.tail, 3);
    assert_int_equal(status.pending, 0);
    assert_int_equal(status.bytes, 0);
    voc_journal_close(journal);
}

static void
test_round_trip(void **state)
{
    (void)state;
    round_trip(create(RING));
    round_trip(create_memory(RING));
}

static void
test_limits(void **state)
{
    voc_journal_t *journal = create(RING + 1);
    uint64_t max = voc_journal_payload_max(journal), seq;
    char *payload = calloc(1, VOC_JOURNAL_PAYLOAD_MAX + 1);

    (void)state;
    assert_int_equal(voc_journal_size(journal), RING + 4096);
    assert_int_equal(max, (RING + 4096) / 4 - 40);
    assert_int_equal(voc_journal_append(journal, payload, max + 1, NOW, &seq),
                     VOC_JOURNAL_TOO_LARGE);
    assert_int_equal(append(journal, max), 1);
    voc_journal_close(journal);

    journal = create_memory(16 << 20);
    assert_int_equal(voc_journal_append(journal, payload,
                                        VOC_JOURNAL_PAYLOAD_MAX + 1, NOW,
                                        &seq),
                     VOC_JOURNAL_TOO_LARGE);
    assert_int_equal(append(journal, VOC_JOURNAL_PAYLOAD_MAX), 1);
    voc_journal_close(journal);
    free(payload);
}

/*
 * From all that the ring still holds, in order and without a gap: what is a
 * lap old, or older still, is not taken for more.
 */
static void
held(voc_journal_t *journal)
{
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    voc_position_t head = voc_journal_head(journal);
    static char buffer[16 * 1024];
    uint64_t seq;

    voc_journal_seek(&reader, journal, 0);
    assert_int_equal(read_on(&reader, buffer, sizeof(buffer), &record),
                     VOC_JOURNAL_OK);
    assert_int_equal(record.lost, record.seq - 1);
    assert_true(record.offset + journal->size >= head.end);
    for (seq = record.seq + 1; seq <= head.seq; seq++) {
        expect(&reader, seq, 0, &record);
    }
    expect_empty(&reader, 0);
}

/*
 * Many laps with random sizes; reader and acknowledgements lag behind at
 * random.  The model is an array: fill() tells what every record must be.
 */
static void
laps(voc_journal_t *journal, uint64_t seed)
{
    uint64_t acked_seq = 0, sent = 0, read = 0, full = 0, seq, random = seed;
    static char payload[16 * 1024];
    voc_journal_record_t record, last = {0};
    voc_journal_reader_t reader;
    voc_journal_rc rc;
    size_t length;

    voc_journal_seek(&reader, journal, 0);

    while (sent < 20000) {
        length = next_random(&random) % (next_random(&random) % 8 ? 300 : 9000);
        fill(payload, length, sent + 1);
        rc = voc_journal_append(journal, payload, length, NOW, &seq);
        if (rc == VOC_JOURNAL_OK) {
            assert_int_equal(seq, ++sent);
            if (sent % 50 == 0) {
                held(journal);
            }
        } else {
            assert_int_equal(rc, VOC_JOURNAL_FULL);
            full++;
        }

        while (rc == VOC_JOURNAL_FULL || next_random(&random) % 5 == 0) {
            if (read == sent) {
                break;
            }
            rc = VOC_JOURNAL_OK;
            expect(&reader, ++read, 0, &last);
            if (next_random(&random) % 3 == 0) {
                assert_int_equal(
                    voc_journal_acknowledge(journal, last.seq, last.end), 0);
                acked_seq = last.seq;
            }
        }
        if (read == sent && acked_seq < read) {
            voc_journal_acknowledge(journal, last.seq, last.end);
            acked_seq = last.seq;
        }
    }

    assert_true(full > 10);

    /* What is not acknowledged is there, from the tail on. */
    voc_journal_seek(&reader, journal, acked_seq);
    while (acked_seq < sent) {
        expect(&reader, ++acked_seq, 0, &record);
    }
    expect_empty(&reader, 0);
    voc_journal_close(journal);
}

static void
test_laps(void **state)
{
    (void)state;
    laps(create(RING), 1);
    laps(create(RING + 8192), 2);
    laps(create_memory(RING), 3);
}

static void
append_done(voc_journal_t *journal, size_t size, unsigned n)
{
    voc_position_t head;

    while (n-- > 0) {
        append(journal, size - 40);
        head = voc_journal_head(journal);
        voc_journal_acknowledge(journal, head.seq, head.end);
    }
}

/*
 * The last lap skipped the ring's last 1024 bytes; there still are small
 * records of the lap before it, and the search for old records begins there.
 */
static void
test_skipped_room(void **state)
{
    voc_journal_t *journal = create(RING);

    (void)state;
    append_done(journal, 1024, 63);
    append_done(journal, 64, 16);
    append_done(journal, 1024, 63);
    append_done(journal, 2048, 1);
    append_done(journal, 1024, 61);
    append_done(journal, 64, 4);
    held(journal);
    voc_journal_close(journal);
}

static void
test_full(void **state)
{
    voc_journal_t *journal = create(RING);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    uint64_t n, i, seq;

    (void)state;

    /* 64 records of 1024 bytes fill it to the last byte. */
    for (n = 0; n < 64; n++) {
        append(journal, 1024 - 40);
    }
    assert_int_equal(voc_journal_append(journal, "", 0, NOW, &seq),
                     VOC_JOURNAL_FULL);

    voc_journal_seek(&reader, journal, 0);
    for (i = 1; i <= 64; i++) {
        expect(&reader, i, 0, &record);
        assert_int_equal(
            voc_journal_acknowledge(journal, record.seq, record.end), 0);
        append(journal, 1024 - 40);
        assert_int_equal(voc_journal_append(journal, "", 0, NOW, &seq),
                         VOC_JOURNAL_FULL);
    }
    for (; i <= 128; i++) {
        expect(&reader, i, 0, &record);
    }
    expect_empty(&reader, 0);
    voc_journal_close(journal);
}

/* ---- going back ---------------------------------------------------------- */

static void
test_seek_and_retain(void **state)
{
    voc_journal_t *journal = create(RING);
    voc_journal_reader_t reader;
    voc_journal_record_t record, old, older;
    voc_journal_status_t status;
    uint64_t i;

    (void)state;
    for (i = 1; i <= 60; i++) {
        append(journal, 1024 - 40);
    }
    voc_journal_seek(&reader, journal, 0);
    for (i = 1; i <= 50; i++) {
        expect(&reader, i, 0, &record);
    }
    voc_journal_acknowledge(journal, 50, record.end);

    voc_journal_seek(&reader, journal, 50);
    expect(&reader, 51, 0, &record);
    voc_journal_seek(&reader, journal, 55);
    expect(&reader, 56, 0, &record);
    voc_journal_seek(&reader, journal, 60);
    expect_empty(&reader, 0);
    voc_journal_seek(&reader, journal, 1000);
    expect_empty(&reader, 0);

    voc_journal_seek(&reader, journal, 3);
    expect(&reader, 4, 0, &older);
    voc_journal_seek(&reader, journal, 9);
    expect(&reader, 10, 0, &old);

    /* Ten more: 1 to 6 are overwritten by 65 to 70. */
    for (i = 61; i <= 70; i++) {
        append(journal, 1024 - 40);
    }
    assert_int_equal(voc_journal_retain(journal, &older), VOC_JOURNAL_EMPTY);
    voc_journal_seek(&reader, journal, 3);
    expect(&reader, 7, 3, &record);
    assert_int_equal(voc_journal_retain(journal, &record), VOC_JOURNAL_OK);
    assert_int_equal(voc_journal_retain(journal, &old), VOC_JOURNAL_OK);
    voc_journal_status(journal, &status);
    assert_int_equal(status.tail, 6);
    assert_int_equal(status.pending, 64);
    assert_int_equal(status.bytes, RING);
    assert_int_equal(voc_journal_append(journal, "", 0, NOW, &i),
                     VOC_JOURNAL_FULL);
    for (i = 8; i <= 70; i++) {
        expect(&reader, i, 0, &record);
    }
    voc_journal_close(journal);
}

/* What is taken back is pending for the next start, too. */
static void
test_retain_lasts(void **state)
{
    voc_journal_t *journal = create(RING);
    voc_journal_reader_t reader;
    voc_journal_record_t record, third;
    voc_journal_status_t status;
    int i;

    (void)state;
    voc_journal_seek(&reader, journal, 0);
    for (i = 1; i <= 9; i++) {
        append(journal, 100);
        expect(&reader, (uint64_t)i, 0, &record);
        voc_journal_acknowledge(journal, record.seq, record.end);
        if (i == 3) {
            third = record;
        }
    }
    assert_int_equal(voc_journal_retain(journal, &third), VOC_JOURNAL_OK);
    voc_journal_close(journal);

    journal = adopt();
    voc_journal_status(journal, &status);
    assert_int_equal(status.tail, 2);
    assert_int_equal(status.pending, 7);
    assert_int_equal(voc_journal_append(journal, "", 0, NOW, &status.head),
                     VOC_JOURNAL_FAILED);
    voc_journal_close(journal);
}

/*
 * A process died with a whole record at the head, unpublished, and the next
 * one skips to the next lap with the same number.
 */
static void
test_unpublished_is_never_read(void **state)
{
    voc_journal_t *journal = create(RING);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    int i;

    (void)state;
    voc_journal_seek(&reader, journal, 0);
    for (i = 1; i <= 63; i++) {
        append(journal, 1024 - 40);
        expect(&reader, (uint64_t)i, 0, &record);
        voc_journal_acknowledge(journal, record.seq, record.end);
    }

    append(journal, 100);
    atomic_store(&journal->shared->seq, 63); /* as if it had died before */
    assert_int_equal(append(journal, 2000), 64);
    expect(&reader, 64, 0, &record);
    assert_int_equal(record.length, 2000);
    assert_int_equal(record.offset, RING);
    voc_journal_close(journal);

    journal = adopt();
    voc_journal_seek(&reader, journal, 63);
    expect(&reader, 64, 0, &record);
    assert_int_equal(record.length, 2000);
    expect_empty(&reader, 0);
    voc_journal_close(journal);
}

/* The other way round: the dead one's stands at the start of the next lap. */
static void
test_unpublished_is_no_head(void **state)
{
    voc_journal_t *journal = create(RING);
    voc_journal_reader_t reader;
    voc_journal_record_t record;

    (void)state;
    append_done(journal, 1024, 63);
    append(journal, 2000);
    atomic_store(&journal->shared->seq, 63);
    assert_int_equal(append(journal, 100), 64);
    voc_journal_close(journal);

    journal = adopt();
    assert_int_equal(voc_journal_head(journal).end, 63 * 1024 + 144);
    voc_journal_seek(&reader, journal, 63);
    expect(&reader, 64, 0, &record);
    assert_int_equal(record.length, 100);
    expect_empty(&reader, 0);
    voc_journal_close(journal);
}

/* ---- the file ----------------------------------------------------------- */

static void
test_created_file(void **state)
{
    voc_journal_options_t options = {directory, RING, 1234, 4321};
    voc_journal_t *journal;
    struct stat st;
    char path[1024];
    int fd;

    (void)state;
    if (geteuid() != 0) {
        options.uid = geteuid();
        options.gid = getegid();
    }

    journal = voc_journal_create(&options, &error);
    assert_non_null(journal);
    assert_int_equal(files("", path, sizeof(path), 0), 1);
    assert_string_equal(path, voc_journal_path(journal));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_uid, options.uid);
    assert_int_equal(st.st_gid, options.gid);
    assert_int_equal(st.st_size, 8192 + RING + RING / 4);
    assert_true(st.st_blocks * 512 >= st.st_size);

    fd = open(path, O_RDWR);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
    assert_int_equal(fcntl(journal->fd, F_GETFD), FD_CLOEXEC);
    voc_journal_close(journal);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
}

/* No error leaves a file behind. */
static void
create_fails(const char *where, int number)
{
    voc_journal_options_t options = {where, RING, (uid_t)-1, (gid_t)-1};

    assert_null(voc_journal_create(&options, &error));
    assert_int_equal(error.number, number);
    assert_non_null(strstr(error.text, where));
    assert_non_null(strstr(error.text, strerror(number)));
}

static void
test_no_room(void **state)
{
    struct rlimit limit, old;

    (void)state;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = RING;
    setrlimit(RLIMIT_FSIZE, &limit);
    create_fails(directory, EFBIG);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(files("", NULL, 0, 0), 0);

    if (mount("none", directory, "tmpfs", 0, "size=32k") == 0) {
        create_fails(directory, ENOSPC);
        assert_int_equal(files("", NULL, 0, 0), 0);
    }
}

static int
teardown_mount(void **state)
{
    umount2(directory, MNT_DETACH); /* fails where nothing is mounted */
    return teardown(state);
}

static void
test_create_errors(void **state)
{
    voc_journal_options_t options = {directory, 1, (uid_t)-1, (gid_t)-1};
    char path[1024];

    (void)state;
    assert_null(voc_journal_create(&options, &error));
    options.size = VOC_JOURNAL_SIZE_MAX + 1;
    assert_null(voc_journal_create(&options, &error));

    snprintf(path, sizeof(path), "%s/none", directory);
    create_fails(path, ENOENT);
    create_fails("/proc", ENOENT); /* even root makes no file there */
    close(open(path, O_CREAT | O_WRONLY, 0600));
    create_fails(path, ENOTDIR);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_round_trip),   T(test_limits),
        T(test_laps),         T(test_skipped_room),
        T(test_full),
        T(test_seek_and_retain), T(test_retain_lasts),
        T(test_unpublished_is_never_read), T(test_unpublished_is_no_head),
        T(test_created_file),
        cmocka_unit_test_setup_teardown(test_no_room, setup,
                                        teardown_mount),
            T(test_create_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
