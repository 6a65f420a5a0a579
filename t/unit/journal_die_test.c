/*
 * Processes that die while they append, to the window or to the ring: they
 * leave no record twice, none hidden, and none of their own where another's
 * is.
 */

#include "journal_window.h"

static void
expect_length(voc_journal_t *journal, uint64_t seq, size_t length)
{
    voc_journal_reader_t reader;
    voc_journal_record_t record;

    voc_journal_seek(&reader, journal, seq - 1);
    expect(&reader, seq, 0, &record);
    assert_int_equal(record.length, length);
}

static int at_point;

static void
die_at_point(voc_point_e point, voc_journal_t *journal)
{
    (void)journal;
    if ((int)point == at_point) {
        _exit(0);
    }
}

/* A child appends one record, and dies at this point; 1: it came to it. */
static int
dies(voc_journal_t *journal, size_t length, voc_point_e point)
{
    pid_t pid = child();

    if (pid == 0) {
        at_point = (int)point;
        voc_journal_point = die_at_point;
        append(journal, length);
        _exit(1);
    }
    return ended(pid) == 0;
}

static const size_t lengths[] = {60, 3000, LARGE + 8, RING / 4 - 40};

/* The one that comes behind it is there, and it is not; 1: it has died. */
static int
dies_before(size_t left, size_t first, voc_point_e point, size_t next,
            unsigned more)
{
    voc_journal_t *journal = create(RING);
    uint64_t seq = 0, from;
    int died;

    while (RING - voc_journal_head(journal).end > left + 1000) {
        seq = append(journal, 800);
    }
    voc_journal_acknowledge(journal, seq, voc_journal_head(journal).end);
    from = append(journal, 100);

    died = dies(journal, first, point);
    seq = append(journal, next);
    for (; more > 0; more--) {
        append(journal, 70);
    }

    expect_length(journal, seq, next);
    expect_both(journal, from, voc_journal_head(journal).seq);
    journal = adopt();
    expect_length(journal, seq, next);
    voc_journal_close(journal);
    files("", NULL, 0, 1);
    return died;
}

/* One of any size, at any point, with any room left before the ring's end. */
static void
test_dies_anywhere(void **state)
{
    unsigned first, next, left, point, died = 0;

    (void)state;
    for (left = 0; left < 4; left++) {
        for (first = 0; first < 4; first++) {
            for (next = 0; next < 4; next++) {
                for (point = VOC_POINT_LOCKED; point <= VOC_POINT_END;
                     point++) {
                    died += (unsigned)dies_before(lengths[left],
                                                  lengths[first], point,
                                                  lengths[next], point % 2);
                }
            }
        }
    }
    for (first = 0; first < 4; first++) {
        for (next = 0; next < 4; next++) {
            died += (unsigned)dies_before(20000, lengths[first],
                                          VOC_POINT_END, lengths[next], 0);
        }
    }
    assert_in_range(died, 250, 4 * 4 * 4 * 6 + 16);
}

/* What it would have written over is still there for Redis to lose. */
static void
test_dies_before_a_lap(void **state)
{
    voc_journal_t *journal = filled(65, 1000, 65);
    voc_journal_reader_t reader;
    voc_journal_record_t record;

    (void)state;
    assert_true(dies(journal, 3000, VOC_POINT_END));
    append(journal, 60);
    voc_journal_close(journal);
    journal = adopt();
    expect_status(journal, 65, 66);
    voc_journal_seek(&reader, journal, 0);
    expect(&reader, 1, 0, &record);
    voc_journal_close(journal);
}

/* What it has said to be in the ring was not yet published. */
static void
test_dies_moved(void **state)
{
    voc_journal_t *journal = filled(3, 400, 0);

    (void)state;
    assert_true(dies(journal, LARGE, VOC_POINT_END));
    assert_true(moved(journal) > voc_journal_head(journal).end);
    assert_int_equal(voc_journal_lock(journal), VOC_JOURNAL_OK);
    assert_int_equal(moved(journal), voc_journal_head(journal).end);
    voc_journal_unlock(journal);
    voc_journal_close(journal);
}

/* ... and nobody comes after it: at most that one record is there, too. */
static void
test_dies_last(void **state)
{
    unsigned first, point;
    voc_journal_t *journal;
    uint64_t head;
    int died;

    (void)state;
    for (first = 0; first < 4; first++) {
        for (point = VOC_POINT_LOCKED; point <= VOC_POINT_PUBLISHED; point++) {
            journal = filled(40, 1000, 30);
            died = dies(journal, lengths[first], point);
            voc_journal_close(journal);
            journal = adopt();
            head = voc_journal_head(journal).seq;
            assert_int_equal(head, died && point < VOC_POINT_END ? 40 : 41);
            expect_all(journal, 31, head);
            voc_journal_close(journal);
            files("", NULL, 0, 1);
        }
    }
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_dies_anywhere),
        T(test_dies_before_a_lap),
        T(test_dies_moved),
        T(test_dies_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
