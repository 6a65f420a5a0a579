/* The journal's window: what stands in it, and what comes to the ring. */

#include <sys/resource.h>

#include "journal_window.h"

/* 1: a record validates at this offset of the ring, or of the window. */
static int
has(const voc_journal_t *journal, const voc_area_t *area, uint64_t offset)
{
    voc_file_record_t header;

    return voc_record_header(journal, area, offset % area->size, &header) &&
           header.offset == offset &&
           voc_record_load(journal, area, &header, NULL);
}

static void
flip_window(const char *path, uint64_t place)
{
    char byte;

    peek(path, VOC_FILE_WINDOW + place, &byte, 1);
    byte ^= 0x10;
    poke(path, VOC_FILE_WINDOW + place, &byte, 1);
}

static void
test_size(void **state)
{
    (void)state;
    assert_int_equal(voc_window_size(VOC_JOURNAL_SIZE_MIN), WINDOW);
    assert_int_equal(voc_window_size(100 * 1024), 24 * 1024);
    assert_int_equal(voc_window_size(64 << 20), 128 * 1024);
    assert_int_equal(voc_window_size(VOC_JOURNAL_SIZE_MAX), 128 * 1024);
}

/* The ring gets them a quarter of the window at a time. */
static void
test_moves(void **state)
{
    voc_journal_t *journal = create(RING);
    uint64_t i, end;

    (void)state;
    for (i = 1; i <= 200; i++) {
        append(journal, 200 - VOC_RECORD_HEADER);
        voc_journal_acknowledge(journal, i, i * 200);
        end = voc_journal_head(journal).end;
        assert_in_range(end - moved(journal), 200, WINDOW / 4);
        assert_true(has(journal, &journal->window, end - 200));
        if (moved(journal) < end - 200) {
            assert_false(has(journal, &journal->ring, end - 200));
        }
        if (moved(journal) > 0) {
            assert_true(
                has(journal, &journal->ring, (moved(journal) - 1) / 200 * 200));
        }
    }
    expect_both(journal, 100, 200);
}

/* Laps of ring and window, records of all sizes: each is found, twice. */
static void
test_laps(void **state)
{
    voc_journal_t *journal = create(RING);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    uint64_t i, random = 7, in_window = 0, split = 0, last = 0;

    (void)state;
    voc_journal_seek(&reader, journal, 0);
    for (i = 1; i <= 3000; i++) {
        assert_int_equal(append(journal, next_random(&random) % 1200), i);
        expect(&reader, i, 0, &record);
        in_window += has(journal, &journal->window, record.offset);
        split += record.offset % WINDOW + record.length + 40 > WINDOW;
        if (i % 7 == 0) {
            voc_journal_acknowledge(journal, i, record.end);
            last = i;
        }
        if (i % 200 == 0) { /* as much as is held, from the oldest on */
            expect_all(journal, last + 1, i);
            voc_journal_seek(&reader, journal, i);
        }
    }
    assert_int_equal(in_window, 3000);
    assert_true(split > 50);
    expect_both(journal, last, 3000);
}

static void
test_large(void **state)
{
    voc_journal_t *journal = create(RING);
    uint64_t end;

    (void)state;
    append(journal, 100);
    append(journal, LARGE - VOC_RECORD_HEADER); /* the largest that is not */
    assert_true(has(journal, &journal->window, 144));
    append(journal, LARGE);
    end = voc_journal_head(journal).end;
    assert_int_equal(moved(journal), end);
    assert_false(has(journal, &journal->window, 144 + LARGE));
    assert_true(has(journal, &journal->ring, 144 + LARGE));
    append(journal, 100);
    assert_true(has(journal, &journal->window, end));
    assert_false(has(journal, &journal->ring, end));
    append(journal, LARGE + 1000);
    append(journal, LARGE + 5000);
    assert_true(has(journal, &journal->ring, end));
    append(journal, 5);
    expect_both(journal, 1, 7);
}

/* The largest there is, where the ring is large. */
static void
test_largest(void **state)
{
    voc_journal_t *journal = create(16 << 20);

    (void)state;
    append(journal, 100);
    append(journal, VOC_JOURNAL_PAYLOAD_MAX);
    append(journal, 64 * 1024);
    append(journal, 64 * 1024 - VOC_RECORD_HEADER);
    append(journal, VOC_JOURNAL_PAYLOAD_MAX);
    append(journal, 100);
    expect_both(journal, 1, 6);
}

/* In memory the window is the ring. */
static void
test_memory(void **state)
{
    voc_journal_t *journal = create_memory(RING);
    uint64_t i, seq;

    (void)state;
    assert_ptr_equal(journal->window.bytes, journal->ring.bytes);
    for (i = 0; i < 300; i++) {
        seq = append(journal, i % 10 == 0 ? LARGE + 10 : 500);
        voc_journal_acknowledge(journal, seq, voc_journal_head(journal).end);
    }
    expect_all(journal, 280, 300);
    voc_journal_close(journal);
}

/* ---- what a start finds ------------------------------------------------- */

