/*
 * Random faults, a seed a run: cuts at any byte, delays, old connections
 * whose bytes arrive late, errors, restored snapshots, lost wakes, pushers
 * and whole starts that end at any moment.  In the end every event is on the
 * list, once, in order.
 *
 *   PUSHER_SEED=n  this seed alone      PUSHER_SEEDS=n  so many
 */

#include "pusher_fixture.h"

#define SEEDS  2000
#define EVENTS 1500 /* of a run, at most */
#define OLD    4    /* connections that Redis has not seen the end of */

static conn_t *old[OLD];
static unsigned nold;
static uint32_t dice;

/* What the runs met, so that they cannot pass by meeting nothing. */
static struct {
    size_t events, starts, pushers, restores, late, errors;
} met;

static uint32_t
roll(uint32_t n)
{
    dice ^= dice << 13;
    dice ^= dice >> 17;
    dice ^= dice << 5;
    return dice % n;
}

static void
drop_old(unsigned i)
{
    conn_free(old[i]);
    old[i] = old[--nold];
}

/* Redis still has what was written, up to some byte, and may see it later. */
static void
keep_old(void)
{
    if (w.conn == NULL) {
        return;
    }

    if (nold < OLD && w.conn->in.len > 0) {
        if (roll(2)) {
            w.conn->in.len -= roll((uint32_t)w.conn->in.len);
        }
        old[nold++] = w.conn;
    } else {
        conn_free(w.conn);
    }

    w.conn = NULL;
}

static void
random_close(void *ctx)
{
    (void)ctx;
    w.connecting = 0;
    w.closes++;
    keep_old();
}

static voc_pusher_ops_t random_ops;

static void
start_pusher(void)
{
    w.pusher = voc_pusher_create(&w.options, &random_ops, NULL);
    assert_non_null(w.pusher);
    voc_pusher_start(w.pusher, w.now);
}

/* As a reload does: another worker's pusher, on the same journal. */
static void
another_pusher(void)
{
    met.pushers++;
    voc_pusher_free(w.pusher);
    keep_old();
    w.connecting = 0;
    w.blocked = 0;
    w.timer_at = NEVER;

    while (w.nretired > 0) {
        voc_journal_close(w.retired[--w.nretired]);
    }

    start_pusher();
}

/* As a crash does: what is left is a file. */
static void
another_start(void)
{
    voc_journal_t *journal = w.options.journal;

    voc_pusher_free(w.pusher);
    keep_old();
    w.connecting = 0;
    w.blocked = 0;
    w.timer_at = NEVER;

    while (w.nretired > 0) {
        voc_journal_close(w.retired[--w.nretired]);
    }

    voc_journal_close(journal);
    w.options.journal = world_journal(4 * SMALL_RING);
    start_pusher();
}

static void
random_fault(void)
{
    static const char *const errors[] = {
        "LOADING x",
        "OOM x",
        "READONLY x",
        "NOSCRIPT x",
        "NOPERM x",
        "BUSY x",
        "WRONGTYPE x",
        "ERR x",
        "ERR Error running script (call to f_x): @user_script:1: -OOM x"};

    w.redis.fault.command = NULL;
    w.redis.fault.error = errors[roll(sizeof(errors) / sizeof(errors[0]))];
    w.redis.fault.times = 1 + (int)roll(3);
}

/* A snapshot that Redis may come back with: its list and cursors then. */
static struct {
    size_t nlist;
    string_t strings[KEYS_MAX];
    unsigned nstrings;
    unsigned starts;
} snapshot;

static unsigned starts;

static void
snapshot_or_restore(void)
{
    if (snapshot.nlist == 0 || snapshot.starts != starts) {
        /* without a cursor there is no replay, so not before there is one */
        if (world_cursor(w.options.journal) != NULL &&
            w.redis.nstrings == 1) {
            snapshot.nlist = w.redis.nlist;
            snapshot.nstrings = w.redis.nstrings;
            memcpy(snapshot.strings, w.redis.strings,
                   sizeof(snapshot.strings));
            snapshot.starts = starts;
        }
        return;
    }

    model_restore(&w.redis, snapshot.nlist, snapshot.strings[0].key,
                  snapshot.strings[0].value);
    met.restores++;

    /* a restart of Redis ends its connections */
    while (nold > 0) {
        drop_old(0);
    }
    if (w.conn != NULL) {
        world_cut("connection closed");
    }

    snapshot.nlist = 0;
}

static void
random_connection(void)
{
    size_t len;
    conn_t *c = w.conn;

    switch (roll(8)) {
    case 0:
    case 1:
    case 2:
        model_serve(&w.redis, c);
        break;
    case 3:
    case 4:
    case 5:
        if (c->out.len > 0) {
            len = roll(2) ? c->out.len : 1 + roll((uint32_t)c->out.len);
            world_deliver(len);
        }
        break;
    case 6:
        w.window = roll(3) ? SIZE_MAX : roll(3000);
        if (w.blocked && w.window > 0) {
            w.blocked = 0;
            voc_pusher_writable(w.pusher, w.now);
        }
        break;
    default:
        if (roll(20) == 0) {
            keep_old();
            w.blocked = 0;
            voc_pusher_closed(w.pusher, w.now, "connection reset");
        }
        break;
    }
}

