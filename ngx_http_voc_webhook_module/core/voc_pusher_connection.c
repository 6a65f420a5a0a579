/* The pusher: its connection, what is sent on it, its greeting. */

#include "voc_pusher_private.h"

#include <stdio.h>

void
voc_pusher_forget_sent(voc_pusher_t *p)
{
    unsigned i;

    for (i = 0; i < p->sent_n; i++) {
        voc_redis_buffer_free(
            &p->sent[(p->sent_first + i) % VOC_PUSHER_SENT].buffer);
    }

    p->sent_first = 0;
    p->sent_n = 0;
    p->written = 0;
    p->written_part = 0;
    p->in_flight = 0;
    p->getting = 0;
    p->deleting = 0;
}

void
voc_pusher_disconnect(voc_pusher_t *p, int told, uint64_t delay)
{
    if (!told) {
        p->ops.close(p->ctx);
    }

    p->phase = VOC_PHASE_DOWN;
    p->retry_at = p->now + delay;
    p->counters.up = 0;

    voc_pusher_forget_sent(p);
    voc_redis_reader_free(p->reader);
    p->reader = NULL;

    p->failure = VOC_REPLY_OK;
    p->realign = 0;
    p->small = 1;
    p->realigns = 0;

    voc_pusher_awake(p);
    voc_pusher_restart(p);
}

void
voc_pusher_lost(voc_pusher_t *p, int told, voc_trouble_e trouble,
                const char *reason)
{
    char text[201];
    size_t i, n = 0;

    for (i = 0; reason[i] != '\0' && n < sizeof(text) - 1; i++) {
        if (reason[i] >= ' ' && reason[i] <= '~') {
            text[n++] = reason[i];
        }
    }

    text[n] = '\0';

    p->counters.errors++;
    voc_pusher_trouble(p, trouble, VOC_LOG_ERROR, "%s", text);
    voc_pusher_disconnect(p, told, voc_pusher_backoff(p));
}

void
voc_pusher_no_memory(voc_pusher_t *p)
{
    p->counters.errors++;
    voc_pusher_trouble(p, VOC_TROUBLE_MEMORY, VOC_LOG_ERROR, "no memory");

    if (p->phase == VOC_PHASE_READY) {
        p->paused_until = p->now + VOC_PUSHER_HOLD_MIN;
        p->realign = 1;
    } else {
        voc_pusher_disconnect(p, 0, VOC_PUSHER_HOLD_MIN);
    }
}

int
voc_pusher_enqueue(voc_pusher_t *p, const voc_sent_t *what)
{
    if (p->sent_n == VOC_PUSHER_SENT) {
        voc_pusher_no_memory(p);
        return -1;
    }

    p->sent[(p->sent_first + p->sent_n) % VOC_PUSHER_SENT] = *what;

    if (p->sent_n++ == 0) {
        p->since = p->now;
    }

    return 0;
}

int
voc_pusher_command(voc_pusher_t *p, voc_sent_e type, unsigned argc,
                   const voc_str_t *argv)
{
    voc_sent_t sent = {.type = type, .replies = 1};

    if (voc_redis_append(&sent.buffer, argc, argv) != 0) {
        voc_pusher_no_memory(p);
        return -1;
    }

    if (voc_pusher_enqueue(p, &sent) != 0) {
        voc_redis_buffer_free(&sent.buffer);
        return -1;
    }

    return 0;
}

/* The largest buffers are kept for the next batch. */
static void
voc_pusher_written(voc_pusher_t *p, voc_sent_t *sent)
{
    voc_redis_buffer_t buffer = p->spare;

    if (sent->buffer.size > p->spare.size) {
        p->spare = sent->buffer;
        sent->buffer = buffer;
    }

    voc_redis_buffer_free(&sent->buffer);
    p->written++;
    p->written_part = 0;
}

