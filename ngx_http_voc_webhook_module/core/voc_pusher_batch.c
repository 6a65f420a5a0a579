/* The pusher: fills batches from the journal and sends them. */

#include "voc_pusher_private.h"

typedef enum {
    VOC_FILL_FULL,
    VOC_FILL_EMPTY, /* there is no more */
    VOC_FILL_AGAIN, /* there may be more later */
    VOC_FILL_NO_MEMORY,
    VOC_FILL_UNREADABLE
} voc_fill_e;

/*
 * Where one more event goes that has need bytes of payload, and *room for
 * it.  FULL: only a batch of one may be larger.
 */
static voc_fill_e
voc_batch_room(voc_pusher_t *p, size_t need, char **out, size_t *room)
{
    size_t most = SIZE_MAX;
    voc_redis_push_t *push = &p->batch.push;

    if (push->buffer.data == NULL) {
        push->buffer = p->spare;
        memset(&p->spare, 0, sizeof(p->spare));
    }

    need += VOC_JSON_SEAL_MAX;

    if (push->count > 0) {
        if (push->buffer.end + need > VOC_PUSHER_BATCH_BYTES) {
            return VOC_FILL_FULL;
        }
        most = VOC_PUSHER_BATCH_BYTES - push->buffer.end;
    }

    if (voc_redis_push_reserve(push, p->options.key, need) != 0) {
        return VOC_FILL_NO_MEMORY;
    }

    *out = voc_redis_push_next(push, room);
    *room = (*room < most ? *room : most) - VOC_JSON_SEAL_MAX;

    return VOC_FILL_EMPTY;
}

/* Its payload stands there already. */
static voc_fill_e
voc_batch_take(voc_pusher_t *p, const voc_journal_record_t *record,
               char *event)
{
    size_t len;
    voc_batch_t *batch = &p->batch;
    voc_source_t *source = p->source;

    if (source->first && voc_pusher_first(p, record) != VOC_JOURNAL_OK) {
        return VOC_FILL_AGAIN;
    }

    voc_pusher_awake(p);
    voc_pusher_passed(p, record->seq);

    len = record->length;
    len += voc_json_seal(event + len, &p->second, record->accepted,
                         voc_journal_id(source->journal), record->seq);
    voc_redis_push_add(&batch->push, len);

    batch->last = record->seq;
    batch->end = record->end;
    source->read = record->seq;

    return VOC_FILL_EMPTY;
}

/* The end; all up to record->seq that was not read is damaged. */
static void
voc_batch_end(voc_pusher_t *p, const voc_journal_record_t *record)
{
    voc_source_t *source = p->source;

    if (source->first) {
        voc_pusher_first_empty(p);
    }

    if (record->lost == 0) {
        return;
    }

    voc_pusher_passed(p, record->seq + 1);
    source->read = record->seq;
    source->skipped = record->seq;
    source->skipped_end = record->end;
}

static voc_fill_e
voc_batch_fill(voc_pusher_t *p)
{
    char *event;
    size_t room, need = 0;
    voc_fill_e rc;
    voc_journal_record_t record;
    unsigned most = p->small ? VOC_PUSHER_SMALL : VOC_PUSHER_BATCH_EVENTS;

    while (p->batch.push.count < most) {
        rc = voc_batch_room(p, need, &event, &room);
        if (rc != VOC_FILL_EMPTY) {
            return rc;
        }

        switch (voc_journal_read(&p->source->reader, event, room, &record)) {
        case VOC_JOURNAL_OK:
            need = 0;
            rc = voc_batch_take(p, &record, event);
            if (rc != VOC_FILL_EMPTY) {
                return rc;
            }
            break;

        case VOC_JOURNAL_SMALL:
            need = record.length;
            break;

        case VOC_JOURNAL_EMPTY:
            voc_batch_end(p, &record);
            return VOC_FILL_EMPTY;

        case VOC_JOURNAL_AGAIN:
            voc_pusher_again(p, 0);
            return VOC_FILL_AGAIN;

        default:
            return VOC_FILL_UNREADABLE;
        }
    }

    return VOC_FILL_FULL;
}

/* Events per second, over a moment that ends now. */
static uint64_t
voc_pusher_rate(voc_pusher_t *p, unsigned events)
{
    uint64_t ms = p->now - p->recent_since;

    p->recent += events;

    if (ms >= VOC_PUSHER_RECENT) {
        p->rate = p->recent * 1000 / ms;
        p->recent = 0;
        p->recent_since = p->now;
    }

    return p->rate;
}

/*
 * It is other work, as handshakes, that is held up by each batch.  Few batches
 * hold nothing up, and a short moment without the CPU also looks like work.
 */
static int
voc_pusher_busy(voc_pusher_t *p, uint64_t rate)
{
    unsigned busy = p->ops.busy(p->ctx);

    return busy >= VOC_PUSHER_TAKEN && rate * VOC_PUSHER_SELDOM >= 1000 &&
           rate * 100 < VOC_PUSHER_SOME * 1000 * (uint64_t)busy;
}

/*
 * A batch wakes Redis and then us, which costs each of the two up to 0.1 ms.
 * So behind one the next gathers: for a moment, or until it is of a few; where
 * many come, for all of a longer one; longest where few come and the CPU is
 * busy nevertheless.
 */
