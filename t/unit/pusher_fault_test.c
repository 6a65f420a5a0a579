/* The pusher, when something fails: replies, connections, time, memory. */

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "pusher_fixture.h"
#include "voc_journal_file.h"
#include "voc_pusher_private.h"

/* ---- the reply table ------------------------------------------------ */

typedef struct {
    const char *error;
    int stays;         /* connected */
    uint64_t min, max; /* ms until the next try */
    int rediscover;
    voc_log_e level;
} row_t;

static const row_t rows[] = {
    {"LOADING Redis is loading", 1, 50, 5000, 0, VOC_LOG_ERROR},
    {"BUSY Redis is busy", 1, 50, 5000, 0, VOC_LOG_ERROR},
    {"MASTERDOWN Link with MASTER is down", 1, 50, 5000, 0, VOC_LOG_ERROR},
    {"CLUSTERDOWN Hash slot not served", 1, 50, 5000, 0, VOC_LOG_ERROR},
    {"TRYAGAIN Multiple keys", 1, 50, 5000, 0, VOC_LOG_ERROR},
    {"ERR max number of clients reached", 1, 50, 5000, 0, VOC_LOG_ERROR},
    {"READONLY You can't write", 0, 50, 5000, 1, VOC_LOG_ERROR},
    {"UNBLOCKED force unblock", 0, 50, 5000, 1, VOC_LOG_ERROR},
    {"NOREPLICAS Not enough", 1, 1000, 30000, 0, VOC_LOG_ERROR},
    {"OOM command not allowed", 1, 1000, 30000, 0, VOC_LOG_ERROR},
    {"MISCONF Redis is configured", 1, 1000, 30000, 0, VOC_LOG_ERROR},
    {"NOAUTH Authentication required.", 0, 30000, 60000, 0, VOC_LOG_ALERT},
    {"WRONGPASS invalid", 0, 30000, 60000, 0, VOC_LOG_ALERT},
    {"NOPERM no permissions", 0, 30000, 60000, 0, VOC_LOG_ALERT},
    {"WRONGTYPE Operation against", 1, 1000, 30000, 0, VOC_LOG_ALERT},
    {"CROSSSLOT Keys in request", 1, 1000, 30000, 0, VOC_LOG_ALERT},
    {"ERR unknown command 'EVAL'", 1, 1000, 30000, 0, VOC_LOG_ALERT},
    {"MOVED 3999 127.0.0.1:6381", 1, 1000, 30000, 0, VOC_LOG_ALERT},
    {"ASK 3999 127.0.0.1:6381", 1, 1000, 30000, 0, VOC_LOG_ALERT},
    {"ERR whatever else", 1, 1000, 30000, 0, VOC_LOG_ALERT},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* The next command or connection attempt; returns how long it took. */
static uint64_t
until_next_try(void)
{
    uint64_t start = w.now;
    unsigned nlog = w.redis.nlog, connects = w.connects;

    while (w.redis.nlog == nlog && w.connects == connects) {
        assert_true(w.timer_at != NEVER);
        world_settle();
        if (w.redis.nlog == nlog && w.connects == connects) {
            w.now = w.timer_at;
            world_settle();
        }
        /* what keeps an idle connection up is no try */
        if (w.redis.nlog == nlog + 1 &&
            strcmp(world_said(nlog), "PING") == 0) {
            nlog++;
        }
    }

    return w.now - start;
}

static void
check_row(const row_t *row, uint32_t seed)
{
    unsigned i, closes, lines;
    uint64_t took;

    world_make(seed);
    world_start(RING);
    world_settle();
    closes = w.closes;
    lines = w.lines;

    w.redis.fault = (fault_t){"EVAL", row->error, 4};
    world_accept(30);

    for (i = 0; i < 4; i++) {
        world_settle();
        assert_int_equal(w.closes, row->stays ? closes : closes + i + 1);
        assert_int_equal(counters()->up, 0);
        assert_int_equal(w.redis.nlist, 0);
        assert_int_equal(w.level, row->level);
        assert_int_equal(w.lines, lines + 1);

        took = until_next_try();
        if (took < row->min || took > row->max) {
            fail_msg("%s: %" PRIu64 " ms", row->error, took);
        }
        if (!row->stays) {
            assert_int_equal(w.rediscover, row->rediscover);
        }
    }

    assert_int_equal(counters()->errors, 4);
    world_pass(120000);
    world_check();
    assert_string_equal(w.line, "taking events again, 20 waiting");
    assert_int_equal(w.lines, lines + 2);
    world_end();
}

static void
every_reply_has_its_action(void **state)
{
    unsigned i, seed;

    (void)state;

    for (i = 0; i < ROWS; i++) {
        for (seed = 1; seed <= 20; seed++) {
            check_row(&rows[i], seed);
        }
    }

    world_make(1);
    world_start(RING);
}

/* In a pipeline the fence refuses what comes behind an error. */
static void
an_error_in_a_pipeline_keeps_the_order(void **state)
{
    unsigned i;

    (void)state;

    for (i = 0; i < ROWS; i++) {
        world_make(i + 1);
        world_start(RING);
        world_settle();
        w.serve = 0;
        world_accept(3500);
        world_settle();
        w.redis.fault = (fault_t){NULL, rows[i].error, 1};
        w.serve = 1;
        world_pass(60000);
        world_check();
        assert_int_equal(counters()->pushed, 3500);
        world_end();
    }

    world_make(1);
    world_start(RING);
}

static void
after_an_error_the_first_batch_is_small(void **state)
{
    (void)state;
    world_start(RING);
    world_settle();
    w.redis.fault = (fault_t){"EVAL", "OOM no", 1};
    world_accept(2000);
    world_pass(1500);
    assert_string_equal(world_said(w.redis.nlog - 3), "EVAL 0 10 +10");
    assert_string_equal(world_said(w.redis.nlog - 2), "EVAL 10 1010 +1000");
    world_check();
}

/* Two different errors in one pipeline: the second one is not looked at. */
static void
the_first_error_of_a_pipeline_counts(void **state)
{
    unsigned i, lines;

    (void)state;
    world_start(RING);
    world_settle();
    w.serve = w.deliver = 0;
    world_accept(3500);
    world_settle();
    lines = w.lines;

    for (i = 0; i < 2; i++) {
        w.redis.fault =
            (fault_t){"RPUSH", i == 0 ? "OOM no" : "WRONGTYPE no", 1};
        while (w.redis.fault.times > 0) {
            assert_true(model_serve(&w.redis, w.conn));
        }
    }
    w.serve = w.deliver = 1;
    world_settle();
    assert_int_equal(w.lines, lines + 1);
    assert_non_null(strstr(w.line, "OOM"));
    world_pass(VOC_PUSHER_HOLD_MAX);
    world_check();
}

static void
a_push_takes_the_hold_back(void **state)
{
    (void)state;
    world_start(RING);
    world_settle();
    w.redis.fault = (fault_t){"EVAL", "OOM no", 4};
    world_accept(1);
    world_pass(60000);
    world_check();

    w.redis.fault = (fault_t){"EVAL", "OOM no", 1};
    world_accept(1);
    while (world_step()) {
    }
    assert_int_equal(w.redis.fault.times, 0);
    assert_in_range(until_next_try(), VOC_PUSHER_HOLD_MIN,
                    VOC_PUSHER_HOLD_MIN + VOC_PUSHER_GATHER_MANY);
    world_pass(10);
    world_check();
}

/* Someone else writes it, again and again. */
static void
a_cursor_that_keeps_changing_is_no_tight_loop(void **state)
{
    unsigned i, n;

    (void)state;
    world_start(RING);
    world_settle();
    w.serve = 0;
    world_accept(20);
    n = w.redis.nlog;

    for (i = 0; i < 60000; i++) {
        world_pass(1);
        while (w.conn != NULL && w.conn->in.len > 0) {
            if (memmem(w.conn->in.data, w.conn->in.len, "EVAL", 4) != NULL) {
                model_set(&w.redis, world_cursor_key(w.options.journal),
                          w.redis.nlog % 4 < 2 ? "1" : "2");
            }
            model_serve(&w.redis, w.conn);
        }
    }
    assert_in_range(w.redis.nlog - n, 20, 200);
    assert_int_equal(w.redis.nlist, 0);
}

/* ---- greeting ---------------------------------------------------------- */

static void
errors_of_the_greeting_close(void **state)
{
    static const struct {
        const char *command, *error;
        uint64_t min;
        int rediscover;
    } greetings[] = {
        {"AUTH", "WRONGPASS invalid username-password pair", 30000, 0},
        {"AUTH", "ERR invalid password", 30000, 0},
        {"AUTH", "ERR max number of clients reached", 50, 0},
        {"SELECT", "ERR DB index is out of range", 1000, 0},
        {"ROLE", "NOPERM this user has no permissions", 30000, 0},
        {"ROLE", "UNBLOCKED", 50, 1},
    };
    unsigned i;

    (void)state;

    for (i = 0; i < sizeof(greetings) / sizeof(greetings[0]); i++) {
        world_make(i + 1);
        w.redis.password = "pw";
        w.options.password = (voc_str_t)voc_str("pw");
        w.options.db = 1;
        w.redis.fault =
            (fault_t){greetings[i].command, greetings[i].error, 1};
        world_start(RING);
        world_accept(1);
        world_settle();
        assert_int_equal(w.closes, 1);
        assert_int_equal(w.redis.nlist, 0);
        assert_true(w.timer_at - w.now >= greetings[i].min);

        w.now = w.timer_at;
        world_settle();
        assert_int_equal(w.rediscover, greetings[i].rediscover);
        world_pass(100);
        world_check();
        world_end();
    }

    world_make(1);
    world_start(RING);
}

static void
a_replica_is_left_for_the_master(void **state)
{
    (void)state;
    w.redis.role = "slave";
    world_start(RING);
    world_accept(1);
    world_settle();
    assert_int_equal(w.closes, 1);
    assert_false(w.rediscover);
    world_pass(30000);
    assert_true(w.rediscover);
    assert_int_equal(w.redis.nlist, 0);
    assert_int_equal(w.lines, 1);

    w.redis.role = "master";
    world_pass(VOC_PUSHER_BACKOFF_MAX);
    world_check();
}

/* ---- the connection ---------------------------------------------------- */

static void
a_lost_reply_costs_no_event_and_no_repetition(void **state)
{
    (void)state;
    world_start(RING);
    world_accept(5);
    world_settle();

    w.deliver = 0;
    world_accept(2500);
    world_settle();
    assert_int_equal(w.redis.nlist, 2005);
    world_cut("connection reset");
    w.deliver = 1;
    world_pass(200);
    world_check();
    assert_int_equal(counters()->pushed, 2505);
    assert_int_equal(counters()->replayed, 0);
    assert_int_equal(voc_pusher_pending(w.pusher), 0);
}

static void
a_failed_send_is_a_lost_connection(void **state)
{
    (void)state;
    world_start(RING);
    world_settle();
    w.send_fails = 1;
    world_accept(1);
    assert_int_equal(w.closes, 1);
    w.send_fails = 0;
    world_pass(200);
    world_check();
}

static void
each_phase_has_its_deadline(void **state)
{
    (void)state;

    w.answer = HANG;
    world_start(RING);
    world_pass(999);
    assert_int_equal(w.closes, 0);
    world_pass(1);
    assert_int_equal(w.closes, 1);

    /* TCP and greeting together */
    while (w.connects == 1) {
        world_pass(1);
    }
    world_pass(600);
    w.serve = 0;
    w.answer = ACCEPT;
    world_pass(399);
    assert_int_equal(w.closes, 1);
    world_pass(1);
    assert_int_equal(w.closes, 2);
    w.serve = 1;
    world_pass(5000);
    assert_int_equal(counters()->up, 1);

    w.serve = 0;
    world_accept(1);
    world_pass(4999);
    assert_int_equal(w.closes, 2);
    world_pass(1);
    assert_int_equal(w.closes, 3);

    /* the cursor's answer */
    w.serve = 1;
    w.redis.fault = (fault_t){"GET", "BUSY", 1};
    world_pass(10);
    while (w.redis.fault.times > 0) {
        world_pass(10);
    }
    w.serve = 0;
    world_pass(7000);
    assert_int_equal(w.closes, 4);
    w.serve = 1;
    world_pass(5000);
    world_check();

    /* and of an idle connection */
    w.serve = 0;
    while (w.conn->in.len == 0) {
        world_pass(1);
    }
    world_pass(4990);
    assert_int_equal(w.closes, 4);
    world_pass(10);
    assert_int_equal(w.closes, 5);
}

static void
a_slow_but_steady_send_is_no_timeout(void **state)
{
    unsigned i;

    (void)state;
    world_start(RING);
    world_settle();
    w.window = 0;
    world_accept(1000);

    for (i = 0; i < 100 && w.redis.nlist == 0; i++) {
        w.window = 2000;
        world_pass(2000);
    }
    assert_true(i > 5);
    w.window = SIZE_MAX;
    world_pass(10);
    world_check();
    assert_int_equal(w.closes, 0);

    w.window = 0;
    world_accept(1000);
    world_pass(5000);
    assert_int_equal(w.closes, 1);
}

static void
what_is_not_redis_is_left(void **state)
{
    static const char *const garbage[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n", "+OK\r\n", ":1\r\n",
        "-ERR max number of clients reached\r\n",
        "*2\r\n$6\r\nmaster\r\n:1\r\n$1\r\n1\r\n$1\r\n1\r\n"};
    unsigned i;
    size_t n;

    (void)state;
    world_start(RING);

    for (i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        world_pass(6000);
        n = w.closes;
        w.serve = 0;
        bytes_add(&w.conn->out, garbage[i], strlen(garbage[i]));
        world_deliver(w.conn->out.len);
        assert_int_equal(w.closes, n + 1);
        w.serve = 1;
    }

    world_pass(6000);
    world_accept(1);
    world_settle();
    world_check();
}

static void
unread_replies_are_bounded(void **state)
{
    unsigned i;

    (void)state;
    world_start(RING);
    world_settle();
    w.serve = 0;
    world_accept(1);
    bytes_add(&w.conn->out, "$100000000\r\n", 12);

    for (i = 0; i < 2048 && w.closes == 0; i++) {
        world_deliver(w.conn->out.len);
        if (w.conn != NULL) {
            bytes_add(&w.conn->out,
                      "0123456789abcdef0123456789abcdef"
                      "0123456789abcdef0123456789abcdef",
                      64);
        }
    }

    assert_in_range(i, 1000, 1030);
    assert_int_equal(w.closes, 1);
}

/* ---- the journal's lock ------------------------------------------------ */

/* A worker is stopped within it: what Redis confirmed is acknowledged as soon
 * as the lock is free, and nothing is pushed again. */
static void
a_held_lock_delays_the_acknowledgement(void **state)
{
    unsigned timers = 0, i;
    uint64_t end;
    pid_t pid;

    (void)state;
    world_start(RING);
    world_settle();
    w.serve = 0;
    world_accept(20);

    pid = fork();
    assert_true(pid != -1);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        voc_journal_lock(w.options.journal);
        raise(SIGSTOP);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);

    w.serve = 1;
    while (world_step()) {
    }
    world_check();
    assert_int_equal(counters()->pushed, 20);
    assert_int_equal(voc_journal_tail(w.options.journal).seq, 0);

    /* it looks now and then, and does not spin */
    for (end = w.now + 10000; w.timer_at <= end; timers++) {
        w.now = w.timer_at;
        while (world_step()) {
        }
    }
    assert_in_range(timers, 10, 10000 / VOC_PUSHER_BUSY + 20);
    assert_int_equal(voc_journal_tail(w.options.journal).seq, 0);

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    for (i = 0; i < 20 && voc_journal_tail(w.options.journal).seq == 0; i++) {
        world_pass(VOC_PUSHER_BUSY);
    }
    assert_int_equal(voc_journal_tail(w.options.journal).seq, 20);
    world_accept(1);
    world_pass(10);
    world_check();
    assert_int_equal(counters()->replayed, 0);
    assert_int_equal(w.closes, 0);
}

