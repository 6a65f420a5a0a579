/* Commands, replies and errors of Redis; hiredis is the RESP codec. */

#include "voc_redis.h"

#include <stdlib.h>

#include <hiredis/hiredis.h>

typedef struct {
    voc_str_t text; /* whole words */
    voc_reply_e action;
} voc_redis_row_t;

static const voc_redis_row_t voc_redis_rows[] = {
    {voc_str("LOADING"), VOC_REPLY_BACKOFF},
    {voc_str("BUSY"), VOC_REPLY_BACKOFF},
    {voc_str("MASTERDOWN"), VOC_REPLY_BACKOFF},
    {voc_str("CLUSTERDOWN"), VOC_REPLY_BACKOFF},
    {voc_str("TRYAGAIN"), VOC_REPLY_BACKOFF},
    {voc_str("ERR max number of clients"), VOC_REPLY_BACKOFF},

    {voc_str("READONLY"), VOC_REPLY_REDISCOVER},
    {voc_str("UNBLOCKED"), VOC_REPLY_REDISCOVER},

    {voc_str("NOREPLICAS"), VOC_REPLY_HOLD},
    {voc_str("OOM"), VOC_REPLY_HOLD},
    {voc_str("MISCONF"), VOC_REPLY_HOLD},

    {voc_str("NOAUTH"), VOC_REPLY_DENIED},
    {voc_str("WRONGPASS"), VOC_REPLY_DENIED},
    {voc_str("NOPERM"), VOC_REPLY_DENIED},
    {voc_str("ERR invalid password"), VOC_REPLY_DENIED},
    {voc_str("ERR Client sent AUTH, but no password is set"),
     VOC_REPLY_DENIED},
    {voc_str("ERR AUTH <password> called without any password configured"),
     VOC_REPLY_DENIED},
    /* NOPERM inside a script, up to Redis 7.0 */
    {voc_str("The user executing the script can't"), VOC_REPLY_DENIED},

    {voc_str("WRONGTYPE"), VOC_REPLY_BLOCKED},
    {voc_str("CROSSSLOT"), VOC_REPLY_BLOCKED},
    {voc_str("ERR unknown command"), VOC_REPLY_BLOCKED},
    {voc_str("MOVED"), VOC_REPLY_BLOCKED}, /* no cluster support */
    {voc_str("ASK"), VOC_REPLY_BLOCKED},
};

#define VOC_REDIS_ROWS (sizeof(voc_redis_rows) / sizeof(voc_redis_rows[0]))

static int
voc_redis_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static const voc_redis_row_t *
voc_redis_row(const char *text, size_t len)
{
    unsigned i;
    const voc_str_t *row;

    for (i = 0; i < VOC_REDIS_ROWS; i++) {
        row = &voc_redis_rows[i].text;

        if (len >= row->len && memcmp(text, row->data, row->len) == 0 &&
            (len == row->len || !voc_redis_letter(text[row->len]))) {
            return &voc_redis_rows[i];
        }
    }

    return NULL;
}

static int
voc_redis_wraps(voc_str_t error)
{
    unsigned i;
    static const voc_str_t words[] = {
        voc_str("ERR "), voc_str("@user_script"), voc_str("EXECABORT ")};

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (error.len >= words[i].len &&
            memcmp(error.data, words[i].data, words[i].len) == 0) {
            return 1;
        }
    }

    return 0;
}

/*
 * Some errors come wrapped: a script's up to Redis 6 in "ERR Error running
 * script (call to f_<sha>): @user_script:1: -OOM ...", or by pcall() and
 * return in "@user_script: 1: -OOM ..."; a transaction's in
 * "EXECABORT Transaction discarded because of: OOM ...".  So behind these
 * words every one of the text may be the one that counts.
 */
voc_reply_e
voc_redis_error(voc_str_t error)
{
    size_t i;
    const voc_redis_row_t *row;

    for (i = 0; i < error.len; i++) {
        if (i > 0 && voc_redis_letter(error.data[i - 1])) {
            continue;
        }

        row = voc_redis_row(error.data + i, error.len - i);
        if (row != NULL) {
            return row->action;
        }

        if (i == 0 && !voc_redis_wraps(error)) {
            break;
        }
    }

    return VOC_REPLY_BLOCKED;
}