static void
random_time(void)
{
    uint64_t to = w.now + roll(roll(4) ? 50 : 3000);

    if (w.timer_at <= to) {
        w.now = w.timer_at > w.now ? w.timer_at : w.now;
        w.timer_at = NEVER;
        voc_pusher_timer(w.pusher, w.now);
    } else {
        w.now = to;
    }
}

static void
random_step(int files)
{
    unsigned i;

    switch (roll(16)) {
    case 0:
        if (w.nevents < EVENTS) {
            world_events(w.options.journal, 1 + roll(roll(8) ? 5 : 200));
            if (voc_journal_must_wake(w.options.journal) && roll(10)) {
                voc_pusher_wake(w.pusher, w.now);
            }
        }
        break;
    case 1:
        if (w.connecting) {
            w.answer = roll(4) ? ACCEPT : REFUSE;
            world_step();
        }
        break;
    case 2:
        if (nold > 0) {
            i = roll(nold);
            if (!model_serve(&w.redis, old[i]) || roll(10) == 0) {
                drop_old(i);
            } else {
                met.late++;
            }
        }
        break;
    case 3:
        if (roll(10) == 0) {
            random_fault();
        } else if (roll(20) == 0) {
        } else if (roll(20) == 0) {
            snapshot_or_restore();
        }
        break;
    case 4:
    case 5:
        random_time();
        break;
    case 6:
        if (w.nretired > 0) {
            world_retired();
        } else if (roll(50) == 0) {
            another_pusher();
        } else if (files && roll(50) == 0 && starts < 8) {
            starts++;
            met.starts++;
            another_start();
        }
        break;
    default:
        if (w.conn != NULL) {
            random_connection();
        }
        break;
    }
}

static void
finish(void)
{
    unsigned i;

    w.answer = ACCEPT;
    w.window = SIZE_MAX;
    w.redis.fault.times = 0;

    while (nold > 0) {
        while (model_serve(&w.redis, old[0])) {
        }
        drop_old(0);
    }

    for (i = 0; i < 1000; i++) {
        world_pass(1000);
        if (voc_pusher_pending(w.pusher) == 0 && counters()->up &&
            (w.options.directory == NULL || world_files(0) == 1)) {
            break;
        }
    }
}

static void
run(uint32_t seed)
{
    unsigned i, files = seed % 4 == 0;

    world_make(seed);
    dice = seed * 2246822519u + 3;
    starts = 0;
    nold = 0;
    memset(&snapshot, 0, sizeof(snapshot));

    random_ops = world_ops;
    random_ops.close = random_close;

    if (files) {
        world_directory();
    }

    w.options.journal = world_journal(4 * SMALL_RING);
    start_pusher();

    for (i = 0; i < 1500; i++) {
        random_step((int)files);
    }

    finish();
}

static void
every_event_once_in_order(void **state)
{
    const char *one = getenv("PUSHER_SEED"), *many = getenv("PUSHER_SEEDS");
    uint32_t seed = 1, last = SEEDS;
    size_t i;

    (void)state;

    if (many != NULL) {
        last = (uint32_t)strtoul(many, NULL, 10);
    }
    if (one != NULL) {
        seed = last = (uint32_t)strtoul(one, NULL, 10);
    }

    for (; seed <= last; seed++) {
        run(seed);

        for (i = 0; i < w.nevents || i < w.redis.nlist; i++) {
            if (i >= w.nevents || i >= w.redis.nlist ||
                strcmp(w.events[i], w.redis.list[i]) != 0) {
                fail_msg("seed %u: %zu events, %zu on the list; number %zu: "
                         "%s instead of %s; %s",
                         seed, w.nevents, w.redis.nlist, i,
                         i < w.redis.nlist ? w.redis.list[i] : "none",
                         i < w.nevents ? w.events[i] : "none", w.line);
            }
        }

        if (counters()->lost != 0) {
            fail_msg("seed %u: lost is counted", seed);
        }

        met.events += w.nevents;
        met.errors += counters()->errors;
        world_end();
    }

    print_message("# %zu events, %zu starts, %zu pushers, %zu restores, "
                  "%zu late commands, %zu errors\n",
                  met.events, met.starts, met.pushers, met.restores, met.late,
                  met.errors);

    if (one == NULL && many == NULL) {
        assert_true(met.events > SEEDS && met.starts > 0 &&
                    met.restores > 0 && met.pushers > 0 && met.late > 0 &&
                    met.errors > 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_event_once_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
