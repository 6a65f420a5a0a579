/* The pusher: what happens to it, its timer, its log. */

#include "voc_pusher_private.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define VOC_PUSHER_FEED 4096 /* bytes given to the reader at once */

static void voc_pusher_run(voc_pusher_t *p, uint64_t now);

voc_pusher_t *
voc_pusher_create(const voc_pusher_options_t *options,
                  const voc_pusher_ops_t *ops, void *ctx)
{
    voc_pusher_t *p;
    voc_journal_status_t status;

    p = calloc(1, sizeof(*p));
    if (p == NULL) {
        return NULL;
    }

    p->cursor_key = malloc(options->key.len + 64);
    if (p->cursor_key == NULL) {
        free(p);
        return NULL;
    }

    p->options = *options;
    p->ops = *ops;
    p->ctx = ctx;

    voc_journal_status(options->journal, &status);
    p->live.journal = options->journal;
    p->live.recovered = 1;
    p->live.confirmed = status.tail;

    return p;
}

void
voc_pusher_free(voc_pusher_t *p)
{
    if (p == NULL) {
        return;
    }

    voc_pusher_forget_sent(p);
    voc_redis_reader_free(p->reader);

    if (p->left.journal != NULL) {
        voc_journal_close(p->left.journal);
    }

    voc_redis_buffer_free(&p->batch.push.buffer);
    voc_redis_buffer_free(&p->spare);
    free(p->cursor_key);
    free(p);
}

const voc_pusher_counters_t *
voc_pusher_counters(const voc_pusher_t *p)
{
    return &p->counters;
}

static uint64_t
voc_pusher_source_pending(const voc_source_t *source)
{
    uint64_t done;
    voc_journal_status_t status;

    if (source->journal == NULL || !source->recovered) {
        return 0;
    }

    voc_journal_status(source->journal, &status);

    done = status.tail;
    if (done < source->confirmed) {
        done = source->confirmed;
    }

    return status.head > done ? status.head - done : 0;
}

uint64_t
voc_pusher_pending(const voc_pusher_t *p)
{
    return voc_pusher_source_pending(&p->live) +
           voc_pusher_source_pending(&p->left);
}

int
voc_pusher_finished(const voc_pusher_t *p)
{
    return voc_pusher_pending(p) == 0 && p->left.journal == NULL &&
           p->ncursors == 0;
}

void
voc_pusher_log(voc_pusher_t *p, voc_log_e level, const char *format, ...)
{
    char line[VOC_PUSHER_LINE];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);

    p->ops.log(p->ctx, level, line);
}

void
voc_pusher_trouble(voc_pusher_t *p, voc_trouble_e trouble, voc_log_e level,
                   const char *format, ...)
{
    char text[VOC_PUSHER_LINE - 64];
    va_list args;

    p->counters.up = 0;

    if (p->troubles & (1u << trouble)) {
        return;
    }

    p->troubles |= 1u << trouble;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);

    voc_pusher_log(p, level, "%s; events stay in the journal", text);
}

void
voc_pusher_up(voc_pusher_t *p)
{
    if (p->counters.up) {
        return;
    }

    p->counters.up = 1;
    p->troubles = 0;

    voc_pusher_log(p, VOC_LOG_NOTICE, "taking events%s, %" PRIu64 " waiting",
                   p->was_up ? " again" : "", voc_pusher_pending(p));
    p->was_up = 1;
}

void
voc_pusher_again(voc_pusher_t *p, uint64_t ms)
{
    if (p->again_at > p->now + ms) {
        p->again_at = p->now + ms;
    }
}

static uint64_t
voc_pusher_jitter(voc_pusher_t *p, uint64_t from, uint64_t to)
{
    return from + p->ops.random(p->ctx) % (to - from + 1);
}

/* Up to 5 s, full jitter; never less than 50 ms, so that it never spins. */
uint64_t
voc_pusher_backoff(voc_pusher_t *p)
{
    uint64_t most = (uint64_t)VOC_PUSHER_BACKOFF_MIN << (p->backoffs + 1);

    if (most >= VOC_PUSHER_BACKOFF_MAX) {
        most = VOC_PUSHER_BACKOFF_MAX;
    } else {
        p->backoffs++;
    }

    return voc_pusher_jitter(p, VOC_PUSHER_BACKOFF_MIN, most);
}

uint64_t
voc_pusher_hold(voc_pusher_t *p)
{
    uint64_t least, most = (uint64_t)VOC_PUSHER_HOLD_MIN << p->holds;

    if (most >= VOC_PUSHER_HOLD_MAX) {
        most = VOC_PUSHER_HOLD_MAX;
    } else {
        p->holds++;
    }

    least = most / 2 > VOC_PUSHER_HOLD_MIN ? most / 2 : VOC_PUSHER_HOLD_MIN;

    return voc_pusher_jitter(p, least, most);
}

static void
voc_pusher_soonest(uint64_t *at, uint64_t other)
{
    if (other < *at) {
        *at = other;
    }
}

