/*
 * The pusher's world: its transport, its clock, and what has to hold after
 * each of its calls.
 */

#ifndef REPLY_WORLD_H
#define REPLY_WORLD_H

#include "journal_image.h"
#include "reply_model.h"

/* ASan's; its header is not everywhere. */
size_t __sanitizer_get_current_allocated_bytes(void);

#define EVENTS_MAX 600          /* of a run, so that the ring holds all */
#define MEMORY_MAX (512 * 1024) /* bytes that a pusher may take */
#define CALL_MAX   24           /* commands that one call may send */
#define SETTLE_MAX 200          /* calls without time going on */
#define LEFT_N     5            /* events of the leftover, image 1 */
#define STREAM_MAX (256 * 1024) /* bytes kept of answers */
#define SAID_MAX   48           /* bytes in which a number is said */

static struct {
    voc_pusher_t *pusher;
    voc_pusher_options_t options;
    voc_journal_directory_t directory;
    voc_journal_t *retired;
    uint64_t now, timer_at, started, connects, most_connects,
        connecting_since;
    int connecting, connected, blocked, send_fails;
    size_t window; /* bytes that send() takes */
    size_t memory; /* before there was a pusher */
    model_t redis;
    char pending[MODEL_OUT_MAX + 8192]; /* answers that are under way */
    size_t npending;
    char stream[STREAM_MAX]; /* that were delivered on this connection */
    size_t nstream, scanned;
    uint8_t said[EVENTS_MAX + 2]; /* numbers that were answered, ever */
    int said_more;                /* a higher one */
    int foreign;                  /* a cursor that is none of the pusher's */
    int restored;                 /* Redis went back, without a cut */
    int hang;                     /* connecting is not answered */
    int not_yet;                  /* the live journal has to wait */
    int busy;
    int exact; /* the counters tell what is on the list */
    int clean; /* nothing was done to anyone */
} w;

/* ---- what the pusher asks for ----------------------------------------- */

static void
world_connect(void *ctx, int rediscover)
{
    (void)ctx;
    (void)rediscover;
    must(!w.connecting && !w.connected);
    w.connecting = 1;
    w.connecting_since = w.now;
    w.connects++;
    must(w.connects <= w.most_connects + (w.now - w.started) / 50);
}

static void
connection_end(void)
{
    w.connecting = w.connected = w.blocked = w.send_fails = 0;
    w.redis.nsent = w.redis.queued = 0;
    w.npending = w.nstream = w.scanned = 0;
    w.redis.authed = w.redis.multi = w.redis.aborted = w.redis.rights = 0;
    model_unfinished(&w.redis);
}

static void
world_close(void *ctx)
{
    (void)ctx;
    must(w.connecting || w.connected);
    connection_end();
}

static ssize_t
world_send(void *ctx, const char *data, size_t len)
{
    (void)ctx;
    must(w.connected && len > 0);

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

    w.window -= len;
    must(len <= MODEL_SENT_MAX - w.redis.nsent);
    memcpy(w.redis.sent + w.redis.nsent, data, len);
    w.redis.nsent += len;
    w.redis.commands++;
    return (ssize_t)len;
}

static void
world_timer(void *ctx, uint64_t ms)
{
    (void)ctx;
    w.timer_at = ms == VOC_NO_TIMER ? UINT64_MAX : w.now + ms;
}

static uint32_t
world_random(void *ctx)
{
    static uint32_t state = 1;

    (void)ctx;
    state = state * 1664525 + 1013904223;
    return state >> 4;
}

static void
world_log(void *ctx, voc_log_e level, const char *text)
{
    size_t i;

    (void)ctx;
    must(level <= VOC_LOG_NOTICE);
    must(strlen(text) < 512);
    must(!w.redis.password || strstr(text, MODEL_PASSWORD) == NULL);
    for (i = 0; text[i] != '\0'; i++) {
        must(text[i] >= ' ' && text[i] <= '~');
    }
}

static int
world_may_begin(void *ctx)
{
    (void)ctx;
    return !w.not_yet;
}

static unsigned
world_busy(void *ctx)
{
    (void)ctx;
    return w.busy ? 100 : 0;
}

/* Only what Redis said it has is deleted. */
static void
world_retire(void *ctx, voc_journal_t *journal)
{
    unsigned i, said = w.said_more;

    (void)ctx;
    must(w.retired == NULL);
    w.retired = journal;
    for (i = LEFT_N; i <= EVENTS_MAX; i++) {
        said |= w.said[i];
    }
    must(said || w.redis.damaged);
}

static const voc_pusher_ops_t ops = {
    world_connect, world_close,     world_send, world_timer, world_random,
    world_log,     world_may_begin, world_busy, world_retire};

/* ---- what was answered ------------------------------------------------ */

/* Any "$<n>CRLF<n digits>CRLF" in the stream says that number. */
static void
scan_one(const char *p, const char *end)
{
    char digits[24];
    unsigned n = 0, i;
    unsigned long long number;

    for (p++; p < end && *p >= '0' && *p <= '9' && n < 100; p++) {
        n = n * 10 + (unsigned)(*p - '0');
    }
    if (n < 1 || n > 20 || end - p < (ptrdiff_t)n + 4) {
        return;
    }
    p += 2;
    for (i = 0; i < n; i++) {
        digits[i] = p[i];
        if (p[i] < '0' || p[i] > '9') {
            return;
        }
    }
    digits[n] = '\0';

    number = strtoull(digits, NULL, 10);
    if (number <= EVENTS_MAX) {
        w.said[number] = 1;
    } else {
        w.said_more = 1;
    }
}

