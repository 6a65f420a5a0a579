/* Leftovers in turn: one pusher at a time, and never before an older one. */

#include "journal_fixture.h"

static voc_journal_directory_t d;

/* A leftover with one event; *id gets its id. */
static void
leave(char *id)
{
    voc_journal_t *journal = create(RING);

    append(journal, 8);
    memcpy(id, voc_journal_id(journal).data, VOC_JOURNAL_ID_LEN);
    voc_journal_close(journal);
}

static voc_journal_t *
next(voc_journal_t *live, int mine, voc_journal_rc want)
{
    voc_journal_t *journal;

    d.path = directory;
    assert_int_equal(voc_journal_adopt_next(live, &d, mine, &journal, &error),
                     want);
    return journal;
}

static void
expect_id(voc_journal_t *journal, const char *id)
{
    assert_non_null(journal);
    assert_memory_equal(voc_journal_id(journal).data, id, VOC_JOURNAL_ID_LEN);
}

/* After a reload: the one before has yet to resign. */
static void
test_one_at_a_time(void **state)
{
    char first[VOC_JOURNAL_ID_LEN], second[VOC_JOURNAL_ID_LEN];
    voc_journal_t *live, *follower, *left, *other;

    (void)state;
    leave(first);
    leave(second);
    live = create(RING);
    follower = create(2 * RING);
    voc_journal_follow(follower, live);

    left = next(live, 0, VOC_JOURNAL_OK);
    expect_id(left, first);
    assert_null(next(live, 0, VOC_JOURNAL_BUSY));
    assert_null(next(follower, 0, VOC_JOURNAL_BUSY));

    /* it goes on with the next one, and then resigns */
    assert_int_equal(voc_journal_retire(left, &error), 0);
    left = next(live, 1, VOC_JOURNAL_OK);
    expect_id(left, second);
    assert_null(next(follower, 0, VOC_JOURNAL_BUSY));
    voc_journal_close(left);

    other = next(follower, 0, VOC_JOURNAL_OK);
    expect_id(other, second);
    assert_null(next(live, 0, VOC_JOURNAL_BUSY));
    assert_int_equal(voc_journal_retire(other, &error), 0);
    assert_null(next(follower, 1, VOC_JOURNAL_EMPTY));

    voc_journal_close(follower);
    voc_journal_close(live);
}

/* Two reloads that change size, and a worker of the first stays. */
static void
test_older_one_pushed(void **state)
{
    voc_journal_t *old = create(RING), *middle, *live, *left;
    char id[VOC_JOURNAL_ID_LEN], numbers[VOC_JOURNAL_ID_LEN];
    uint64_t seq;

    (void)state;
    seq = append(old, 8);
    middle = create(RING);
    voc_journal_follow(middle, old);
    append(middle, 8);
    memcpy(id, voc_journal_id(middle).data, sizeof(id));
    live = create(RING);
    voc_journal_follow(live, middle);
    voc_journal_detach(middle); /* its workers are gone */

    assert_null(next(live, 0, VOC_JOURNAL_BUSY));

    /* who is followed leaves the others' to them */
    assert_null(next(old, 0, VOC_JOURNAL_EMPTY));

    assert_int_equal(voc_journal_acknowledge(old, seq, 48), VOC_JOURNAL_OK);
    left = next(live, 0, VOC_JOURNAL_OK);
    expect_id(left, id);
    voc_journal_close(left);

    /* pending again, but free: now it is the oldest */
    append(old, 8);
    memcpy(numbers, voc_journal_id(old).data, sizeof(numbers));
    assert_null(next(live, 1, VOC_JOURNAL_BUSY));
    voc_journal_detach(old);
    left = next(live, 1, VOC_JOURNAL_OK);
    expect_id(left, numbers);
    voc_journal_close(left);

    voc_journal_close(live);
    voc_journal_close(middle);
    voc_journal_close(old);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_older_one_pushed, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
