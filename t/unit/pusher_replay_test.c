/* The pusher, when batches have to be pushed again. */

#include "pusher_fixture.h"

/* Appends until the ring is full; how many went in. */
static unsigned
fill(void)
{
    char payload[32];
    unsigned n = 0;

    while (world_append(w.options.journal, payload,
                        (size_t)snprintf(payload, sizeof(payload),
                                         "{\"n\":%zu", w.nevents)) ==
           VOC_JOURNAL_OK) {
        n++;
    }

    return n;
}

/* What is pushed again is pending again: no append takes its room. */
static void
what_is_pushed_again_is_not_overwritten(void **state)
{
    (void)state;
    world_start(SMALL_RING);
    world_accept(500);
    world_settle();

    model_restore(&w.redis, 40, world_cursor_key(w.options.journal), "40");
    w.redis.fault = (fault_t){"EVAL", "OOM command not allowed", 1};
    world_cut("connection closed");
    world_pass(200);
    assert_int_equal(counters()->replayed, 460);
    assert_int_equal(voc_pusher_pending(w.pusher), 460);

    assert_in_range(fill(), 100, 905);
    world_pass(10000);
    world_check();
    assert_int_equal(counters()->lost, 0);
    assert_int_equal(counters()->replayed, 460);
}

static void
redis_may_lose_it_more_than_once(void **state)
{
    unsigned i;

    (void)state;
    world_start(SMALL_RING);
    world_accept(100);
    world_settle();

    for (i = 1; i <= 20; i++) {
        model_restore(&w.redis, 70, world_cursor_key(w.options.journal),
                      "70");
        world_cut("connection closed");
        world_pass(200);
        world_check();
        assert_int_equal(counters()->replayed, 30 * i);
    }

    assert_int_equal(counters()->lost, 0);
}

/* ... and what is no longer held is counted once, however often it is read.
 */
static void
an_error_in_between_counts_nothing_twice(void **state)
{
    uint64_t lost;

    (void)state;
    world_start(SMALL_RING);
    while (w.nevents < 3000) {
        world_accept(100);
        world_settle();
    }

    model_restore(&w.redis, 10, world_cursor_key(w.options.journal), "10");
    w.redis.fault = (fault_t){"EVAL", "OOM command not allowed", 3};
    world_cut("connection closed");
    world_pass(100);
    lost = counters()->lost;
    assert_in_range(lost, 1000, 2989);
    assert_int_equal(counters()->replayed, 2990 - lost);

    world_pass(60000);
    assert_int_equal(w.redis.fault.times, 0);
    assert_int_equal(counters()->lost, lost);
    assert_int_equal(counters()->replayed, 2990 - lost);
    assert_int_equal(w.redis.nlist, 3000 - lost);
}

/* Redis answers the first of four batches with an error, the rest later. */
static void
after_an_error_all_answers_are_awaited(void **state)
{
    unsigned n;

    (void)state;
    world_start(RING);
    world_settle();
    n = w.redis.nlog;
    w.deliver = 0;
    w.redis.fault = (fault_t){"EVAL", "TRYAGAIN x", 1};
    world_accept(4000);
    world_settle();
    assert_int_equal(w.redis.nlog, n + 4);

    while (w.conn->out.len > 1) {
        world_deliver(1);
        assert_int_equal(w.conn->in.len, 0);
    }

    w.deliver = 1;
    world_pass(10000);
    world_check();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        test(what_is_pushed_again_is_not_overwritten),
        test(redis_may_lose_it_more_than_once),
        test(an_error_in_between_counts_nothing_twice),
        test(after_an_error_all_answers_are_awaited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