static void
voc_pusher_arm(voc_pusher_t *p)
{
    uint64_t at = p->again_at;

    if (p->live.ack != 0 || p->left.ack != 0) {
        voc_pusher_soonest(&at, p->ack_at);
    }

    switch (p->phase) {
    case VOC_PHASE_STOPPED:
        break;

    case VOC_PHASE_DOWN:
        voc_pusher_soonest(&at, p->retry_at);
        break;

    case VOC_PHASE_CONNECTING:
    case VOC_PHASE_AUTH:
    case VOC_PHASE_GREETING:
        voc_pusher_soonest(&at, p->deadline);
        break;

    case VOC_PHASE_READY:
        voc_pusher_soonest(&at, p->sent_n > 0
                                    ? p->since + p->options.timeout
                                    : p->last_received + VOC_PUSHER_PING);

        if (p->paused_until > p->now) {
            voc_pusher_soonest(&at, p->paused_until);
        } else if (p->source == &p->live && p->left.journal == NULL) {
            /* also a look at the journal, should a wake have been missed */
            voc_pusher_soonest(&at, p->rescan_at);
        }
        break;
    }

    if (at == VOC_NO_TIMER) {
        p->ops.timer(p->ctx, VOC_NO_TIMER);
    } else {
        p->ops.timer(p->ctx, at > p->now ? at - p->now : 0);
    }
}

/* Everything that can be done now; each event ends here. */
static void
voc_pusher_run(voc_pusher_t *p, uint64_t now)
{
    int more;

    if (p->phase == VOC_PHASE_STOPPED) {
        return;
    }

    p->now = now;
    p->again_at = VOC_NO_TIMER;

    voc_pusher_check_time(p);

    if (p->phase == VOC_PHASE_DOWN && now >= p->retry_at) {
        voc_pusher_connect(p);
    }

    if (now >= p->ack_at) {
        voc_pusher_acknowledge(p, &p->live);
        voc_pusher_acknowledge(p, &p->left);
    }

    do {
        more = 0;
        voc_pusher_sources(p);

        if (p->phase == VOC_PHASE_READY && p->sent_n == 0 &&
            (p->failure != VOC_REPLY_OK || p->realign)) {
            voc_pusher_act(p);
        }

        if (p->phase == VOC_PHASE_READY && p->failure == VOC_REPLY_OK &&
            !p->realign && now >= p->paused_until) {
            more = voc_pusher_work(p);
        }
    } while (more);

    if (p->phase == VOC_PHASE_READY && p->sent_n == 0 &&
        now >= p->last_received + VOC_PUSHER_PING) {
        voc_pusher_ping(p);
    }

    voc_pusher_flush(p);
    voc_pusher_arm(p);
}

void
voc_pusher_start(voc_pusher_t *p, uint64_t now)
{
    if (p->phase != VOC_PHASE_STOPPED) {
        return;
    }

    p->phase = VOC_PHASE_DOWN;
    p->retry_at = now;
    p->rescan_at = now;
    voc_journal_awake(p->live.journal);
    voc_pusher_run(p, now);
}

void
voc_pusher_connected(voc_pusher_t *p, uint64_t now)
{
    if (p->phase != VOC_PHASE_CONNECTING) {
        return;
    }

    p->now = now;
    p->counters.connects++;
    p->last_received = now;
    p->paused_until = now;
    p->reader = voc_redis_reader_create();

    if (p->reader == NULL) {
        voc_pusher_no_memory(p);
    } else {
        voc_pusher_login(p);
    }

    voc_pusher_run(p, now);
}

void
voc_pusher_closed(voc_pusher_t *p, uint64_t now, const char *reason)
{
    if (p->phase < VOC_PHASE_CONNECTING) {
        return;
    }

    p->now = now;
    voc_pusher_lost(p, 1, VOC_TROUBLE_CONNECTION,
                    reason != NULL ? reason : "connection closed");
    voc_pusher_run(p, now);
}

void
voc_pusher_received(voc_pusher_t *p, uint64_t now, const char *data,
                    size_t len)
{
    size_t n;

    if (p->phase < VOC_PHASE_AUTH) {
        return;
    }

    p->now = now;
    p->last_received = now;

    while (len > 0) {
        n = len < VOC_PUSHER_FEED ? len : VOC_PUSHER_FEED;

        if (voc_pusher_take(p, data, n) != 0) {
            break;
        }

        data += n;
        len -= n;
    }

    voc_pusher_run(p, now);
}

void
voc_pusher_writable(voc_pusher_t *p, uint64_t now)
{
    voc_pusher_run(p, now);
}

void
voc_pusher_timer(voc_pusher_t *p, uint64_t now)
{
    voc_pusher_run(p, now);
}

void
voc_pusher_wake(voc_pusher_t *p, uint64_t now)
{
    /* who wakes has taken the sleep off already */
    voc_pusher_awake(p);
    voc_pusher_run(p, now);
}

void
voc_pusher_retired(voc_pusher_t *p, uint64_t now, voc_str_t id)
{
    /* no room: that cursor stays, which harms nobody */
    if (id.len == VOC_JOURNAL_ID_LEN && p->ncursors < VOC_PUSHER_CURSORS) {
        memcpy(p->cursors[p->ncursors++], id.data, id.len);
    }

    voc_pusher_run(p, now);
}
