/*
 * The pusher against a Redis that answers as it should, with errors, or with
 * anything: the input is a script of what happens, a byte for each event and
 * its parameters behind it.  When it ends, Redis is well again, and all that
 * waits has to get there.
 */

#include <sys/stat.h>
#include <unistd.h>

#include "journal_image.h"
#include "reply_model.h"

/* ASan's; its header is not everywhere. */
size_t __sanitizer_get_current_allocated_bytes(void);

#define OPS_MAX    200
#define EVENTS_MAX 600             /* of a run, so that the ring holds all */
#define MEMORY_MAX (1024 * 1024)   /* bytes that a pusher may take */
#define CALL_MAX   24              /* commands that one call may send */
#define SETTLE_MAX 200             /* calls without time going on */
#define WELL_AGAIN (5 * 60 * 1000) /* ms until all has to be there */
#define LEFT_N     5               /* events of the leftover, image 1 */
#define STREAM_MAX (256 * 1024)    /* bytes of a connection's answers */

static struct {
    voc_pusher_t *pusher;
    voc_pusher_options_t options;
    voc_journal_directory_t directory;
    voc_journal_t *retired;
    uint64_t now, timer_at, started, connects, most_connects;
    int connecting, connected, blocked, send_fails;
    size_t window; /* bytes that send() takes */
    size_t memory; /* before there was a pusher */
    model_t redis;
    char pending[8192]; /* answers that are under way */
    size_t npending;
    char stream[STREAM_MAX]; /* that were delivered on this connection */
    size_t nstream, scanned;
    uint8_t said[EVENTS_MAX + 2]; /* numbers that were answered, ever */
    int said_more;                /* a higher one */
    int foreign;                  /* a cursor that is none of the pusher's */
} w;

static char directory[256], path[512];

/* ---- what the pusher asks for --------------------------------------------
 */

static void
world_connect(void *ctx, int rediscover)
{
    (void)ctx;
    (void)rediscover;
    must(!w.connecting && !w.connected);
    w.connecting = 1;
    w.connects++;
    must(w.connects <= w.most_connects + (w.now - w.started) / 50);
}

static void
connection_end(void)
{
    w.connecting = w.connected = w.blocked = w.send_fails = 0;
    w.redis.nsent = w.npending = w.nstream = w.scanned = 0;
    w.redis.authed = 0;
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
    return 1;
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
    must(said);
}

static const voc_pusher_ops_t ops = {
    world_connect, world_close, world_send,      world_timer,
    world_random,  world_log,   world_may_begin, world_retire};

/* ---- what was answered ---------------------------------------------------
 */

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
    size_t from = w.scanned > 48 ? w.scanned - 48 : 0;

    for (; from < w.nstream; from++) {
        if (w.stream[from] == '$') {
            scan_one(w.stream + from, w.stream + w.nstream);
        }
    }
    w.scanned = w.nstream;
}

/* ---- what has to hold ----------------------------------------------------
 */

static void
check(uint64_t commands)
{
    voc_journal_status_t status;

    voc_journal_status(w.options.journal, &status);
    must(status.tail == 0 || w.said[status.tail]);
    must(w.redis.commands - commands <= CALL_MAX);
    must(__sanitizer_get_current_allocated_bytes() <= w.memory + MEMORY_MAX);
    must(voc_pusher_pending(w.pusher) <= status.head + LEFT_N);
    must(w.timer_at == UINT64_MAX || w.timer_at >= w.now);
}