/* Nothing of it has come to the ring. */
static void
test_recovers_window(void **state)
{
    voc_journal_t *journal = filled(10, 400, 3);
    char before[RING], after[RING], path[1024];

    (void)state;
    snprintf(path, sizeof(path), "%s", voc_journal_path(journal));
    assert_int_equal(moved(journal), 0);
    voc_journal_close(journal);

    peek(path, RING_AT, before, RING);
    journal = adopt();
    expect_status(journal, 3, 10);
    expect_all(journal, 1, 10);
    voc_journal_close(journal);
    peek(path, RING_AT, after, RING);
    assert_memory_equal(before, after, RING); /* it only reads */
}

/* A window of no bytes: the ring starts where it would be. */
static void
test_no_window(void **state)
{
    char path[1024], ring[RING];
    voc_file_header_t header;
    voc_journal_t *journal;

    (void)state;
    left_behind_settled(10, 400, 3, path);
    peek(path, RING_AT, ring, RING);
    poke(path, VOC_FILE_WINDOW, ring, RING);
    peek(path, 0, &header, sizeof(header));
    header.header_size = VOC_FILE_WINDOW;
    header.crc = voc_crc32c(0, &header, offsetof(voc_file_header_t, crc));
    poke(path, 0, &header, sizeof(header));
    journal = adopt();
    expect_all(journal, 4, 10);
    voc_journal_close(journal);
}

static void
test_impossible_window(void **state)
{
    static const uint32_t sizes[] = {4096, 8191, 8200, 8192 + RING + 4096};
    voc_file_header_t header;
    voc_journal_t *journal;
    char path[1024];
    unsigned i;

    (void)state;
    left_behind(10, 400, 3, path);
    peek(path, 0, &header, sizeof(header));
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        header.header_size = sizes[i];
        header.crc = voc_crc32c(0, &header, offsetof(voc_file_header_t, crc));
        poke(path, 0, &header, sizeof(header));
        assert_int_equal(adopt_it(&journal), VOC_JOURNAL_REFUSED);
        assert_non_null(strstr(error.text, "impossible values"));
    }
}

/* Cut behind it, or in it: what it has left is found. */
static void
test_cut_behind_window(void **state)
{
    voc_journal_t *journal;
    char path[1024];

    (void)state;
    left_behind(5, 400, 3, path);
    assert_int_equal(truncate(path, RING_AT), 0);
    journal = adopt();
    expect_status(journal, 3, 5);
    expect_all(journal, 1, 5);
    assert_int_equal(voc_journal_check(journal, &error), VOC_JOURNAL_FAILED);
    assert_non_null(strstr(error.text, "was truncated"));
    voc_journal_close(journal);

    assert_int_equal(truncate(path, VOC_FILE_WINDOW + 800), 0);
    journal = adopt();
    expect_status(journal, 0, 2);
    voc_journal_close(journal);
}

/* A torn one in the middle of the window; then the last one. */
static void
test_damaged_window(void **state)
{
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    voc_journal_t *journal;
    char path[1024];

    (void)state;
    left_behind(5, 400, 0, path);
    flip_window(path, 2 * 400 + 100);
    journal = adopt();
    expect_status(journal, 0, 5);
    voc_journal_seek(&reader, journal, 0);
    expect(&reader, 1, 0, &record);
    expect(&reader, 2, 0, &record);
    expect(&reader, 4, 1, &record);
    expect(&reader, 5, 0, &record);
    expect_empty(&reader, 0);
    voc_journal_close(journal);

    flip_window(path, 4 * 400 + 100);
    journal = adopt();
    expect_status(journal, 0, 5);
    voc_journal_seek(&reader, journal, 3);
    expect(&reader, 4, 0, &record);
    expect_empty(&reader, 1);
    voc_journal_close(journal);
}

/* Live: a scan finds what is in the window alone, moved or not. */
static void
test_scan(void **state)
{
    voc_journal_t *journal = filled(30, 400, 0);
    const char *path = voc_journal_path(journal);
    uint64_t bad = moved(journal) / 400 - 4;
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    uint64_t i;

    (void)state;
    assert_in_range(bad, 10, 28);
    journal->window.bytes[bad * 400 % WINDOW + 50] ^= 1;
    journal->window.bytes[(bad + 1) * 400 % WINDOW + 50] ^= 1;
    for (i = bad; i < bad + 4; i++) {
        flip(path, i * 400 + 50);
    }
    voc_journal_seek(&reader, journal, 0);
    for (i = 1; i <= 30; i++) {
        if (i != bad + 1 && i != bad + 2) {
            expect(&reader, i, i == bad + 3 ? 2 : 0, &record);
        }
    }
    expect_empty(&reader, 0);
    voc_journal_close(journal);
}

