/*
 * The pusher's world in its tests: a clock, a transport, a directory, and
 * what has to be on the list in the end.
 */

#ifndef PUSHER_FIXTURE_H
#define PUSHER_FIXTURE_H

#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "redis_model.h"
#include "voc_pusher.h"

#define NEVER UINT64_MAX

#define SMALL_RING (64 * 1024)
#define RING       (1024 * 1024)

/* ---- the world ------------------------------------------------------ */

typedef enum { ACCEPT, REFUSE, HANG } answer_e;

typedef struct {
    voc_pusher_t *pusher;
    voc_pusher_options_t options;
    voc_journal_directory_t directory;
    char path[256];
    uint64_t now, timer_at;
    model_t redis;
    conn_t *conn;
    int connecting, rediscover; /* rediscover: of the last connect() */
    unsigned connects, closes;
    answer_e answer;
    int serve, deliver;
    int not_yet; /* the live journal has to wait */
    unsigned busy; /* percent */
    int hold_retired;
    size_t window; /* bytes that send() takes, SIZE_MAX: all */
    int blocked;
    int send_fails;
    voc_journal_t *retired[16];
    unsigned nretired;
    voc_log_e level; /* of the last line */
    char line[600];
    unsigned lines;
    char all[64 * 1024]; /* lines, as far as they fit */
    uint32_t seed;
    char **events;
    size_t nevents, events_size;
} world_t;

static world_t w;

static inline void
world_connect(void *ctx, int rediscover)
{
    (void)ctx;
    assert_null(w.conn);
    assert_false(w.connecting);
    w.connecting = 1;
    w.rediscover = rediscover;
    w.connects++;
}

/* What a closed connection still holds is lost, unless a test keeps it. */
static inline void
world_close(void *ctx)
{
    (void)ctx;
    w.connecting = 0;
    w.closes++;
    conn_free(w.conn);
    w.conn = NULL;
}

static inline ssize_t
world_send(void *ctx, const char *data, size_t len)
{
    (void)ctx;
    assert_non_null(w.conn);
    assert_true(len > 0);

    if (w.send_fails) {
        return -1;
    }

    if (len > w.window) {
        len = w.window;
    }

    if (len == 0) {
        w.blocked = 1;
        return 0;
    }

    if (w.window != SIZE_MAX) {
        w.window -= len;
    }

    bytes_add(&w.conn->in, data, len);

    return (ssize_t)len;
}

static inline void
world_timer(void *ctx, uint64_t ms)
{
    (void)ctx;
    w.timer_at = ms == VOC_NO_TIMER ? NEVER : w.now + ms;
}

static inline uint32_t
world_random(void *ctx)
{
    (void)ctx;
    w.seed ^= w.seed << 13;
    w.seed ^= w.seed >> 17;
    w.seed ^= w.seed << 5;
    return w.seed;
}

static inline void
world_log(void *ctx, voc_log_e level, const char *text)
{
    size_t len = strlen(w.all);

    (void)ctx;
    w.level = level;
    w.lines++;
    snprintf(w.line, sizeof(w.line), "%s", text);
    snprintf(w.all + len, sizeof(w.all) - len, "%s\n", text);

    if (getenv("PUSHER_TEST_LOG") != NULL) {
        fprintf(stderr, "# %" PRIu64 " [%d] %s\n", w.now, level, text);
    }
}

static inline int
world_may_begin(void *ctx)
{
    (void)ctx;
    return !w.not_yet;
}

static inline unsigned
world_busy(void *ctx)
{
    (void)ctx;
    return w.busy;
}

static inline void
world_retire(void *ctx, voc_journal_t *journal)
{
    (void)ctx;
    assert_true(w.nretired < 16);
    w.retired[w.nretired++] = journal;
}

static const voc_pusher_ops_t world_ops = {
    world_connect, world_close,     world_send, world_timer,  world_random,
    world_log,     world_may_begin, world_busy, world_retire};

