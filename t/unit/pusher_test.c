/* The pusher, while nothing fails: greeting, batches, cursor, sleep. */

#include "pusher_fixture.h"

/* ---- greeting ---------------------------------------------------------- */

static void
it_connects_at_once_and_looks_before_it_pushes(void **state)
{
    char get[160];

    (void)state;
    world_start(RING);
    assert_int_equal(w.connects, 1);

    world_settle();
    snprintf(get, sizeof(get), "GET %s", world_cursor_key(w.options.journal));
    assert_string_equal(world_said(0), "ROLE");
    assert_string_equal(world_said(1), get);
    assert_int_equal(counters()->connects, 1);
    assert_int_equal(counters()->up, 1);
    assert_string_equal(w.line, "taking events, 0 waiting");
}

static void
auth_goes_alone(void **state)
{
    (void)state;
    w.redis.user = "pusher";
    w.redis.password = "s3cret";
    w.options.user = (voc_str_t)voc_str("pusher");
    w.options.password = (voc_str_t)voc_str("s3cret");
    w.options.db = 3;
    w.deliver = 0;

    world_start(RING);
    world_settle();
    assert_int_equal(w.redis.nlog, 1);
    assert_string_equal(world_said(0), "AUTH pusher s3cret");

    w.deliver = 1;
    world_settle();
    assert_string_equal(world_said(1), "SELECT 3");
    assert_string_equal(world_said(2), "ROLE");

    world_accept(3);
    world_settle();
    world_check();
    assert_null(strstr(w.all, "s3cret"));
}

static void
auth_without_user(void **state)
{
    (void)state;
    w.redis.password = "p";
    w.options.password = (voc_str_t)voc_str("p");
    world_start(RING);
    world_settle();
    assert_string_equal(world_said(0), "AUTH p");
    assert_int_equal(counters()->up, 1);
}

/* ---- batches ----------------------------------------------------------- */

static void
a_single_event_goes_at_once(void **state)
{
    (void)state;
    world_start(RING);
    world_settle();
    world_accept(1);
    assert_true(w.conn->in.len > 0);
    world_settle();
    world_check();
    assert_int_equal(counters()->pushed, 1);
    assert_int_equal(voc_pusher_pending(w.pusher), 0);
    assert_string_equal(world_cursor(w.options.journal), "1");
}

static void
in_flight_only_full_batches_follow(void **state)
{
    unsigned n;

    (void)state;
    world_start(RING);
    world_settle();
    n = w.redis.nlog;

    w.deliver = 0;
    world_accept(1);
    world_settle();
    assert_string_equal(world_said(n), "EVAL 0 1 +1");

    /* 999 wait, the thousandth makes them a batch */
    world_accept(999);
    voc_pusher_wake(w.pusher, w.now);
    world_settle();
    assert_int_equal(w.redis.nlog, n + 1);

    world_accept(1);
    voc_pusher_wake(w.pusher, w.now);
    world_settle();
    assert_string_equal(world_said(n + 1), "EVAL 1 1001 +1000");

    world_accept(5);
    voc_pusher_wake(w.pusher, w.now);
    world_settle();
    assert_int_equal(w.redis.nlog, n + 2);
    assert_int_equal(counters()->pushed, 0);

    w.deliver = 1;
    world_settle();
    assert_string_equal(world_said(n + 2), "EVAL 1001 1006 +5");
    world_check();
}

static void
batches_in_flight_are_bounded(void **state)
{
    unsigned n;

    (void)state;
    world_start(RING);
    world_settle();
    n = w.redis.nlog;
    w.deliver = 0;
    world_accept(6500);
    world_settle();
    assert_int_equal(w.redis.nlog, n + VOC_PUSHER_IN_FLIGHT);

    w.deliver = 1;
    world_settle();
    assert_int_equal(w.redis.nlog, n + 7);
    world_check();
    assert_int_equal(counters()->pushed, 6500);
}

static void
batches_are_bounded_in_bytes(void **state)
{
    static char payload[VOC_JOURNAL_PAYLOAD_MAX];
    unsigned i, n;

    (void)state;
    world_start(16 * 1024 * 1024);
    world_settle();
    n = w.redis.nlog;
    memset(payload, 'x', sizeof(payload));

    world_append(w.options.journal, payload, 10);
    for (i = 0; i < 12; i++) {
        assert_int_equal(world_append(w.options.journal, payload, 300000), 0);
    }
    world_append(w.options.journal, payload, sizeof(payload));
    world_append(w.options.journal, payload, 20);
    voc_pusher_wake(w.pusher, w.now);
    world_settle();
    world_check();

    assert_string_equal(world_said(n), "EVAL 0 4 +4");
    assert_string_equal(world_said(n + 1), "EVAL 4 7 +3");
    assert_string_equal(world_said(n + 4), "EVAL 13 14 +1");
    assert_string_equal(world_said(n + 5), "EVAL 14 15 +1");
}