void
voc_pusher_flush(voc_pusher_t *p)
{
    ssize_t n;
    size_t from;
    voc_sent_t *sent;

    while (p->written < p->sent_n) {
        sent = &p->sent[(p->sent_first + p->written) % VOC_PUSHER_SENT];

        from = sent->buffer.start + p->written_part;

        n = p->ops.send(p->ctx, sent->buffer.data + from,
                        sent->buffer.end - from);
        if (n < 0) {
            voc_pusher_lost(p, 0, VOC_TROUBLE_CONNECTION,
                            "sending failed, the connection is lost");
            return;
        }

        if (n == 0) {
            return;
        }

        if (p->written == 0) {
            p->since = p->now;
        }

        p->written_part += (size_t)n;

        if (from + (size_t)n >= sent->buffer.end) {
            voc_pusher_written(p, sent);
        }
    }
}

/* What is said once the TCP connection stands, or after AUTH. */
void
voc_pusher_greet(voc_pusher_t *p)
{
    char db[16];
    voc_str_t select_argv[2] = {voc_str("SELECT"), {db, 0}};
    voc_str_t role_argv[1] = {voc_str("ROLE")};

    p->phase = VOC_PHASE_GREETING;

    if (p->options.db != 0) {
        select_argv[1].len =
            (size_t)snprintf(db, sizeof(db), "%u", p->options.db);
        if (voc_pusher_command(p, VOC_SENT_SELECT, 2, select_argv) != 0) {
            return;
        }
    }

    voc_pusher_command(p, VOC_SENT_ROLE, 1, role_argv);
}

void
voc_pusher_login(voc_pusher_t *p)
{
    unsigned argc = 0;
    voc_str_t argv[3];

    if (p->options.password.data == NULL) {
        voc_pusher_greet(p);
        return;
    }

    argv[argc++] = (voc_str_t)voc_str("AUTH");

    if (p->options.user.data != NULL) {
        argv[argc++] = p->options.user;
    }

    argv[argc++] = p->options.password;

    p->phase = VOC_PHASE_AUTH;
    voc_pusher_command(p, VOC_SENT_AUTH, argc, argv);
}

void
voc_pusher_ping(voc_pusher_t *p)
{
    voc_str_t argv[1] = {voc_str("PING")};

    voc_pusher_command(p, VOC_SENT_PING, 1, argv);
}

void
voc_pusher_check_time(voc_pusher_t *p)
{
    switch (p->phase) {
    case VOC_PHASE_STOPPED:
    case VOC_PHASE_DOWN:
        return;

    case VOC_PHASE_CONNECTING:
        if (p->now >= p->deadline) {
            voc_pusher_lost(p, 0, VOC_TROUBLE_TIMEOUT,
                            "connecting took too long");
        }
        return;

    case VOC_PHASE_AUTH:
    case VOC_PHASE_GREETING:
        if (p->now >= p->deadline) {
            voc_pusher_lost(p, 0, VOC_TROUBLE_TIMEOUT,
                            "connected, but no answer in time");
        }
        return;

    case VOC_PHASE_READY:
        if (p->sent_n > 0 && p->now >= p->since + p->options.timeout) {
            voc_pusher_lost(p, 0, VOC_TROUBLE_TIMEOUT, "no reply in time");
        }
        return;
    }
}

void
voc_pusher_connect(voc_pusher_t *p)
{
    int rediscover = p->rediscover;

    p->rediscover = 0;
    p->phase = VOC_PHASE_CONNECTING;
    p->deadline = p->now + p->options.connect_timeout;
    p->ops.connect(p->ctx, rediscover);
}

/* 0, or -1 where the connection is given up. */
int
voc_pusher_take(voc_pusher_t *p, const char *data, size_t len)
{
    int rc;
    size_t unread;
    voc_redis_reply_t reply;

    if (voc_redis_reader_feed(p->reader, data, len) != 0) {
        voc_pusher_lost(p, 0, VOC_TROUBLE_MEMORY, "no memory");
        return -1;
    }

    while ((rc = voc_redis_reader_get(p->reader, &reply, &unread)) > 0) {
        if (voc_pusher_reply(p, &reply) != 0 || p->phase < VOC_PHASE_AUTH) {
            return -1;
        }
    }

    if (rc < 0 || unread > VOC_PUSHER_REPLY_MAX) {
        voc_pusher_lost(p, 0, VOC_TROUBLE_PROTOCOL, "not an answer of Redis");
        return -1;
    }

    return 0;
}