static inline voc_journal_t *
world_journal(uint64_t size)
{
    voc_error_t error;
    voc_journal_t *journal;
    voc_journal_options_t options = {.directory =
                                         w.path[0] != '\0' ? w.path : NULL,
                                     .size = size,
                                     .uid = (uid_t)-1,
                                     .gid = (gid_t)-1};

    journal = voc_journal_create(&options, &error);
    if (journal == NULL) {
        fail_msg("%s", error.text);
    }

    return journal;
}

static inline void
world_directory(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(w.path, sizeof(w.path), "%s/voc-pusher-XXXXXX",
             tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
    assert_non_null(mkdtemp(w.path));
    w.directory.path = w.path;
    w.options.directory = &w.directory;
}

/* Names of journals in the directory; all removed where wanted. */
static inline unsigned
world_files(int remove_them)
{
    unsigned n = 0;
    char path[600];
    struct dirent *entry;
    DIR *dir = opendir(w.path);

    assert_non_null(dir);

    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            n++;
            snprintf(path, sizeof(path), "%s/%s", w.path, entry->d_name);
            if (remove_them) {
                unlink(path);
            }
        }
    }

    closedir(dir);
    return n;
}

static inline void
world_make(uint32_t seed)
{
    memset(&w, 0, sizeof(w));
    w.timer_at = NEVER;
    w.now = 1000;
    w.window = SIZE_MAX;
    w.serve = 1;
    w.deliver = 1;
    w.seed = seed * 2654435761u + 1;
    w.redis.role = "master";
    w.options.key = (voc_str_t)voc_str(KEY);
    w.options.connect_timeout = 1000;
    w.options.timeout = 5000;
}

static inline void
world_start(uint64_t size)
{
    if (w.options.journal == NULL) {
        w.options.journal = world_journal(size);
    }

    w.pusher = voc_pusher_create(&w.options, &world_ops, NULL);
    assert_non_null(w.pusher);
    voc_pusher_start(w.pusher, w.now);
}

static inline void
world_expect(const char *event)
{
    if (w.nevents == w.events_size) {
        w.events_size = w.events_size * 2 + 64;
        w.events = realloc(w.events, w.events_size * sizeof(char *));
        assert_non_null(w.events);
    }

    w.events[w.nevents++] = strdup(event);
}

static inline voc_journal_rc
world_append(voc_journal_t *journal, const char *payload, size_t len)
{
    uint64_t seq;
    size_t size = len + 128;
    char *event;
    voc_journal_rc rc;

    rc = voc_journal_append(journal, payload, len, 1700000000000ULL, &seq);
    if (rc == VOC_JOURNAL_OK) {
        event = malloc(size);
        assert_non_null(event);
        snprintf(event, size,
                 "%.*s,\"received\":\"2023-11-14T22:13:20.000Z\","
                 "\"seq\":\"%.16s:%" PRIu64 "\"}",
                 (int)len, payload, voc_journal_id(journal).data, seq);
        world_expect(event);
        free(event);
    }

    return rc;
}

static inline void
world_events(voc_journal_t *journal, unsigned n)
{
    char payload[32];

    while (n-- > 0) {
        assert_int_equal(
            world_append(journal, payload,
                         (size_t)snprintf(payload, sizeof(payload),
                                          "{\"n\":%zu", w.nevents)),
            VOC_JOURNAL_OK);
    }
}

/* As the request handler does. */
static inline void
world_accept(unsigned n)
{
    world_events(w.options.journal, n);
    if (voc_journal_must_wake(w.options.journal)) {
        voc_pusher_wake(w.pusher, w.now);
    }
}

static inline void
world_cut(const char *reason)
{
    conn_free(w.conn);
    w.conn = NULL;
    w.connecting = 0;
    voc_pusher_closed(w.pusher, w.now, reason);
}

static inline void
world_retired(void)
{
    char id[VOC_JOURNAL_ID_LEN];
    voc_str_t str = {id, sizeof(id)};
    voc_error_t error;

    memcpy(id, voc_journal_id(w.retired[0]).data, sizeof(id));
    assert_int_equal(voc_journal_retire(w.retired[0], &error), 0);
    w.nretired--;
    memmove(w.retired, w.retired + 1, w.nretired * sizeof(w.retired[0]));
    voc_pusher_retired(w.pusher, w.now, str);
}

