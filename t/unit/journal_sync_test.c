/* A journal's file: is it on the disk, is it still there, what is mapped. */

#include "journal_fixture.h"

static void
test_sync(void **state)
{
    voc_journal_t *journal = create(RING);
    uint64_t synced;
    int null, good;

    (void)state;
    append(journal, 10);
    append(journal, 10);
    assert_int_equal(voc_journal_synced(journal), 0);
    assert_int_equal(voc_journal_sync(journal, &synced, &error), 0);
    assert_int_equal(synced, 2);
    assert_int_equal(voc_journal_synced(journal), 2);

    /* A descriptor that cannot be synced stands for a broken disk. */
    good = dup(journal->sync_fd);
    null = open("/dev/null", O_RDONLY);
    dup2(null, journal->sync_fd);
    close(null);
    assert_int_equal(voc_journal_sync(journal, &synced, &error), 0);
    append(journal, 10);
    assert_int_equal(voc_journal_sync(journal, &synced, &error),
                     VOC_JOURNAL_FAILED);
    assert_int_equal(error.number, EINVAL);
    assert_non_null(strstr(error.text, voc_journal_path(journal)));
    assert_int_equal(synced, 2);
    assert_int_equal(voc_journal_append(journal, "", 0, NOW, &synced),
                     VOC_JOURNAL_FAILED);

    /* Nor does it count when the disk says that all is well again. */
    dup2(good, journal->sync_fd);
    close(good);
    assert_int_equal(voc_journal_sync(journal, &synced, &error),
                     VOC_JOURNAL_FAILED);
    assert_int_equal(synced, 2);
    voc_journal_close(journal);

    journal = create_memory(RING);
    append(journal, 10);
    assert_int_equal(voc_journal_sync(journal, &synced, &error), 0);
    assert_int_equal(synced, 1);
    assert_int_equal(voc_journal_synced(journal), 1);
    assert_int_equal(voc_journal_check(journal, &error), 0);
    voc_journal_close(journal);
}

static void
test_truncated(void **state)
{
    voc_journal_t *journal = create(RING);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    uint64_t seq;

    (void)state;
    append(journal, 100);
    append(journal, 9000);
    assert_int_equal(voc_journal_check(journal, &error), VOC_JOURNAL_OK);
    assert_int_equal(truncate(voc_journal_path(journal), 3 * 4096), 0);

    assert_int_equal(voc_journal_append(journal, "x", 1, NOW, &seq),
                     VOC_JOURNAL_FAILED);
    voc_journal_seek(&reader, journal, 0);
    expect(&reader, 1, 0, &record);
    assert_int_equal(truncate(voc_journal_path(journal), 0), 0);
    expect_empty(&reader, 1);
    assert_int_equal(voc_journal_acknowledge(journal, 1, record.end),
                     VOC_JOURNAL_FAILED);
    assert_int_equal(voc_journal_check(journal, &error), VOC_JOURNAL_FAILED);
    voc_journal_close(journal);

    journal = create(RING);
    assert_int_equal(truncate(voc_journal_path(journal), 3 * 4096), 0);
    assert_int_equal(voc_journal_check(journal, &error), VOC_JOURNAL_FAILED);
    assert_non_null(strstr(error.text, "was truncated"));
    assert_int_equal(voc_journal_append(journal, "x", 1, NOW, &seq),
                     VOC_JOURNAL_FAILED);
    voc_journal_close(journal);
}

static void
test_deleted(void **state)
{
    voc_journal_t *journal = create(RING);
    voc_journal_reader_t reader;
    voc_journal_record_t record;
    uint64_t seq;

    (void)state;
    append(journal, 100);
    assert_int_equal(unlink(voc_journal_path(journal)), 0);
    assert_int_equal(voc_journal_check(journal, &error), VOC_JOURNAL_FAILED);
    assert_non_null(strstr(error.text, "was deleted"));
    assert_int_equal(voc_journal_append(journal, "x", 1, NOW, &seq),
                     VOC_JOURNAL_FAILED);

    /* What was accepted before can still be delivered. */
    voc_journal_seek(&reader, journal, 0);
    expect(&reader, 1, 0, &record);
    voc_journal_acknowledge(journal, 1, record.end);
    assert_int_equal(voc_journal_tail(journal).seq, 1);
    voc_journal_close(journal);
}

/* ---- what stays mapped ---------------------------------------------------- */

#define MIB (1024 * 1024)

