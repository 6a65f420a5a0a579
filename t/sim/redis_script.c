/*
 * The commit script of the model: read line by line, so that it is the
 * pusher's own that runs.
 */

#include "redis.h"

#define SCRIPT_MAX 32 /* lines */

typedef enum {
    OP_IF_OTHER_END,
    OP_RETURN_OTHER_END,
    OP_GET,
    OP_IF_EXPECTED,
    OP_SET,
    OP_IF_SET,
    OP_RETURN_NEW,
    OP_END,
    OP_TRIM,
    OP_RETURN_CURSOR,
    OPS
} op_e;

static const char *const ops[OPS] = {
    [OP_IF_OTHER_END] =
        "if redis.call('LINDEX', KEYS[1], -1) ~= ARGV[4] then\n",
    [OP_RETURN_OTHER_END] = ("return redis.error_reply("
                             "'ERR the list does not end with the batch')\n"),
    [OP_GET] = "local cursor = redis.pcall('GET', KEYS[2]) or ''\n",
    [OP_IF_EXPECTED] = "if cursor == ARGV[1] then\n",
    [OP_SET] = "cursor = redis.pcall('SET', KEYS[2], ARGV[2])\n",
    [OP_IF_SET] = "if not cursor.err then\n",
    [OP_RETURN_NEW] = "return ARGV[2]\n",
    [OP_END] = "end\n",
    [OP_TRIM] = "redis.call('LTRIM', KEYS[1], 0, -1 - ARGV[3])\n",
    [OP_RETURN_CURSOR] = "return cursor\n"};

/* Where the arguments are. */
enum { KEY_CURSOR = 4, ARG_EXPECTED, ARG_NEW, ARG_COUNT, ARG_LAST, ARGS };

static op_e script[SCRIPT_MAX];
static unsigned script_n;

static void
script_load(const char *text)
{
    size_t i;

    for (script_n = 0; *text != '\0'; script_n++) {
        text += strspn(text, " ");
        for (i = 0; i < OPS && strncmp(text, ops[i], strlen(ops[i])) != 0;
             i++) {
        }
        if (i == OPS || script_n == SCRIPT_MAX) {
            fail("the model does not know this line of the script: %s", text);
        }
        script[script_n] = (op_e)i;
        text += strlen(ops[i]);
    }
}

static int
script_if(op_e op)
{
    return op == OP_IF_OTHER_END || op == OP_IF_EXPECTED || op == OP_IF_SET;
}

/* From an if to its end. */
static unsigned
script_skip(unsigned i)
{
    unsigned depth = 0;

    do {
        if (i == script_n) {
            fail("an if of the script has no end");
        }
        depth += (unsigned)script_if(script[i]);
        depth -= script[i] == OP_END;
        i++;
    } while (depth > 0);

    return i - 1;
}

/* What a call raised, as Redis 6 and as Redis 7 say it. */
static void
script_raises(conn_t *c, const char *error)
{
    reached("in a script:", error);
    if (roll(2)) {
        redis_refuse(c,
                     "ERR Error running script (call to f_x): "
                     "@user_script:1: -",
                     error, "");
    } else {
        redis_refuse(c, "", error, " script: x, on @user_script:1.");
    }
}

/*
 * What GET or SET answers.  LINDEX and LTRIM never fail where RPUSH did not:
 * all that keeps the one from a list or a user keeps the others, or was asked
 * for before, and nothing changes while a transaction is carried out.
 */
static const char *
script_error(const cursor_t *cursor)
{
    if (cursor != NULL && cursor->foreign == FOREIGN_TYPE) {
        return "WRONGTYPE Operation against a key";
    }
    if (redis_error_due(AT_SCRIPT)) {
        say("Redis: in the script: %s", sim.redis.error);
        return sim.redis.error;
    }

    return NULL;
}

static void
script_trim(exec_t *x, const char *count)
{
    unsigned n = (unsigned)strtoul(count, NULL, 10);

    if (n > x->kept) {
        fail("%u events are taken off the list, the batch has %u", n,
             x->kept);
    }
    x->kept -= n;
}

static const cursor_t *
script_begin(exec_t *x, const command_t *k)
{
    const cursor_t *cursor;

    if (k->argc != ARGS || strcmp(k->argv[2], "2") != 0 ||
        strcmp(k->argv[3], SIM_KEY) != 0) {
        fail("not a commit's call");
    }

    x->id = cursor_id(k, KEY_CURSOR);
    cursor = cursor_of(x->state, x->id);
    if (cursor != NULL) {
        memcpy(x->before, cursor->value, sizeof(x->before));
        x->foreign = cursor->foreign;
    }
    script_load(k->argv[1]);
    return cursor;
}

/* Its variable: a text or an error. */
typedef struct {
    char text[24];
    const char *error;
} value_t;

static void
script_returns(conn_t *c, const value_t *value)
{
    if (value->error != NULL) {
        reached("in a script:", value->error);
        redis_refuse(c, "", value->error, "");
    } else {
        reply_bulk(c, value->text, strlen(value->text));
    }
}

void
script_run(exec_t *x, const command_t *k)
{
    const cursor_t *cursor = script_begin(x, k);
    value_t value = {"", NULL};
    unsigned i;

    for (i = 0; i < script_n; i++) {
        switch (script[i]) {
        case OP_IF_OTHER_END:
            if (wrong_list(x->conn)) {
                script_raises(x->conn, "WRONGTYPE Operation against a key");
                return;
            }
            if (list_ends_with(x, k->argv[ARG_LAST], k->lens[ARG_LAST])) {
                i = script_skip(i);
            }
            break;
        case OP_RETURN_OTHER_END:
            reached("a batch is taken back:", "RPUSH has failed");
            redis_refuse(x->conn, "",
                         "ERR the list does not end with the batch", "");
            return;
        case OP_GET:
            value.error = script_error(cursor);
            memcpy(value.text, x->before, sizeof(value.text));
            break;
        case OP_IF_EXPECTED:
            if (value.error != NULL ||
                strcmp(value.text, k->argv[ARG_EXPECTED]) != 0) {
                i = script_skip(i);
            }
            break;
        case OP_SET:
            value.error = script_error(NULL);
            if (value.error == NULL) {
                cursor_set(x->state, x->id, k->argv[ARG_NEW]);
            }
            break;
        case OP_IF_SET:
            if (value.error != NULL) {
                i = script_skip(i);
            }
            break;
        case OP_RETURN_NEW:
            reply_bulk(x->conn, k->argv[ARG_NEW], k->lens[ARG_NEW]);
            return;
        case OP_TRIM:
            script_trim(x, k->argv[ARG_COUNT]);
            reached("a batch is taken back:",
                    value.error != NULL ? "an error" : "another cursor");
            say("Redis: a batch behind %s, the cursor is %s",
                k->argv[ARG_EXPECTED], x->before);
            break;
        case OP_RETURN_CURSOR:
            script_returns(x->conn, &value);
            return;
        default:
            break;
        }
    }
}