size_t
voc_redis_decimal(char *out, uint64_t number)
{
    char digits[VOC_REDIS_NUMBER];
    size_t i, n = 0;

    do {
        digits[n++] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);

    for (i = 0; i < n; i++) {
        out[i] = digits[n - 1 - i];
    }

    return n;
}

int
voc_redis_reserve(voc_redis_buffer_t *buffer, size_t len)
{
    char *data;
    size_t size = buffer->size * 2;

    if (buffer->size - buffer->end >= len) {
        return 0;
    }

    if (size < buffer->end + len) {
        size = buffer->end + len;
    }

    data = realloc(buffer->data, size);
    if (data == NULL) {
        return -1;
    }

    buffer->data = data;
    buffer->size = size;

    return 0;
}

void
voc_redis_buffer_free(voc_redis_buffer_t *buffer)
{
    free(buffer->data);
    memset(buffer, 0, sizeof(*buffer));
}

int
voc_redis_append(voc_redis_buffer_t *buffer, unsigned argc,
                 const voc_str_t *argv)
{
    int rc = -1;
    char *command;
    long long len;
    unsigned i;
    size_t lens[VOC_REDIS_ARGS_MAX];
    const char *args[VOC_REDIS_ARGS_MAX];

    if (argc == 0 || argc > VOC_REDIS_ARGS_MAX) {
        return -1;
    }

    for (i = 0; i < argc; i++) {
        args[i] = argv[i].data != NULL ? argv[i].data : "";
        lens[i] = argv[i].len;
    }

    len = redisFormatCommandArgv(&command, (int)argc, args, lens);
    if (len < 0) {
        return -1;
    }

    if (voc_redis_reserve(buffer, (size_t)len) == 0) {
        memcpy(buffer->data + buffer->end, command, (size_t)len);
        buffer->end += (size_t)len;
        rc = 0;
    }

    redisFreeCommand(command);

    return rc;
}

/* Redis hashes what stands between the first '{' and the next '}', if any. */
static int
voc_redis_has_tag(voc_str_t key)
{
    const char *open, *close;

    open = key.len > 0 ? memchr(key.data, '{', key.len) : NULL;
    if (open == NULL) {
        return 0;
    }

    open++;
    close = memchr(open, '}', key.len - (size_t)(open - key.data));

    return close != NULL && close != open;
}

int
voc_redis_key_valid(voc_str_t key)
{
    return key.len > 0 && (voc_redis_has_tag(key) ||
                           memchr(key.data, '}', key.len) == NULL);
}

size_t
voc_redis_cursor_key(char *out, voc_str_t key, voc_str_t journal_id)
{
    int tag;
    char *p = out;
    static const char middle[] = ":cursor:";

    tag = voc_redis_has_tag(key);

    if (!tag) {
        *p++ = '{';
    }

    if (key.len > 0) {
        memcpy(p, key.data, key.len);
        p += key.len;
    }

    if (!tag) {
        *p++ = '}';
    }

    memcpy(p, middle, sizeof(middle) - 1);
    p += sizeof(middle) - 1;

    if (journal_id.len > 0) {
        memcpy(p, journal_id.data, journal_id.len);
        p += journal_id.len;
    }

    return (size_t)(p - out);
}

/*
 * The reader's objects: not hiredis' own, which would reserve memory for as
 * many elements as the peer announces, but the one reply that is kept.
 */

struct voc_redis_reader_s {
    redisReader *hiredis;
    voc_redis_reply_t reply;
    size_t unread;
    char text[VOC_REDIS_TEXT_MAX];
};

static voc_redis_type_e
voc_redis_type(int type)
{
    switch (type) {
    case REDIS_REPLY_STRING:
        return VOC_REDIS_STRING;
    case REDIS_REPLY_STATUS:
        return VOC_REDIS_STATUS;
    case REDIS_REPLY_ERROR:
        return VOC_REDIS_ERROR;
    case REDIS_REPLY_INTEGER:
        return VOC_REDIS_INTEGER;
    case REDIS_REPLY_ARRAY:
        return VOC_REDIS_ARRAY;
    default:
        return VOC_REDIS_OTHER;
    }
}