static void
partial_sends_go_on(void **state)
{
    (void)state;
    w.window = 0;
    world_start(RING);
    world_accept(50);

    while (world_step() || w.redis.nlist < 50) {
        w.window = 7;
    }

    world_check();
}

/* ---- the cursor -------------------------------------------------------- */

static void
it_goes_on_behind_the_cursor(void **state)
{
    (void)state;
    w.options.journal = world_journal(RING);
    world_events(w.options.journal, 10);
    model_set(&w.redis, world_cursor_key(w.options.journal), "4");
    world_start(RING);
    assert_int_equal(voc_pusher_pending(w.pusher), 10);
    world_settle();

    assert_int_equal(w.redis.nlist, 6);
    assert_string_equal(w.redis.list[0], w.events[4]);
    assert_int_equal(counters()->pushed, 10);
    assert_int_equal(counters()->replayed, 0);
    assert_int_equal(counters()->lost, 0);
}

/* A crash between Redis' answer and our acknowledging it. */
static void
a_higher_cursor_is_acknowledged(void **state)
{
    voc_journal_status_t status;

    (void)state;
    w.options.journal = world_journal(RING);
    world_events(w.options.journal, 10);
    model_set(&w.redis, world_cursor_key(w.options.journal), "10");
    world_start(RING);
    world_settle();

    voc_journal_status(w.options.journal, &status);
    assert_int_equal(status.tail, 10);
    assert_int_equal(status.bytes, 0);
    assert_int_equal(w.redis.nlist, 0);
    assert_int_equal(voc_pusher_pending(w.pusher), 0);
}

static void
what_redis_lost_is_pushed_again(void **state)
{
    (void)state;
    world_start(RING);
    world_accept(100);
    world_settle();
    world_check();

    /* a snapshot of before, with a new connection as after a restart */
    model_restore(&w.redis, 40, world_cursor_key(w.options.journal), "40");
    world_cut("connection closed");
    world_pass(100);
    world_check();
    assert_int_equal(counters()->replayed, 60);
    assert_int_equal(counters()->lost, 0);
    assert_non_null(strstr(w.all, "60 are pushed again, 0 are no longer"));

    /* and it is counted once, though the connection breaks again */
    world_cut("connection closed");
    world_pass(100);
    assert_int_equal(counters()->replayed, 60);
    world_accept(5);
    world_pass(100);
    world_check();
}

static void
what_is_no_longer_held_is_counted(void **state)
{
    uint64_t lost;

    (void)state;
    world_start(SMALL_RING);
    while (w.nevents < 3000) {
        world_accept(100);
        world_settle();
    }
    world_check();

    model_restore(&w.redis, 10, world_cursor_key(w.options.journal), "10");
    world_cut("connection closed");
    w.redis.mute = 100; /* and no answer, so that all begins again */
    world_pass(100);
    w.redis.mute = 0;
    world_pass(20000);

    lost = counters()->lost;
    assert_true(lost > 1000 && lost < 2990);
    assert_int_equal(counters()->replayed + lost, 2990);
    assert_int_equal(w.redis.nlist, 10 + counters()->replayed);
    assert_string_equal(w.redis.list[10], w.events[10 + lost]);
    assert_string_equal(w.redis.list[w.redis.nlist - 1], w.events[2999]);
    assert_int_equal(voc_pusher_pending(w.pusher), 0);

    world_cut("connection closed");
    world_pass(6000);
    world_accept(1);
    world_pass(100);
    assert_int_equal(counters()->lost, lost);
}

static void
without_a_cursor_it_goes_on_behind_the_tail(void **state)
{
    (void)state;
    world_start(RING);
    world_accept(10);
    world_settle();

    model_restore(&w.redis, 0, world_cursor_key(w.options.journal), NULL);
    world_accept(5);
    world_settle();
    assert_int_equal(w.redis.nlist, 5);
    assert_string_equal(w.redis.list[0], w.events[10]);
    assert_int_equal(w.level, VOC_LOG_WARN);
    assert_non_null(strstr(w.line, "going on behind event 10"));
}

