/*
 * The pusher against a Redis that answers as it should, with errors, or with
 * anything: the input is a script of what happens, a byte for each event and
 * its parameters behind it.  When it ends, Redis is well again, and all that
 * waits has to get there.
 */

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reply_world.h"

#define OPS_MAX      200
#define APPENDED_MAX (VOC_JOURNAL_SIZE_MIN - 4096) /* bytes */
#define WELL_AGAIN   (5 * 60 * 1000) /* ms until all has to be there */

static char directory[256], path[512];

/* ---- events of the script --------------------------------------------- */

static void
append(unsigned n, int wake)
{
    voc_journal_t *journal = w.options.journal;
    voc_journal_status_t status;
    char payload[MODEL_PAYLOAD_MAX];
    uint64_t seq, commands = w.redis.commands;

    voc_journal_status(journal, &status);
    for (seq = status.head; n > 0 && seq < EVENTS_MAX; n--) {
        if (voc_journal_head(journal).end > APPENDED_MAX) {
            break; /* else what Redis may lose is not held */
        }
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
    static const char *const forms[16] = {
        "+%s\r\n",
        "-%s\r\n",
        ":%s\r\n",
        "$1\r\n%.1s\r\n",
        "*1\r\n+%s\r\n",
        "*-1\r\n%.0s",
        "$-1\r\n%.0s",
        "*0\r\n%.0s",
        "+QUEUED\r\n%.0s",
        "-EXECABORT Transaction discarded because of: %s\r\n",
        "*2\r\n:1\r\n+%s\r\n",
        "*2\r\n:1\r\n-%s\r\n",
        "*2\r\n-%s\r\n$1\r\n1\r\n",
        "*2\r\n:1\r\n:%s\r\n",
        "*2\r\n:1\r\n*1\r\n+%s\r\n",
        "*2\r\n*1\r\n+%s\r\n+"};
    static const char *const numbers[16] = {"$",
                                            "$",
                                            "$0",
                                            "*1\r\n$",
                                            "*2\r\n$",
                                            "+",
                                            ":",
                                            "-",
                                            "*2\r\n:1\r\n$",
                                            "*2\r\n:1\r\n+",
                                            "*2\r\n:1\r\n-",
                                            "*2\r\n:1\r\n:",
                                            "*2\r\n:1\r\n*1\r\n$",
                                            "*2\r\n-x\r\n$",
                                            "*3\r\n:1\r\n:1\r\n$",
                                            "*1\r\n"};
    char text[512], given[256] = "0";
    voc_journal_status_t status;
    uint64_t number;
    const uint8_t *data;
    int n;
    unsigned how = (unsigned)fuzz_take(in, 1);
    size_t len;

    if (how & 64) {
        number = fuzz_take(in, 2);
        if (how & 32) {
            voc_journal_status(w.options.journal, &status);
            number = status.head - number % (status.head + 1) % 8;
        }
        len = (size_t)sprintf(given, "%" PRIu64, number);
        n = sprintf(text, "%s", numbers[how % 16]);
        if (strchr(text, '$') != NULL) {
            n += sprintf(text + n, "%zu\r\n", len);
        }
        sprintf(text + n, "%s\r\n", given);
    } else {
        len = fuzz_bytes(in, fuzz_take(in, 1), &data);
        if (len > 0) {
            memcpy(given, data, len);
            given[len] = '\0';
        }
        snprintf(text, sizeof(text), forms[how % 16], given);
    }

    w.exact = 0;
    w.redis.spoilt = 1;
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
    "-MASTERDOWN x\r\n",
    "-ERR max number of clients reached\r\n",
    "-ERR x, with args beginning with: \r\n",
    "-ERR Error running script (call to f_x): @user_script:1: -OOM x\r\n",
    "*2\r\n$5\r\nslave\r\n:1\r\n",
    "-MOVED 1 x\r\n",
    "-UNBLOCKED x\r\n",
    "-\r\n",
    "-EXECABORT Transaction discarded because of: OOM x\r\n",
    "-EXECABORT Transaction discarded because of: NOPERM x\r\n",
    "-EXECABORT Transaction discarded because of previous errors.\r\n",
    "-ERR unknown command 'LTRIM', with args beginning with: 'x'\r\n"};

#define ERRORS (sizeof(errors) / sizeof(errors[0]))

/* A byte of the live journal or the leftover is not what it was. */
static void
damage(unsigned of_left, fuzz_input_t *in)
{
    size_t place = fuzz_take(in, 2);
    int fd;

    if (!of_left) {
        w.options.journal->ring.bytes[place] ^= 0x10;
    } else if ((fd = open(path, O_WRONLY)) != -1) {
        must(pwrite(fd, "", 1, (off_t)(IMAGE_RING_AT + place % 512)) == 1);
        close(fd);
    }

    w.redis.damaged++;
}

/* Any bytes, so many times. */
static void
anything(unsigned times, fuzz_input_t *in)
{
    static char text[256 * 256];
    const uint8_t *data;
    size_t len = fuzz_bytes(in, fuzz_take(in, 1), &data), n = 0;

    for (; len > 0 && times > 0; times--, n += len) {
        memcpy(text + n, data, len);
    }
    w.exact = 0;
    w.redis.spoilt = 1;
    deliver(text, n);
}

/* For a second someone else has always been there before. */
static void
quarrel(void)
{
    w.redis.quarrel = 1;
    append(1, 1);
    pass(1000, 1);
    w.redis.quarrel = 0;
    w.exact = 0;
}

/* Redis goes back to what it had some time ago, or loses the cursor. */
static void
go_back(int to_some, fuzz_input_t *in)
{
    model_cursor_t *live = &w.redis.live;

    if (live->listed > 0 && to_some) {
        live->listed = fuzz_take(in, 2) % (live->listed + 1);
        sprintf(live->value, "%" PRIu64, live->listed);
        model_forget(&w.redis, live, live->listed);
        w.restored = 1;
    } else {
        live->value[0] = '\0';
        w.exact = 0;
    }
}

/* Someone else pushes something large, or sets the cursor. */
static void
meddle(unsigned op)
{
    if (op & 32) {
        if (w.redis.nlist < MODEL_LIST_MAX) {
            w.redis.list[w.redis.nlist++] = (model_item_t){NULL, 0};
        }
    } else {
        sprintf(w.redis.live.value, "%s", op & 16 ? "01" : "9999");
        w.foreign = 1;
        w.exact = 0;
    }
}

static void start_pusher(void);

/* Redis answers as it should, and in time, however the bytes are cut. */
static int
is_harmless(unsigned op)
{
    switch (op % 16) {
    case 0:
    case 13:
        return (op % 16 == 13) == ((op & 32) != 0);
    case 1:
    case 2:
    case 6:
    case 10:
        return 1;
    case 8:
        return op & 16 && w.window > SIZE_MAX / 2;
    case 15:
        return !(op & 16);
    default:
        return 0;
    }
}

static void
happen(unsigned op, fuzz_input_t *in)
{
    w.clean &= is_harmless(op);

    switch (op % 16) {
    case 0:
        if (op & 32) {
            damage(op & 16, in);
        } else {
            serve(NULL);
        }
        break;
    case 1:
        if (op & 16) {
            serve_all();
        } else {
            serve(NULL);
            deliver_pending(0);
        }
        break;
    case 2:
        deliver_pending(fuzz_take(in, 1));
        break;
    case 3: /* anything at all */
        deliver_pending(0);
        anything(op & 16 ? (unsigned)fuzz_take(in, 1) : 1, in);
        break;
    case 4:
        if (op & 16) {
            w.redis.fault = fuzz_take(in, 1) % MODEL_FAULTS;
        } else {
            serve(errors[fuzz_take(in, 1) % ERRORS]);
        }
        break;
    case 5:
        typed(in);
        break;
    case 6:
        append((unsigned)fuzz_take(in, 1), op & 16);
        break;
    case 7:
        w.not_yet ^= (op & 32) != 0;
        w.hang ^= (op & 64) != 0;
        w.busy ^= (op & 128) != 0;
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
    case 12:
        go_back(op & 16, in);
        break;
    case 13:
        meddle(op);
        break;
    case 14:
        voc_pusher_free(w.pusher);
        connection_end();
        start_pusher();
        w.exact = 0;
        break;
    default:
        if (op & 16) {
            quarrel();
        } else {
            voc_pusher_timer(w.pusher, w.now);
        }
        break;
    }
}

/* ---- a run ------------------------------------------------------------ */

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

/* What an earlier start left, with the payloads of the model. */
static void
left_image(image_t *left)
{
    uint8_t *ring = left->bytes + IMAGE_RING_AT;
    voc_file_record_t record;
    char payload[MODEL_PAYLOAD_MAX];
    uint64_t end = 0, seq;

    image_make(left, 0, 0, 0, 0);
    for (seq = 1; seq <= LEFT_N; seq++) {
        memset(&record, 0, sizeof(record));
        record.seq = seq;
        record.offset = end;
        record.length = (uint32_t)model_payload(payload, seq);
        memcpy(ring + end + 40, payload, record.length);
        must(image_sign(ring, IMAGE_RING, &record));
        end += voc_record_size(record.length);
    }
}

static void
left_journal(void)
{
    static image_t left;
    FILE *file = fopen(path, "wb");

    must(file != NULL);
    if (left.bytes[0] == 0) {
        left_image(&left);
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
    w.said_more = w.foreign = w.restored = w.hang = w.not_yet = w.busy = 0;
    w.exact = w.clean = 1;
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
           (w.redis.live.listed == status.head || w.redis.damaged) &&
           voc_pusher_counters(w.pusher)->up &&
           (w.options.directory == NULL || access(path, F_OK) != 0);
}

/* Every event is there once, in order, unless it is damaged. */
static void
check_list(uint64_t head)
{
    unsigned i;
    uint64_t live = 0, left = 0, *last;
    const model_item_t *item = w.redis.list;

    for (i = 0; i < w.redis.nlist; i++, item++) {
        if (item->of != NULL) {
            last = item->of == &w.redis.live ? &live : &left;
            must(item->seq == *last + 1 ||
                 (w.redis.damaged && item->seq > *last));
            *last = item->seq;
        }
    }

    must(w.redis.damaged ||
         (live == head && left == (w.options.directory ? LEFT_N : 0)));
}

/* Redis is well again: every event gets there, and is done with. */
static void
finish(void)
{
    const voc_pusher_counters_t *counters;
    voc_journal_status_t status;
    uint64_t end = w.now + WELL_AGAIN;

    w.hang = w.not_yet = 0;
    w.redis.fault = MODEL_WELL;
    w.window = SIZE_MAX;
    if (w.redis.spoilt || w.restored) {
        cut(); /* else what was said to it goes on to be believed */
    }
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
    counters = voc_pusher_counters(w.pusher);
    must(!w.clean || (counters->errors == 0 && counters->connects == 1));
    must(counters->lost == 0 || w.redis.damaged);
    voc_journal_status(w.options.journal, &status);
    if (!w.redis.spoilt) {
        check_list(status.head);
    }
    must(!w.exact || w.redis.damaged ||
         counters->pushed == w.redis.live.listed + counters->replayed +
                                 (w.options.directory ? LEFT_N : 0));
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