/* What is as good as new in the ring, with a window of laps ago. */
static void
test_old_window(void **state)
{
    voc_journal_t *journal = filled(20, 400, 20);
    char path[1024], window[WINDOW];
    uint64_t seq;

    (void)state;
    snprintf(path, sizeof(path), "%s", voc_journal_path(journal));
    memcpy(window, journal->window.bytes, WINDOW);
    do {
        seq = append(journal, 400 - VOC_RECORD_HEADER);
        if (seq < 300) {
            voc_journal_acknowledge(journal, seq,
                                    voc_journal_head(journal).end);
        }
    } while (seq < 400);
    settled(journal);
    voc_journal_close(journal);

    poke(path, VOC_FILE_WINDOW, window, WINDOW);
    journal = adopt();
    expect_status(journal, 299, 400);
    expect_all(journal, 300, 400);
    voc_journal_close(journal);
}

/* ---- what fails ---------------------------------------------------------- */

/* The file may not be written: what was accepted can still be read. */
static void
test_cannot_be_written(void **state)
{
    voc_journal_t *journal = create(RING);
    struct rlimit limit, none = {0, 0};
    voc_journal_rc rc = VOC_JOURNAL_OK;
    uint64_t seq = 0, synced;

    (void)state;
    append(journal, 100);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    none.rlim_max = limit.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    while (rc == VOC_JOURNAL_OK && seq < 1000) {
        rc = voc_journal_append(journal, "", 0, NOW, &seq);
    }
    assert_int_equal(voc_journal_sync(journal, &synced, &error),
                     VOC_JOURNAL_FAILED);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, SIG_DFL);

    assert_int_equal(rc, VOC_JOURNAL_FAILED);
    assert_in_range(seq, 90, 110);
    assert_int_equal(synced, 0);
    assert_int_equal(error.number, EFBIG);
    assert_int_equal(voc_journal_head(journal).seq, seq);
    voc_journal_close(journal);

    journal = adopt();
    assert_int_equal(voc_journal_head(journal).seq, seq);
    voc_journal_close(journal);
}

/* Cut under a running nginx, in the window: no SIGBUS, and nothing synced. */
static void
test_cut(void **state)
{
    voc_journal_t *journal = filled(3, 400, 0);
    uint64_t seq, synced;

    (void)state;
    assert_int_equal(truncate(voc_journal_path(journal),
                              RING_AT + RING - 4096),
                     0);
    assert_int_equal(voc_journal_sync(journal, &synced, &error),
                     VOC_JOURNAL_FAILED);
    assert_non_null(strstr(error.text, "was truncated"));
    assert_int_equal(synced, 0);
    assert_int_equal(voc_journal_append(journal, "", 0, NOW, &seq),
                     VOC_JOURNAL_FAILED);
    voc_journal_close(journal);

    journal = filled(3, 400, 0);
    assert_int_equal(truncate(voc_journal_path(journal), 4096), 0);
    assert_int_equal(voc_journal_append(journal, "", 0, NOW, &seq),
                     VOC_JOURNAL_FAILED);
    voc_journal_close(journal);
}

/* A sync has all of it in the ring first. */
static void
test_sync(void **state)
{
    voc_journal_t *journal = filled(3, 400, 0);
    uint64_t synced;

    (void)state;
    assert_int_equal(moved(journal), 0);
    assert_int_equal(voc_journal_sync(journal, &synced, &error), 0);
    assert_int_equal(synced, 3);
    assert_int_equal(moved(journal), 1200);
    settled(journal);
    expect_both(journal, 1, 3);
}

/* Who is stopped inside the lock keeps syncs from their end, not for ever. */
static void
test_sync_waits(void **state)
{
    voc_journal_t *journal = filled(3, 400, 0);
    uint64_t synced = 7, begin;
    int pipes[2];
    pid_t pid;
    char c;

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    pid = child();
    if (pid == 0) {
        voc_journal_lock(journal);
        c = 'x';
        if (write(pipes[1], &c, 1) == 1) {
            raise(SIGSTOP);
        }
        voc_journal_unlock(journal);
        _exit(0);
    }
    assert_int_equal(read(pipes[0], &c, 1), 1);

    begin = now_ms();
    assert_int_equal(voc_journal_sync(journal, &synced, &error),
                     VOC_JOURNAL_BUSY);
    assert_in_range(now_ms() - begin, VOC_JOURNAL_LOCK_WAIT - 50, 5000);
    assert_int_equal(synced, 0);
    assert_int_equal(voc_journal_sync(journal, &synced, &error),
                     VOC_JOURNAL_BUSY);
    kill(pid, SIGCONT);
    assert_int_equal(ended(pid), 0);
    assert_int_equal(voc_journal_sync(journal, &synced, &error), 0);
    assert_int_equal(synced, 3);
    close(pipes[0]);
    close(pipes[1]);
    voc_journal_close(journal);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_size),
        T(test_moves),
        T(test_laps),
        T(test_large),
        T(test_largest),
        T(test_memory),
        T(test_recovers_window),
        T(test_no_window),
        T(test_impossible_window),
        T(test_cut_behind_window),
        T(test_damaged_window),
        T(test_scan),
        T(test_old_window),
        T(test_cannot_be_written),
        T(test_cut),
        T(test_sync),
        T(test_sync_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