static void
a_foreign_cursor_holds_and_skips_nothing(void **state)
{
    static const char *const foreign[] = {"11",
                                          "abc",
                                          "007",
                                          "-1",
                                          "",
                                          "18446744073709551616",
                                          "99999999999999999999999"};
    unsigned i;

    (void)state;
    w.options.journal = world_journal(RING);
    world_events(w.options.journal, 10);
    model_set(&w.redis, world_cursor_key(w.options.journal), "abc");
    world_start(RING);

    for (i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        model_set(&w.redis, world_cursor_key(w.options.journal), foreign[i]);
        world_pass(120000);
        assert_int_equal(w.redis.nlist, 0);
        assert_int_equal(voc_pusher_pending(w.pusher), 10);
    }

    assert_int_equal(w.level, VOC_LOG_ALERT);
    assert_int_equal(w.lines, 1);

    model_set(&w.redis, world_cursor_key(w.options.journal), "0");
    world_pass(VOC_PUSHER_HOLD_MAX);
    world_check();
    assert_int_equal(w.lines, 2);
}

/* What an old connection held back arrives between cursor and batch. */
static void
another_cursor_is_realigned_to(void **state)
{
    conn_t *old;

    (void)state;
    world_start(RING);
    world_settle();
    w.serve = 0;
    world_accept(20);

    old = w.conn;
    w.conn = NULL;
    voc_pusher_closed(w.pusher, w.now, "connection reset");
    w.now += 200;
    world_settle();
    assert_int_equal(w.connects, 2);

    while (w.redis.nlist == 0) {
        /* greeting and cursor only: the batch waits for the old one's */
        if (memmem(w.conn->in.data, w.conn->in.len, "EVAL", 4) == NULL) {
            model_serve(&w.redis, w.conn);
            w.deliver = 1;
            world_settle();
        } else {
            model_serve(&w.redis, old);
        }
    }

    w.serve = 1;
    world_pass(200);
    world_check();
    conn_free(old);
}

/* ---- sleep ------------------------------------------------------------- */

static void
it_sleeps_when_idle_and_only_then(void **state)
{
    (void)state;
    w.answer = HANG;
    world_start(RING);
    assert_false(voc_journal_must_wake(w.options.journal));

    w.answer = ACCEPT;
    world_settle();
    assert_false(voc_journal_must_wake(w.options.journal));
    world_events(w.options.journal, 1);
    assert_true(voc_journal_must_wake(w.options.journal));
    voc_pusher_wake(w.pusher, w.now);
    world_settle();
    world_events(w.options.journal, 1);
    assert_true(voc_journal_must_wake(w.options.journal));
    voc_pusher_wake(w.pusher, w.now);

    world_cut("connection closed");
    world_events(w.options.journal, 1);
    assert_false(voc_journal_must_wake(w.options.journal));
    voc_pusher_wake(w.pusher, w.now);
    world_pass(200);
    world_check();
}

static void
a_lost_wake_costs_a_second(void **state)
{
    (void)state;
    world_start(RING);
    world_settle();
    world_events(w.options.journal, 1);
    world_pass(1000);
    world_check();
}

static void
it_pings_when_idle(void **state)
{
    unsigned n;

    (void)state;
    world_start(RING);
    world_settle();
    n = w.redis.nlog;
    world_pass(VOC_PUSHER_PING - 1);
    assert_int_equal(w.redis.nlog, n);
    world_pass(1);
    world_settle();
    assert_string_equal(world_said(n), "PING");
    world_pass(10 * VOC_PUSHER_PING);
    assert_int_equal(w.connects, 1);
    assert_int_equal(w.redis.nlog, n + 11);
}

static void
without_time(void)
{
    while (world_step()) {
    }
}

/* Behind a batch the next one gathers: for a moment, or a few events. */
static void
few_events_gather(void **state)
{
    uint64_t now;

    (void)state;
    world_directory();
    world_start(SMALL_RING);
    world_settle();

    world_accept(1);
    without_time();
    assert_int_equal(w.redis.nlist, 1);
    world_accept(VOC_PUSHER_FEW - 1);
    without_time();
    assert_int_equal(w.redis.nlist, 1);
    world_accept(1);
    without_time();
    assert_int_equal(w.redis.nlist, 1 + VOC_PUSHER_FEW);

    now = w.now;
    world_accept(1);
    without_time();
    assert_int_equal(w.redis.nlist, 1 + VOC_PUSHER_FEW);
    w.now = w.timer_at;
    without_time();
    assert_int_equal(w.redis.nlist, 2 + VOC_PUSHER_FEW);
    assert_int_equal(w.now, now + VOC_PUSHER_GATHER);

    /* who comes alone does not wait */
    world_pass(2 * VOC_PUSHER_GATHER);
    world_accept(1);
    without_time();
    world_check();
}