static void
deliver(const char *data, size_t len)
{
    uint64_t commands = w.redis.commands;
    char *exact;

    if (len == 0 || !w.connected || len > STREAM_MAX - w.nstream) {
        return;
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
    char out[256];
    size_t size = model_next(&w.redis, &command);

    if (size == 0) {
        return 0;
    }

    if (instead == NULL) {
        model_answer(&w.redis, &command, out);
        instead = out;
    }
    model_drop(&w.redis, size);
    answer(instead, strlen(instead));
    return 1;
}

/* ---- time ----------------------------------------------------------------
 */

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

    if (w.connecting) {
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

/* ---- events of the script ------------------------------------------------
 */

static void
append(unsigned n, int wake)
{
    voc_journal_t *journal = w.options.journal;
    voc_journal_status_t status;
    char payload[64];
    uint64_t seq, commands = w.redis.commands;

    voc_journal_status(journal, &status);
    for (seq = status.head; n > 0 && seq < EVENTS_MAX; n--) {
        must(voc_journal_append(journal, payload,
                                model_payload(payload, seq + 1), 0,
                                &seq) == VOC_JOURNAL_OK);
    }
    if (wake && voc_journal_must_wake(journal)) {
        voc_pusher_wake(w.pusher, w.now);
        check(commands);
    }
}

static void
cut(void)
{
    if (w.connecting || w.connected) {
        connection_end();
        voc_pusher_closed(w.pusher, w.now, "cut\x01");
    }
}

/* An answer of some type with some text, to whatever is asked or not. */
static void
typed(fuzz_input_t *in)
{
    static const char *const forms[] = {
        "+%s\r\n",       "-%s\r\n",     ":%s\r\n",     "$1\r\n%.1s\r\n",
        "*1\r\n+%s\r\n", "*-1\r\n%.0s", "$-1\r\n%.0s", "*0\r\n%.0s"};
    char text[512], given[256] = "0";
    const uint8_t *data;
    unsigned how = (unsigned)fuzz_take(in, 1);
    size_t len;

    if (how & 64) {
        sprintf(given, "%llu", (unsigned long long)fuzz_take(in, 2));
        sprintf(text, how & 32 ? "$%zu\r\n%s\r\n" : "*1\r\n$%zu\r\n%s\r\n",
                strlen(given), given);
    } else {
        len = fuzz_bytes(in, fuzz_take(in, 1), &data);
        if (len > 0) {
            memcpy(given, data, len);
            given[len] = '\0';
        }
        snprintf(text, sizeof(text), forms[how % 8], given);
    }

    if (how & 128) {
        serve(text);
    } else {
        answer(text, strlen(text));
    }
}

static const char *const errors[] = {
    "-LOADING x\r\n",
    "-BUSY x\r\n",
    "-READONLY x\r\n",
    "-OOM x\r\n",
    "-NOAUTH x\r\n",
    "-WRONGPASS " MODEL_PASSWORD "\r\n",
    "-NOPERM x\r\n",
    "-WRONGTYPE x\r\n",
    "-NOSCRIPT x\r\n",
    "-ERR max number of clients reached\r\n",
    "-ERR x, with args beginning with: \r\n",
    "-ERR Error running script (call to f_x): @user_script:1: -OOM x\r\n",
    "*2\r\n$5\r\nslave\r\n:1\r\n",
    "-MOVED 1 x\r\n",
    "-UNBLOCKED x\r\n",
    "-\r\n"};

static void start_pusher(void);

static void
happen(unsigned op, fuzz_input_t *in)
{
    const uint8_t *data;
    size_t len;

    switch (op % 16) {
    case 0:
        serve(NULL);
        break;
    case 1:
        serve(NULL);
        deliver_pending(0);
        break;
    case 2:
        deliver_pending(fuzz_take(in, 1));
        break;
    case 3: /* anything at all */
        deliver_pending(0);
        len = fuzz_bytes(in, fuzz_take(in, 1), &data);
        deliver((const char *)data, len);
        break;
    case 4:
        serve(errors[fuzz_take(in, 1) % 16]);
        break;
    case 5:
        typed(in);
        break;
    case 6:
        append((unsigned)fuzz_take(in, 1), op & 16);
        break;
    case 7:
        pass(fuzz_take(in, 1), 0);
        break;
    case 8:
        pass(fuzz_take(in, 2), op & 16);
        break;
    case 9:
        cut();
        break;
    case 10:
        w.window = op & 16 ? SIZE_MAX : fuzz_take(in, 1);
        break;
    case 11:
        w.send_fails = w.connected;
        break;
    case 12: /* Redis goes back, or loses it */
        if (w.redis.live.listed > 0 && op & 16) {
            w.redis.live.listed =
                fuzz_take(in, 2) % (w.redis.live.listed + 1);
            sprintf(w.redis.live.value, "%" PRIu64, w.redis.live.listed);
        } else {
            w.redis.live.value[0] = '\0';
        }
        w.redis.loaded = 0;
        break;
    case 13:
        sprintf(w.redis.live.value, "%s", op & 16 ? "01" : "9999");
        w.foreign = 1;
        break;
    case 14:
        voc_pusher_free(w.pusher);
        connection_end();
        start_pusher();
        break;
    default:
        voc_pusher_timer(w.pusher, w.now);
        break;
    }
}

/* ---- a run ---------------------------------------------------------------
 */

static void
remove_directory(void)
{
    unlink(path);
    rmdir(directory);
}

static void
init(void)
{
    const char *tmp = getenv("TMPDIR");
    struct stat st;

    if (directory[0] != '\0') {
        return;
    }
    if (tmp == NULL || tmp[0] == '\0') {
        tmp = stat("/dev/shm", &st) == 0 ? "/dev/shm" : "/tmp";
    }
    must(strlen(tmp) < sizeof(directory) - 32);
    sprintf(directory, "%s/voc-fuzz-XXXXXX", tmp);
    must(mkdtemp(directory) != NULL);
    sprintf(path, "%s/%s", directory, IMAGE_NAME);
    atexit(remove_directory);
}

/* A journal in memory whose id is always the same. */
static voc_journal_t *
live_journal(void)
{
    static const voc_journal_options_t options = {NULL, VOC_JOURNAL_SIZE_MIN,
                                                  (uid_t)-1, (gid_t)-1};
    voc_error_t error;
    voc_journal_t *journal = voc_journal_create(&options, &error);

    must(journal != NULL);
    voc_journal_set_id(journal, "fedcba9876543210");
    return journal;
}

/* What an earlier start left: as image 1, with the payloads of the model. */
static void
left_journal(void)
{
    static image_t left;
    char payload[64];
    voc_file_record_t record;
    uint64_t end = 0, seq;
    FILE *file = fopen(path, "wb");

    must(file != NULL);
    image_make(&left, 0, 0, 0, 0);
    for (seq = 1; seq <= LEFT_N; seq++) {
        memset(&record, 0, sizeof(record));
        record.seq = seq;
        record.offset = end;
        record.length = (uint32_t)model_payload(payload, seq);
        memcpy(left.bytes + VOC_FILE_RING + end + 40, payload, record.length);
        must(image_sign(left.bytes + VOC_FILE_RING, IMAGE_RING, &record));
        end += voc_record_size(record.length);
    }
    must(fwrite(left.bytes, 1, IMAGE_SIZE, file) == IMAGE_SIZE);
    must(fclose(file) == 0);
}

static void
start_pusher(void)
{
    w.window = SIZE_MAX;
    w.timer_at = UINT64_MAX;
    if (w.retired != NULL) {
        voc_journal_close(w.retired);
        w.retired = NULL;
    }
    w.most_connects++;
    w.pusher = voc_pusher_create(&w.options, &ops, NULL);
    must(w.pusher != NULL);
    voc_pusher_start(w.pusher, w.now);
}

static void
start(unsigned how)
{
    static char sent[MODEL_SENT_MAX];

    memset(&w, 0, offsetof(__typeof__(w), stream));
    w.nstream = w.scanned = 0;
    memset(w.said, 0, sizeof(w.said));
    w.said_more = w.foreign = 0;
    w.redis.sent = sent;
    w.now = w.started = 1000;
    w.options.key = (voc_str_t)voc_str(MODEL_KEY);
    w.options.connect_timeout = 1000;
    w.options.timeout = 5000;
    w.options.db = how & 1;
    if (how & 6) {
        w.options.password = (voc_str_t)voc_str(MODEL_PASSWORD);
        w.redis.password = 1;
    }
    if (how & 4) {
        w.options.user = (voc_str_t)voc_str("voc");
    }
    if (how & 8) {
        left_journal();
        w.directory.path = directory;
        w.options.directory = &w.directory;
    }
    sprintf(w.redis.live.key, "{%s}:cursor:fedcba9876543210", MODEL_KEY);
    sprintf(w.redis.left.key, "{%s}:cursor:%s", MODEL_KEY, IMAGE_ID);
    w.options.journal = live_journal();
    w.memory = __sanitizer_get_current_allocated_bytes();
    append((how >> 4) * 3, 0);
    start_pusher();
}

static int
is_done(void)
{
    voc_journal_status_t status;

    voc_journal_status(w.options.journal, &status);
    return status.pending == 0 && voc_pusher_pending(w.pusher) == 0 &&
           w.redis.live.listed == status.head &&
           voc_pusher_counters(w.pusher)->up &&
           (w.options.directory == NULL || access(path, F_OK) != 0);
}

/* Redis is well again: every event gets there, and is done with. */
static void
finish(void)
{
    uint64_t end = w.now + WELL_AGAIN;

    cut();
    w.window = SIZE_MAX;
    if (w.foreign) {
        pass(1000, 1);
        return;
    }

    do {
        must(w.now < end);
        pass(500, 1);
    } while (!is_done());

    pass(2000, 1);
    must(is_done());
    must(voc_pusher_counters(w.pusher)->lost == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t in = {data, size};
    unsigned n;

    init();
    start((unsigned)fuzz_take(&in, 1));
    settle(0);

    for (n = 0; in.left > 0 && n < OPS_MAX; n++) {
        happen((unsigned)fuzz_take(&in, 1), &in);
        settle(0);
    }

    finish();
    voc_pusher_free(w.pusher);
    if (w.retired != NULL) {
        voc_journal_close(w.retired);
    }
    voc_journal_close(w.options.journal);
    unlink(path);
    return 0;
}