static inline void
world_deliver(size_t len)
{
    char *data = malloc(len); /* exactly, for the sanitizer */

    assert_non_null(data);
    memcpy(data, w.conn->out.data, len);
    bytes_drop(&w.conn->out, len);
    voc_pusher_received(w.pusher, w.now, data, len);
    free(data);
}

static inline int
world_step(void)
{
    if (w.connecting && w.answer != HANG) {
        w.connecting = 0;
        if (w.answer == REFUSE) {
            voc_pusher_closed(w.pusher, w.now, "connection refused");
        } else {
            w.conn = calloc(1, sizeof(conn_t));
            assert_non_null(w.conn);
            voc_pusher_connected(w.pusher, w.now);
        }

    } else if (w.nretired > 0 && !w.hold_retired) {
        world_retired();

    } else if (w.conn != NULL && w.blocked && w.window > 0) {
        w.blocked = 0;
        voc_pusher_writable(w.pusher, w.now);

    } else if (w.conn != NULL && w.serve && model_serve(&w.redis, w.conn)) {
        ;

    } else if (w.conn != NULL && w.deliver && w.conn->out.len > 0) {
        world_deliver(w.conn->out.len);

    } else if (w.timer_at <= w.now) {
        w.timer_at = NEVER;
        voc_pusher_timer(w.pusher, w.now);

    } else {
        return 0;
    }

    return 1;
}

/*
 * All that happens without time going on, but for the moment in which a batch
 * gathers; a pusher that spins fails here.
 */
static inline void
world_settle(void)
{
    unsigned steps = 0;

    do {
        while (world_step()) {
            assert_true(++steps < 100000);
        }
        if (w.timer_at <= w.now + VOC_PUSHER_GATHER_MANY) {
            w.now = w.timer_at;
        }
    } while (w.timer_at <= w.now);
}

static inline void
world_pass(uint64_t ms)
{
    uint64_t end = w.now + ms;
    unsigned steps = 0;

    world_settle();

    while (w.timer_at <= end) {
        assert_true(++steps < 100000);
        w.now = w.timer_at;
        world_settle();
    }

    if (w.now < end) {
        w.now = end;
    }
}

/* Every event on the list, once, in order, and nothing else. */
static inline void
world_check(void)
{
    size_t i;

    for (i = 0; i < w.nevents && i < w.redis.nlist; i++) {
        assert_string_equal(w.redis.list[i], w.events[i]);
    }

    assert_int_equal(w.redis.nlist, w.nevents);
}

static inline const char *
world_cursor_key(const voc_journal_t *journal)
{
    static char key[128];
    size_t len;

    len = voc_redis_cursor_key(key, w.options.key, voc_journal_id(journal));
    key[len] = '\0';

    return key;
}

static inline const char *
world_cursor(const voc_journal_t *journal)
{
    string_t *s = model_string(&w.redis, world_cursor_key(journal));

    return s != NULL ? s->value : NULL;
}

/* Command number i that Redis saw, "" for none. */
static inline const char *
world_said(unsigned i)
{
    return i < w.redis.nlog ? w.redis.log[i % LOG_MAX] : "";
}

static inline void
world_end(void)
{
    size_t i;

    voc_pusher_free(w.pusher);

    while (w.nretired > 0) {
        voc_journal_close(w.retired[--w.nretired]);
    }

    voc_journal_close(w.options.journal);
    conn_free(w.conn);

    for (i = 0; i < w.redis.nlist; i++) {
        free(w.redis.list[i]);
    }
    for (i = 0; i < w.nevents; i++) {
        free(w.events[i]);
    }

    free(w.redis.list);
    free(w.events);

    if (w.path[0] != '\0') {
        world_files(1);
        assert_int_equal(rmdir(w.path), 0);
    }
}

#define counters() voc_pusher_counters(w.pusher)

static inline int
setup(void **state)
{
    (void)state;
    world_make(1);
    return 0;
}

static inline int
teardown(void **state)
{
    (void)state;
    world_end();
    return 0;
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