static void
voc_pusher_gather(voc_pusher_t *p, unsigned events)
{
    uint64_t rate = voc_pusher_rate(p, events);

    p->sent_at = p->now;
    p->gather = VOC_PUSHER_BATCH_EVENTS;

    if (rate >= VOC_PUSHER_MANY * 1000) {
        p->gather_until = p->now + VOC_PUSHER_GATHER_MANY;
    } else if (voc_pusher_busy(p, rate)) {
        p->gather_until = p->now + VOC_PUSHER_GATHER_BUSY;
    } else {
        p->gather = VOC_PUSHER_FEW;
        p->gather_until = p->now + VOC_PUSHER_GATHER;
    }
}

static int
voc_batch_send(voc_pusher_t *p)
{
    voc_batch_t *batch = &p->batch;
    voc_source_t *source = p->source;
    voc_sent_t sent = {.type = VOC_SENT_PUSH,
                       .replies = VOC_REDIS_PUSH_REPLIES,
                       .last = batch->last,
                       .end = batch->end,
                       .events = batch->push.count};
    voc_str_t expected = {source->expected, source->expected_len};
    char cursor[VOC_REDIS_NUMBER];
    voc_str_t next = {cursor, voc_redis_decimal(cursor, batch->last)};

    if (voc_redis_push_end(&batch->push, p->options.key,
                           voc_pusher_source_key(p, source), expected,
                           next) != 0) {
        voc_pusher_no_memory(p);
        return -1;
    }

    sent.buffer = batch->push.buffer;
    if (voc_pusher_enqueue(p, &sent) != 0) {
        return -1;
    }

    memcpy(source->expected, cursor, next.len);
    source->expected_len = next.len;

    p->in_flight++;
    voc_pusher_gather(p, sent.events);
    memset(&batch->push, 0, sizeof(batch->push));

    return 0;
}

static void
voc_pusher_delete_cursor(voc_pusher_t *p)
{
    voc_str_t id = {p->cursors[0], VOC_JOURNAL_ID_LEN};
    voc_str_t argv[2] = {voc_str("DEL"), {p->cursor_key, 0}};

    argv[1].len = voc_redis_cursor_key(p->cursor_key, p->options.key, id);

    if (voc_pusher_command(p, VOC_SENT_DEL, 2, argv) == 0) {
        p->deleting = 1;
    }
}

static int
voc_pusher_gathers(const voc_pusher_t *p)
{
    return p->source == &p->live && p->now < p->gather_until &&
           p->batch.push.count < p->gather;
}

/* Until there is more, or enough where a batch gathers. */
static void
voc_pusher_sleep(voc_pusher_t *p)
{
    voc_source_t *source = p->source;
    uint64_t seq = source->read;

    if (voc_pusher_gathers(p)) {
        seq += p->gather - p->batch.push.count - 1;
        voc_pusher_again(p, p->gather_until - p->now);
    }

    p->asleep = voc_journal_sleep(source->journal, seq);
    if (!p->asleep) {
        voc_pusher_again(p, 0);
    }
}

/* Who has been idle for a while needs no large buffers. */
static void
voc_pusher_shrink(voc_pusher_t *p)
{
    if (p->now >= p->sent_at + VOC_PUSHER_RESCAN) {
        voc_redis_buffer_free(&p->batch.push.buffer);
        voc_redis_buffer_free(&p->spare);
    }
}

/* Nothing in flight, nothing to read: 1 where another source is due. */
static int
voc_pusher_idle(voc_pusher_t *p)
{
    voc_source_t *source = p->source;

    if (source->skipped != 0) {
        source->ack = source->skipped;
        source->ack_end = source->skipped_end;
        source->skipped = 0;
        voc_pusher_acknowledge(p, source);
    }

    if (source->ack != 0) {
        return 0;
    }

    if (source == &p->left) {
        voc_pusher_finish(p);
        return 1;
    }

    voc_pusher_up(p);
    voc_pusher_shrink(p);
    voc_pusher_sleep(p);

    return 0;
}

/* What there is, once nothing is in flight; else only full batches. */
static voc_fill_e
voc_pusher_send(voc_pusher_t *p)
{
    voc_fill_e rc;
    unsigned most = p->small ? 1 : VOC_PUSHER_IN_FLIGHT;

    for (;;) {
        if (p->in_flight >= most) {
            return VOC_FILL_AGAIN;
        }

        rc = voc_batch_fill(p);

        if (rc == VOC_FILL_NO_MEMORY || rc == VOC_FILL_UNREADABLE) {
            return rc;
        }

        if (p->batch.push.count == 0 ||
            (rc != VOC_FILL_FULL && p->in_flight > 0)) {
            return rc;
        }

        if (rc == VOC_FILL_EMPTY && voc_pusher_gathers(p)) {
            voc_pusher_sleep(p);
            return VOC_FILL_AGAIN;
        }

        if (voc_batch_send(p) != 0) {
            return VOC_FILL_AGAIN;
        }
    }
}

int
voc_pusher_work(voc_pusher_t *p)
{
    if (p->ncursors > 0 && !p->deleting) {
        voc_pusher_delete_cursor(p);
    }

    if (p->source == NULL || voc_pusher_draining(p) || p->getting) {
        return 0;
    }

    if (!p->source->begun) {
        voc_pusher_ask(p);
        return 0;
    }

    switch (voc_pusher_send(p)) {
    case VOC_FILL_NO_MEMORY:
        voc_pusher_no_memory(p);
        return 0;

    case VOC_FILL_UNREADABLE:
        voc_pusher_unreadable(p);
        return 0;

    case VOC_FILL_EMPTY:
        return p->in_flight == 0 && p->batch.push.count == 0
                   ? voc_pusher_idle(p)
                   : 0;
    default:
        return 0;
    }
}