/* ---- backoff ----------------------------------------------------------- */

static void
backoff_grows_has_jitter_and_an_end(void **state)
{
    uint64_t took, least = UINT64_MAX, most = 0, first;
    unsigned i;

    (void)state;
    w.answer = REFUSE;
    world_start(RING);
    first = until_next_try();
    assert_in_range(first, VOC_PUSHER_BACKOFF_MIN, 100);

    for (i = 0; i < 10; i++) {
        until_next_try();
    }

    for (i = 0; i < 200; i++) {
        took = until_next_try();
        assert_in_range(took, VOC_PUSHER_BACKOFF_MIN, VOC_PUSHER_BACKOFF_MAX);
        least = took < least ? took : least;
        most = took > most ? took : most;
    }

    assert_true(least < 1000 && most > 4000);
    assert_int_equal(w.lines, 1);
    assert_int_equal(w.level, VOC_LOG_ERROR);
    assert_string_equal(w.line, "connection refused; events stay in "
                                "the journal");

    /* only a push takes it back */
    w.answer = ACCEPT;
    world_pass(VOC_PUSHER_BACKOFF_MAX);
    assert_int_equal(w.lines, 2);
    world_accept(1);
    world_pass(10);
    world_check();
    world_cut("connection closed");
    assert_in_range(w.timer_at - w.now, 50, 100);
}

static void
accept_and_close_is_no_tight_loop(void **state)
{
    unsigned connects;

    (void)state;
    world_start(RING);
    world_pass(10);

    connects = w.connects;
    while (w.now < 120000) {
        world_pass(1);
        if (w.conn != NULL) {
            world_cut("connection closed");
        }
    }
    assert_in_range(w.connects - connects, 24, 100);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        test(every_reply_has_its_action),
        test(an_error_in_a_pipeline_keeps_the_order),
        test(after_an_error_the_first_batch_is_small),
        test(the_first_error_of_a_pipeline_counts),
        test(a_push_takes_the_hold_back),
        test(a_cursor_that_keeps_changing_is_no_tight_loop),
        test(errors_of_the_greeting_close),
        test(a_replica_is_left_for_the_master),
        test(a_lost_reply_costs_no_event_and_no_repetition),
        test(a_failed_send_is_a_lost_connection),
        test(each_phase_has_its_deadline),
        test(a_slow_but_steady_send_is_no_timeout),
        test(what_is_not_redis_is_left),
        test(unread_replies_are_bounded),
        test(a_held_lock_delays_the_acknowledgement),
        test(backoff_grows_has_jitter_and_an_end),
        test(accept_and_close_is_no_tight_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
