/* The journal: which pages of its ring a process has mapped. */

#include "journal_fixture.h"

#define MIB (1024 * 1024)

/* Of n pages from offset on those that this process has mapped. */
static unsigned
mapped_of(const voc_journal_t *journal, uint64_t offset, uint64_t n)
{
    uint64_t entry, first = (uintptr_t)journal->ring / VOC_FILE_PAGE;
    uint64_t page = offset / VOC_FILE_PAGE, end = page + n, place;
    int fd = open("/proc/self/pagemap", O_RDONLY);
    unsigned mapped = 0;

    assert_true(fd != -1);
    for (; page < end; page++) {
        place = first + page % (journal->size / VOC_FILE_PAGE);
        assert_int_equal(pread(fd, &entry, 8, (off_t)(place * 8)), 8);
        mapped += entry >> 63; /* present */
    }
    close(fd);
    return mapped;
}

static unsigned
mapped(const voc_journal_t *journal)
{
    return mapped_of(journal, 0, journal->size / VOC_FILE_PAGE);
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

/* ---- ahead ------------------------------------------------------------- */

#define AHEAD 16 /* pages mapped at once */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Linux before 5.14 cannot, and nothing is amiss then. */
static void
skip_without_populate(void)
{
    void *page = mmap(NULL, VOC_FILE_PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int rc = madvise(page, VOC_FILE_PAGE, MADV_POPULATE_WRITE);

    munmap(page, VOC_FILE_PAGE);
    if (rc == -1) {
        skip();
    }
}

/* Where most of the next records will end. */
static uint64_t
near(const voc_journal_t *journal)
{
    return voc_journal_head(journal).end + 500;
}

static void
test_mapped_ahead(void **state)
{
    voc_journal_t *journal = create(4 * MIB);
    unsigned before;
    uint64_t n;

    (void)state;
    skip_without_populate();

    append_more(journal, 2 * MIB);
    sync_all(journal);
    assert_in_range(mapped(journal), 0, 1);

    append_more(journal, 1000);
    before = mapped(journal);
    assert_in_range(before, AHEAD, 2 * AHEAD);
    append_more(journal, VOC_FILE_PAGE);
    assert_int_equal(mapped(journal), before);

    /* Around the ring's end as well, and never much. */
    for (n = 0; n < 3 * MIB; n += 1000) {
        append_more(journal, 1000);
        assert_int_equal(mapped_of(journal, near(journal), 1), 1);
        if (n % 100000 == 0) {
            assert_in_range(mapped(journal),
                            before + n / VOC_FILE_PAGE - AHEAD,
                            before + n / VOC_FILE_PAGE + AHEAD);
        }
    }
    expect_all(journal, voc_journal_head(journal).seq - KEPT + 1,
               voc_journal_head(journal).seq);
    voc_journal_close(journal);
}

/* Where another process has appended meanwhile nothing behind it is mapped.
 */
static void
test_mapped_from_head(void **state)
{
    voc_journal_t *journal = create(4 * MIB);
    pid_t pid;

    (void)state;
    skip_without_populate();

    append_more(journal, 2 * MIB);
    sync_all(journal);
    pid = child();
    if (pid == 0) {
        append_more(journal, MIB);
        _exit(0);
    }
    assert_int_equal(ended(pid), 0);
    append_more(journal, 1000);
    assert_int_equal(mapped_of(journal, near(journal), 1), 1);
    /* a fault may map some pages around as well */
    assert_in_range(mapped(journal), AHEAD, 2 * AHEAD);
    voc_journal_close(journal);
}

/* A page mapped ahead is written to the disk: not where few come. */
static void
test_few_are_not_mapped_ahead(void **state)
{
    voc_journal_t *journal = create(4 * MIB);

    (void)state;
    append_more(journal, 2 * MIB);
    assert_int_equal(atomic_load(&journal->mapped), UINT64_MAX);

    sync_all(journal);
    append_more(journal, MIB / 2);
    assert_in_range(atomic_load(&journal->mapped), near(journal),
                    near(journal) + AHEAD * VOC_FILE_PAGE);

    sync_all(journal);
    append_more(journal, MIB);
    assert_int_equal(atomic_load(&journal->mapped), UINT64_MAX);
    voc_journal_close(journal);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_unmapped),
        T(test_unmapped_by_child),
        T(test_mapped_ahead),
        T(test_mapped_from_head),
        T(test_few_are_not_mapped_ahead),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
