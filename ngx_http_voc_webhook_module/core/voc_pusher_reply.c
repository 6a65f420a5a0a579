/* The pusher: what Redis answers, and what follows from it. */

#include "voc_pusher_private.h"

#define VOC_PUSHER_ERROR_TEXT 200 /* bytes of an error that are logged */

/*
 * An error's text for the log: printable ASCII, without what Redis may repeat
 * of the command (its arguments) and without the password.
 */
static void
voc_pusher_error_text(const voc_pusher_t *p, voc_str_t error, char *out)
{
    size_t i, len = error.len;
    char *cut;
    voc_str_t password = p->options.password;
    static const voc_str_t args = voc_str(", with args");

    cut = memmem(error.data, len, args.data, args.len);
    if (cut != NULL) {
        len = (size_t)(cut - error.data);
    }

    if (password.data != NULL && password.len > 0) {
        cut = memmem(error.data, len, password.data, password.len);
        if (cut != NULL) {
            len = (size_t)(cut - error.data);
        }
    }

    for (i = 0; i < len && i < VOC_PUSHER_ERROR_TEXT; i++) {
        if (error.data[i] >= ' ' && error.data[i] <= '~') {
            *out++ = error.data[i];
        }
    }

    *out = '\0';
}

static voc_trouble_e
voc_pusher_trouble_of(voc_reply_e action)
{
    switch (action) {
    case VOC_REPLY_BACKOFF:
        return VOC_TROUBLE_BACKOFF;
    case VOC_REPLY_REDISCOVER:
        return VOC_TROUBLE_REDISCOVER;
    case VOC_REPLY_HOLD:
        return VOC_TROUBLE_HOLD;
    case VOC_REPLY_DENIED:
        return VOC_TROUBLE_DENIED;
    case VOC_REPLY_BLOCKED:
        return VOC_TROUBLE_BLOCKED;
    default:
        return VOC_TROUBLE_PROTOCOL;
    }
}

/* Closes and connects again when the action allows it. */
static void
voc_pusher_leave(voc_pusher_t *p, voc_reply_e action)
{
    uint64_t delay;

    switch (action) {
    case VOC_REPLY_DENIED:
        delay = VOC_PUSHER_HOLD_MAX +
                p->ops.random(p->ctx) % VOC_PUSHER_BACKOFF_MAX;
        break;

    case VOC_REPLY_HOLD:
    case VOC_REPLY_BLOCKED:
        delay = voc_pusher_hold(p);
        break;

    case VOC_REPLY_REDISCOVER:
        p->rediscover = 1;
        delay = voc_pusher_backoff(p);
        break;

    default:
        delay = voc_pusher_backoff(p);
        break;
    }

    voc_pusher_disconnect(p, 0, delay);
}

static int
voc_pusher_unexpected(voc_pusher_t *p)
{
    p->counters.errors++;
    voc_pusher_trouble(p, VOC_TROUBLE_PROTOCOL, VOC_LOG_ERROR,
                       "an unexpected answer");
    voc_pusher_leave(p, VOC_REPLY_CLOSE);

    return -1;
}

static void
voc_pusher_forget_cursor(voc_pusher_t *p)
{
    p->deleting = 0;
    p->ncursors--;
    memmove(p->cursors[0], p->cursors[1],
            p->ncursors * sizeof(p->cursors[0]));
}

/* A cursor that may not be deleted is no reason to stop. */
static int
voc_pusher_undeleted(voc_pusher_t *p, voc_reply_e action, const char *text)
{
    p->deleting = 0;

    if (action != VOC_REPLY_DENIED && action != VOC_REPLY_BLOCKED) {
        return 0;
    }

    if (!p->cursor_stays) {
        p->cursor_stays = 1;
        voc_pusher_log(p, VOC_LOG_WARN,
                       "the cursor of a finished journal cannot be "
                       "deleted: %s",
                       text);
    }

    voc_pusher_forget_cursor(p);

    return 1;
}

static void
voc_pusher_blame(voc_pusher_t *p, voc_reply_e action, const char *text)
{
    voc_log_e level = VOC_LOG_ERROR;

    if (action == VOC_REPLY_DENIED || action == VOC_REPLY_BLOCKED) {
        level = VOC_LOG_ALERT;
    }

    voc_pusher_trouble(p, voc_pusher_trouble_of(action), level, "%s", text);
}