static void
scan(void)
{
    size_t from = w.scanned > SAID_MAX ? w.scanned - SAID_MAX : 0;

    for (; from < w.nstream; from++) {
        if (w.stream[from] == '$') {
            scan_one(w.stream + from, w.stream + w.nstream);
        }
    }
    w.scanned = w.nstream;
}

/* ---- what has to hold ------------------------------------------------- */

static void
check(uint64_t commands)
{
    voc_journal_status_t status;

    voc_journal_status(w.options.journal, &status);
    must(status.tail == 0 || w.said[status.tail] || w.redis.damaged);
    must(w.redis.commands - commands <= CALL_MAX);
    must(__sanitizer_get_current_allocated_bytes() <= w.memory + MEMORY_MAX);
    must(voc_pusher_pending(w.pusher) <= status.head + LEFT_N);
    must(w.timer_at == UINT64_MAX || w.timer_at >= w.now);
    /* pushed again, what is damaged is lost again */
    must(!w.exact || voc_pusher_counters(w.pusher)->replayed > 0 ||
         voc_pusher_counters(w.pusher)->lost <= w.redis.damaged);
}

static void
deliver(const char *data, size_t len)
{
    uint64_t commands = w.redis.commands;
    char *exact;

    if (len == 0 || !w.connected) {
        return;
    }

    must(len <= STREAM_MAX / 2);
    if (len > STREAM_MAX - w.nstream) {
        memmove(w.stream, w.stream + w.nstream - SAID_MAX, SAID_MAX);
        w.nstream = w.scanned = SAID_MAX;
    }
    memcpy(w.stream + w.nstream, data, len);
    w.nstream += len;
    scan();

    exact = fuzz_alloc(len);
    memcpy(exact, data, len);
    voc_pusher_received(w.pusher, w.now, exact, len);
    free(exact);
    check(commands);
}

static void
deliver_pending(size_t len)
{
    char data[sizeof(w.pending)];

    if (len == 0 || len > w.npending) {
        len = w.npending;
    }
    memcpy(data, w.pending, len);
    w.npending -= len;
    memmove(w.pending, w.pending + len, w.npending);
    deliver(data, len);
}

static void
answer(const char *data, size_t len)
{
    if (len > sizeof(w.pending) - w.npending) {
        deliver_pending(0);
    }
    if (w.connected && len <= sizeof(w.pending) - w.npending) {
        memcpy(w.pending + w.npending, data, len);
        w.npending += len;
    }
}

/* One command off the connection; 0 where none is complete. */
static int
serve(const char *instead)
{
    static model_command_t command;
    static char out[MODEL_OUT_MAX];
    size_t size = model_next(&w.redis, &command);

    if (size == 0) {
        return 0;
    }

    if (model_is(command.argv[0], "LINDEX")) {
        w.redis.rights = 0; /* are asked for */
    } else if (model_is(command.argv[0], "RPUSH")) {
        must(w.redis.rights || w.redis.spoilt);
    }

    if (instead == NULL) {
        model_serve(&w.redis, &command, size, out);
        instead = out;
    } else {
        model_refuse(&w.redis, &command, size);
    }
    answer(instead, strlen(instead));
    return 1;
}

/* All there is, and what is sent because of it. */
static void
serve_all(void)
{
    unsigned n;

    for (n = 0; n < SETTLE_MAX && serve(NULL); n++) {
        while (serve(NULL)) {
            n++;
        }
        deliver_pending(0);
    }
}

/* ---- time ------------------------------------------------------------- */

static void
retire(void)
{
    char id[VOC_JOURNAL_ID_LEN];
    voc_str_t str = {id, sizeof(id)};
    voc_error_t error;

    memcpy(id, voc_journal_id(w.retired).data, sizeof(id));
    must(voc_journal_retire(w.retired, &error) == 0);
    w.retired = NULL;
    voc_pusher_retired(w.pusher, w.now, str);
}

/* What happens by itself, without time going on. */
static int
step(int serving)
{
    uint64_t commands = w.redis.commands;

    if (w.connecting && !w.hang) {
        w.connecting = 0;
        w.connected = 1;
        voc_pusher_connected(w.pusher, w.now);
    } else if (w.retired != NULL) {
        retire();
    } else if (w.blocked && w.window > 0) {
        w.blocked = 0;
        voc_pusher_writable(w.pusher, w.now);
    } else if (serving && w.connected && serve(NULL)) {
        return 1;
    } else if (serving && w.npending > 0) {
        deliver_pending(0);
    } else if (w.timer_at <= w.now) {
        w.timer_at = UINT64_MAX;
        voc_pusher_timer(w.pusher, w.now);
    } else {
        return 0;
    }

    check(commands);
    return 1;
}

static void
settle(int serving)
{
    unsigned steps = 0;

    while (step(serving)) {
        must(++steps < SETTLE_MAX);
    }
    must(!w.connecting ||
         w.now < w.connecting_since + w.options.connect_timeout);
}

static void
pass(uint64_t ms, int serving)
{
    uint64_t end = w.now + ms, times = 0;

    settle(serving);
    while (w.timer_at <= end) {
        must(++times < 100 + ms / 5);
        w.now = w.timer_at;
        settle(serving);
    }
    w.now = end;
}

#endif