static void *
voc_redis_object(const redisReadTask *task)
{
    voc_redis_reader_t *reader = task->privdata;

    if (task->parent == NULL) {
        reader->reply.type = voc_redis_type(task->type);
        reader->reply.text.data = NULL;
        reader->reply.text.len = 0;
        reader->reply.cut = 0;
    }

    return reader;
}

static void *
voc_redis_string(const redisReadTask *task, char *text, size_t len)
{
    voc_redis_reader_t *reader = voc_redis_object(task);

    if (reader->reply.text.data == NULL &&
        (task->parent == NULL || task->parent->parent == NULL)) {
        reader->reply.text_type = voc_redis_type(task->type);
        reader->reply.text.data = reader->text;
        reader->reply.cut = len > sizeof(reader->text);
        reader->reply.text.len =
            reader->reply.cut ? sizeof(reader->text) : len;
        memcpy(reader->text, text, reader->reply.text.len);
    }

    return reader;
}

#if HIREDIS_MAJOR >= 1
typedef size_t voc_redis_count_t;
#else
typedef int voc_redis_count_t;
#endif

static void *
voc_redis_array(const redisReadTask *task, voc_redis_count_t elements)
{
    (void)elements;
    return voc_redis_object(task);
}

static void *
voc_redis_integer(const redisReadTask *task, long long value)
{
    (void)value;
    return voc_redis_object(task);
}

static void *
voc_redis_nil(const redisReadTask *task)
{
    voc_redis_reader_t *reader = voc_redis_object(task);

    /* the task's type is what is not there */
    if (task->parent == NULL) {
        reader->reply.type = VOC_REDIS_NIL;
    }

    return reader;
}

static void
voc_redis_drop(void *object)
{
    (void)object;
}

#if HIREDIS_MAJOR >= 1

static void *
voc_redis_double(const redisReadTask *task, double value, char *text,
                 size_t len)
{
    (void)value;
    (void)text;
    (void)len;
    return voc_redis_object(task);
}

static void *
voc_redis_bool(const redisReadTask *task, int value)
{
    (void)value;
    return voc_redis_object(task);
}

#endif

static redisReplyObjectFunctions voc_redis_functions = {
    .createString = voc_redis_string,
    .createArray = voc_redis_array,
    .createInteger = voc_redis_integer,
    .createNil = voc_redis_nil,
    .freeObject = voc_redis_drop,
#if HIREDIS_MAJOR >= 1
    .createDouble = voc_redis_double,
    .createBool = voc_redis_bool,
#endif
};

voc_redis_reader_t *
voc_redis_reader_create(void)
{
    voc_redis_reader_t *reader;

    reader = calloc(1, sizeof(*reader));
    if (reader == NULL) {
        return NULL;
    }

    reader->hiredis = redisReaderCreateWithFunctions(&voc_redis_functions);
    if (reader->hiredis == NULL) {
        free(reader);
        return NULL;
    }

    reader->hiredis->privdata = reader;

    return reader;
}

void
voc_redis_reader_free(voc_redis_reader_t *reader)
{
    if (reader != NULL) {
        redisReaderFree(reader->hiredis);
        free(reader);
    }
}

int
voc_redis_reader_feed(voc_redis_reader_t *reader, const char *data,
                      size_t len)
{
    if (redisReaderFeed(reader->hiredis, data, len) != REDIS_OK) {
        return -1;
    }

    reader->unread += len;

    return 0;
}

int
voc_redis_reader_get(voc_redis_reader_t *reader, voc_redis_reply_t *reply,
                     size_t *unread)
{
    void *object = NULL;

    if (redisReaderGetReply(reader->hiredis, &object) != REDIS_OK) {
        return -1;
    }

    if (object != NULL) {
        reader->unread = reader->hiredis->len - reader->hiredis->pos;
        *reply = reader->reply;
    }

    *unread = reader->unread;

    return object != NULL;
}