/* Pages of the ring that this process has mapped: bit 63 of its pagemap. */
static unsigned
mapped(const voc_journal_t *journal)
{
    uint64_t entry, page, first = (uintptr_t)journal->ring / VOC_FILE_PAGE;
    int fd = open("/proc/self/pagemap", O_RDONLY);
    unsigned n = 0;

    assert_true(fd != -1);
    for (page = 0; page < journal->size / VOC_FILE_PAGE; page++) {
        assert_int_equal(
            pread(fd, &entry, 8, (off_t)((first + page) * 8)), 8);
        n += entry >> 63;
    }
    close(fd);
    return n;
}

#define KEPT 1000 /* records, the last ones: those before are done with */

/* Records of 1000 bytes of ring. */
static void
append_more(voc_journal_t *journal, uint64_t bytes)
{
    uint64_t seq, n;

    for (n = 0; n < bytes / 1000; n++) {
        seq = append(journal, 1000 - VOC_RECORD_HEADER);
        if (seq > KEPT) {
            /* an end that is a little too low is none too high */
            assert_int_equal(voc_journal_acknowledge(journal, seq - KEPT,
                                                     (seq - KEPT) * 1000),
                             VOC_JOURNAL_OK);
        }
    }
}

/* Moves the map to where memory of the test's own follows: that memory. */
static char *
map_before(voc_journal_t *journal, size_t size)
{
    char *map = mmap(NULL, journal->map_size + size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(map != MAP_FAILED);
    assert_true(mmap(map, journal->map_size, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_FIXED, journal->fd, 0) == map);
    munmap(journal->map, journal->map_size);
    journal->map = map;
    journal->ring = map + VOC_FILE_RING;
    return memset(map + journal->map_size, 1, size);
}

static void
sync_all(voc_journal_t *journal)
{
    uint64_t synced;

    assert_int_equal(voc_journal_sync(journal, &synced, &error), 0);
    assert_int_equal(synced, voc_journal_head(journal).seq);
}

static void
test_unmapped(void **state)
{
    voc_journal_t *journal = create(4 * MIB);
    char *behind = map_before(journal, 8 * MIB);
    unsigned before;
    uint64_t lap;

    (void)state;

    /* Little is not worth it. */
    append_more(journal, MIB / 2);
    before = mapped(journal);
    assert_in_range(before, MIB / 2 / VOC_FILE_PAGE - 1, MIB / VOC_FILE_PAGE);
    sync_all(journal);
    assert_int_equal(mapped(journal), before);

    append_more(journal, MIB);
    sync_all(journal);
    assert_in_range(mapped(journal), 0, 1);

    /* Around the ring's end, and more than a lap at once. */
    for (lap = 1; lap <= 4; lap++) {
        append_more(journal, lap * 2 * MIB);
        assert_true(mapped(journal) > 2 * MIB / VOC_FILE_PAGE - 2);
        sync_all(journal);
        assert_in_range(mapped(journal), 0, 1);
        expect_all(journal, voc_journal_head(journal).seq - KEPT + 1,
                   voc_journal_head(journal).seq);
    }
    assert_ptr_equal(memchr(behind, 0, 8 * MIB), NULL);

    /* What was read since then has had its turn. */
    before = mapped(journal);
    assert_true(before > 1);
    sync_all(journal);
    append_more(journal, MIB / 2);
    sync_all(journal);
    assert_true(mapped(journal) >= before);

    munmap(behind, 8 * MIB);
    voc_journal_close(journal);
}

/* Each process unmaps its own, also where another one has synced. */
static void
test_unmapped_by_child(void **state)
{
    voc_journal_t *journal = create(4 * MIB);
    pid_t pid;

    (void)state;
    append_more(journal, 2 * MIB);
    pid = child();
    if (pid == 0) {
        expect_all(journal, 1, voc_journal_head(journal).seq);
        append_more(journal, MIB);
        sync_all(journal);
        _exit(mapped(journal) > 1);
    }
    assert_int_equal(ended(pid), 0);
    assert_true(mapped(journal) > MIB / VOC_FILE_PAGE);
    sync_all(journal);
    assert_in_range(mapped(journal), 0, 1);
    expect_all(journal, voc_journal_head(journal).seq - KEPT + 1,
               voc_journal_head(journal).seq);
    voc_journal_close(journal);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_sync),     T(test_truncated),         T(test_deleted),
        T(test_unmapped), T(test_unmapped_by_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