/* An error that no command asked for, as "max number of clients reached". */
static int
voc_pusher_early(voc_pusher_t *p, voc_str_t error)
{
    char text[VOC_PUSHER_ERROR_TEXT + 1];
    voc_reply_e action;

    p->counters.errors++;
    action = voc_redis_error(error);
    voc_pusher_error_text(p, error, text);
    voc_pusher_blame(p, action, text);
    voc_pusher_leave(p, action);

    return -1;
}

static int
voc_pusher_error(voc_pusher_t *p, voc_sent_e type, voc_str_t error)
{
    char text[VOC_PUSHER_ERROR_TEXT + 1];
    voc_reply_e action;

    p->counters.errors++;
    action = voc_redis_error(error);
    voc_pusher_error_text(p, error, text);

    if (type == VOC_SENT_DEL && voc_pusher_undeleted(p, action, text)) {
        return 0;
    }

    /* what follows an error in a pipeline is only its consequence */
    if (p->failure == VOC_REPLY_OK) {
        voc_pusher_blame(p, action, text);
    }

    if (p->phase != VOC_PHASE_READY) {
        voc_pusher_leave(p, action);
        return -1;
    }

    if (p->failure == VOC_REPLY_OK) {
        p->failure = action;
    }

    return 0;
}

static void
voc_pusher_confirmed(voc_pusher_t *p, const voc_sent_t *sent)
{
    p->source->confirmed = sent->last;
    p->source->missing = 0;
    p->source->ack = sent->last;
    p->source->ack_end = sent->end;
    voc_pusher_acknowledge(p, p->source);

    p->counters.pushed += sent->events;

    p->backoffs = 0;
    p->holds = 0;
    p->realigns = 0;

    if (p->failure == VOC_REPLY_OK) {
        p->small = 0;
        voc_pusher_up(p);
    }
}

/* What EXEC answers: RPUSH's error, or the commit's answer. */
static int
voc_pusher_pushed(voc_pusher_t *p, const voc_sent_t *sent,
                  const voc_redis_reply_t *reply)
{
    char cursor[VOC_REDIS_NUMBER];
    voc_str_t expected = {cursor, 0};

    if (reply->type != VOC_REDIS_ARRAY || reply->text.data == NULL) {
        return voc_pusher_unexpected(p);
    }

    if (reply->text_type == VOC_REDIS_ERROR) {
        return voc_pusher_error(p, sent->type, reply->text);
    }

    if (reply->text_type != VOC_REDIS_STRING) {
        return voc_pusher_unexpected(p);
    }

    expected.len = voc_redis_decimal(cursor, sent->last);

    if (!reply->cut && voc_str_equal(reply->text, expected)) {
        voc_pusher_confirmed(p, sent);
    } else {
        p->realign = 1;
    }

    return 0;
}

static int
voc_pusher_role(voc_pusher_t *p, const voc_redis_reply_t *reply)
{
    static const voc_str_t master = voc_str("master");

    if (reply->type != VOC_REDIS_ARRAY) {
        return voc_pusher_unexpected(p);
    }

    if (!voc_str_equal(reply->text, master)) {
        p->counters.errors++;
        voc_pusher_trouble(p, VOC_TROUBLE_REDISCOVER, VOC_LOG_ERROR,
                           "the server is not a master");
        voc_pusher_leave(p, VOC_REPLY_REDISCOVER);
        return -1;
    }

    p->phase = VOC_PHASE_READY;

    return 0;
}

/* An error in it is the list's, which a batch will meet too, or NOPERM. */
static int
voc_pusher_rights_known(voc_pusher_t *p, const voc_redis_reply_t *reply)
{
    if (reply->type != VOC_REDIS_ARRAY) {
        return voc_pusher_unexpected(p);
    }

    if (reply->text.data != NULL && reply->text_type == VOC_REDIS_ERROR &&
        voc_redis_error(reply->text) == VOC_REPLY_DENIED) {
        return voc_pusher_error(p, VOC_SENT_RIGHTS, reply->text);
    }

    return 0;
}

