/* A pusher that has lost its seat, and does not know it yet. */

#include "pusher_fixture.h"

/* What another one pushes meanwhile, of a ring that is written over. */
static void
nothing_is_lost_that_another_has_pushed(void **state)
{
    char payload[400] = "{";
    uint64_t seq;
    unsigned i;

    (void)state;
    memset(payload + 1, 'x', sizeof(payload) - 1);
    world_start(SMALL_RING);
    world_accept(10);
    world_settle();
    world_check();

    w.serve = 0; /* its batch is on the way */
    world_accept(1);
    world_settle();

    for (i = 0; i < 1000; i++) {
        assert_int_equal(voc_journal_append(w.options.journal, payload,
                                            sizeof(payload), 1, &seq),
                         VOC_JOURNAL_OK);
        assert_int_equal(voc_journal_acknowledge(w.options.journal, seq, 0),
                         VOC_JOURNAL_OK);
    }

    assert_int_equal(voc_journal_append(w.options.journal, payload,
                                        sizeof(payload), 1, &seq),
                     VOC_JOURNAL_OK);
    voc_pusher_wake(w.pusher, w.now);
    world_settle();
    assert_int_equal(counters()->lost, 0);
}

/* It was made before another pushed; then Redis lost that again. */
static void
what_another_has_pushed_is_kept_when_redis_loses_it(void **state)
{
    (void)state;
    w.serve = 0;
    world_start(SMALL_RING);
    world_settle();
    world_events(w.options.journal, 5);
    assert_int_equal(voc_journal_acknowledge(w.options.journal, 5, 0),
                     VOC_JOURNAL_OK);
    model_set(&w.redis, world_cursor_key(w.options.journal), "0");

    w.serve = 1;
    world_settle();
    world_check();
    assert_int_equal(counters()->replayed, 5);
    assert_int_equal(counters()->lost, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        test(nothing_is_lost_that_another_has_pushed),
        test(what_another_has_pushed_is_kept_when_redis_loses_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