/* So many each ms, until that is known; then all of them are on the list. */
static void
world_rate(unsigned events)
{
    unsigned i;

    for (i = 0; i < 3 * VOC_PUSHER_RECENT; i++) {
        w.now++;
        world_accept(events);
        without_time();
    }

    while (w.redis.nlist < w.nevents) {
        w.now = w.timer_at;
        without_time();
    }
}

/* The batch that was just sent is followed by one that gathers for ms. */
static void
assert_gathers(unsigned events, uint64_t ms)
{
    uint64_t now = w.now;
    size_t n = w.redis.nlist;

    world_accept(events);
    without_time();
    assert_int_equal(w.redis.nlist, n);
    w.now = w.timer_at;
    without_time();
    assert_int_equal(w.now, now + ms);
    assert_int_equal(w.redis.nlist, n + events);
}

static void
assert_goes(unsigned events)
{
    world_accept(events);
    without_time();
    world_check();
}

/* Where many come the next batch is of many. */
static void
many_events_gather(void **state)
{
    (void)state;
    world_directory();
    world_start(SMALL_RING);
    world_settle();

    world_rate(VOC_PUSHER_MANY - 1);
    assert_goes(VOC_PUSHER_FEW);

    world_rate(2 * VOC_PUSHER_MANY);
    assert_gathers(2 * VOC_PUSHER_FEW, VOC_PUSHER_GATHER_MANY);

    /* behind silence they are few */
    world_pass(1000);
    assert_goes(1);
    assert_goes(VOC_PUSHER_FEW);
}

/* Where it is other work that takes the time it is held up least often. */
static void
the_busy_gather(void **state)
{
    (void)state;
    world_directory();
    world_start(SMALL_RING);
    world_settle();
    w.busy = 50;

    world_rate(VOC_PUSHER_SOME / 2 - 1);
    assert_gathers(2 * VOC_PUSHER_FEW, VOC_PUSHER_GATHER_BUSY);

    /* who comes alone does not wait */
    world_pass(1000);
    assert_goes(1);

    /* it is they who take it */
    world_rate(VOC_PUSHER_SOME / 2 + 3);
    assert_goes(VOC_PUSHER_FEW);
    w.busy = 100;
    world_rate(VOC_PUSHER_SOME / 2 + 3);
    assert_gathers(2 * VOC_PUSHER_FEW, VOC_PUSHER_GATHER_BUSY);

    w.busy = VOC_PUSHER_TAKEN - 1;
    world_rate(2);
    assert_goes(VOC_PUSHER_FEW);
    w.busy = VOC_PUSHER_TAKEN;
    world_rate(2);
    assert_gathers(2 * VOC_PUSHER_FEW, VOC_PUSHER_GATHER_BUSY);
}

/* Where few events come, others are not held up by them, whatever they do. */
static void
few_events_do_not_gather(void **state)
{
    unsigned i;

    (void)state;
    world_directory();
    world_start(SMALL_RING);
    world_settle();
    w.busy = 100;

    for (i = 0; i < 3 * VOC_PUSHER_RECENT; i++) {
        w.now += VOC_PUSHER_SELDOM + 1;
        assert_goes(1);
    }

    world_rate(VOC_PUSHER_SOME / 2 - 1);
    assert_gathers(1, VOC_PUSHER_GATHER_BUSY);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        test(it_connects_at_once_and_looks_before_it_pushes),
        test(auth_goes_alone),
        test(auth_without_user),
        test(a_single_event_goes_at_once),
        test(in_flight_only_full_batches_follow),
        test(batches_in_flight_are_bounded),
        test(batches_are_bounded_in_bytes),
        test(partial_sends_go_on),
        test(it_goes_on_behind_the_cursor),
        test(a_higher_cursor_is_acknowledged),
        test(what_redis_lost_is_pushed_again),
        test(what_is_no_longer_held_is_counted),
        test(without_a_cursor_it_goes_on_behind_the_tail),
        test(a_foreign_cursor_holds_and_skips_nothing),
        test(another_cursor_is_realigned_to),
        test(it_sleeps_when_idle_and_only_then),
        test(a_lost_wake_costs_a_second),
        test(it_pings_when_idle),
        test(few_events_gather),
        test(many_events_gather),
        test(the_busy_gather),
        test(few_events_do_not_gather),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