static int
voc_pusher_answer(voc_pusher_t *p, const voc_sent_t *sent,
                  const voc_redis_reply_t *reply)
{
    switch (sent->type) {
    case VOC_SENT_AUTH:
        if (reply->type != VOC_REDIS_STATUS) {
            return voc_pusher_unexpected(p);
        }
        voc_pusher_greet(p);
        return 0;

    case VOC_SENT_SELECT:
        return reply->type == VOC_REDIS_STATUS ? 0 : voc_pusher_unexpected(p);

    case VOC_SENT_ROLE:
        return voc_pusher_role(p, reply);

    case VOC_SENT_RIGHTS:
        return voc_pusher_rights_known(p, reply);

    case VOC_SENT_INIT:
        return reply->type == VOC_REDIS_STATUS || reply->type == VOC_REDIS_NIL
                   ? 0
                   : voc_pusher_unexpected(p);

    case VOC_SENT_GET:
        if (reply->type != VOC_REDIS_STRING && reply->type != VOC_REDIS_NIL) {
            return voc_pusher_unexpected(p);
        }
        if (p->failure == VOC_REPLY_OK && !p->realign) {
            voc_pusher_begin(p, reply);
        }
        return 0;

    case VOC_SENT_PUSH:
        return voc_pusher_pushed(p, sent, reply);

    case VOC_SENT_DEL:
        if (reply->type != VOC_REDIS_INTEGER) {
            return voc_pusher_unexpected(p);
        }
        voc_pusher_forget_cursor(p);
        return 0;

    case VOC_SENT_PING:
        if (reply->type != VOC_REDIS_STATUS) {
            return voc_pusher_unexpected(p);
        }
        p->backoffs = 0;
        return 0;
    }

    return 0;
}

/* Of a transaction: +OK for MULTI, +QUEUED for what is in it, or an error. */
static int
voc_pusher_queued(voc_pusher_t *p, voc_sent_t *sent,
                  const voc_redis_reply_t *reply)
{
    sent->replies--;

    /* without MULTI anything may follow */
    if (sent->refused || reply->type == VOC_REDIS_STATUS) {
        return 0;
    }

    if (reply->type != VOC_REDIS_ERROR) {
        return voc_pusher_unexpected(p);
    }

    sent->refused = 1;

    return voc_pusher_error(p, sent->type, reply->text);
}

int
voc_pusher_reply(voc_pusher_t *p, const voc_redis_reply_t *reply)
{
    voc_sent_t sent, *first = &p->sent[p->sent_first];

    /* nothing asked, or the answer came before the question was out */
    if (p->written == 0 && (p->written_part == 0 || first->replies == 1)) {
        if (reply->type == VOC_REDIS_ERROR) {
            return voc_pusher_early(p, reply->text);
        }
        return voc_pusher_unexpected(p);
    }

    p->since = p->now;

    if (first->replies > 1) {
        return voc_pusher_queued(p, first, reply);
    }

    sent = *first;
    p->sent_first = (p->sent_first + 1) % VOC_PUSHER_SENT;
    p->sent_n--;
    p->written--;

    if (sent.type == VOC_SENT_PUSH) {
        p->in_flight--;
    } else if (sent.type == VOC_SENT_GET) {
        p->getting = 0;
    }

    if (reply->type != VOC_REDIS_ERROR) {
        return voc_pusher_answer(p, &sent, reply);
    }

    /* EXEC says again that it does nothing */
    return sent.refused ? 0 : voc_pusher_error(p, sent.type, reply->text);
}

void
voc_pusher_act(voc_pusher_t *p)
{
    voc_reply_e action = p->failure;

    p->failure = VOC_REPLY_OK;
    p->realign = 0;
    voc_pusher_awake(p);
    voc_pusher_restart(p);

    switch (action) {
    case VOC_REPLY_OK:
        /* once is what an old connection left; twice is someone else */
        if (p->realigns++ > 0 && p->paused_until <= p->now) {
            p->paused_until = p->now + voc_pusher_backoff(p);
        }
        return;

    case VOC_REPLY_BACKOFF:
        p->paused_until = p->now + voc_pusher_backoff(p);
        break;

    case VOC_REPLY_HOLD:
    case VOC_REPLY_BLOCKED:
        p->paused_until = p->now + voc_pusher_hold(p);
        break;

    default:
        voc_pusher_leave(p, action);
        return;
    }

    p->small = 1;
}
