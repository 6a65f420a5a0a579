/* A journal's file: is it on the disk, is it still there. */

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

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_sync),
        T(test_truncated),
        T(test_deleted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
