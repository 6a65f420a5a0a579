/* The pusher: fills batches from the journal and sends them. */

#include "voc_pusher_private.h"

#include <stdlib.h>

#define VOC_BATCH_FIRST_SIZE (64 * 1024) /* bytes */

typedef enum {
    VOC_FILL_FULL,
    VOC_FILL_EMPTY, /* there is no more */
    VOC_FILL_AGAIN, /* there may be more later */
    VOC_FILL_NO_MEMORY,
    VOC_FILL_UNREADABLE
} voc_fill_e;

/* From size up to need; doubling, to the most that a batch of many may be. */
static int
voc_batch_grow(voc_batch_t *batch, size_t need)
{
    char *data;
    size_t size = batch->size * 2;

    if (size > VOC_PUSHER_BATCH_BYTES) {
        size = VOC_PUSHER_BATCH_BYTES;
    }

    if (size < VOC_BATCH_FIRST_SIZE) {
        size = VOC_BATCH_FIRST_SIZE;
    }

    if (size < need) {
        size = need;
    }

    data = realloc(batch->data, size);
    if (data == NULL) {
        return -1;
    }

    batch->data = data;
    batch->size = size;

    return 0;
}

static void
voc_batch_shrink(voc_batch_t *batch)
{
    if (batch->size > VOC_BATCH_FIRST_SIZE) {
        free(batch->data);
        batch->data = NULL;
        batch->size = 0;
    }
}

static size_t
voc_batch_used(const voc_batch_t *batch)
{
    return batch->count > 0 ? batch->ends[batch->count - 1] : 0;
}

/* Room for one more event's payload and seal: *room; or FULL, NO_MEMORY. */
static voc_fill_e
voc_batch_room(voc_batch_t *batch, size_t payload, size_t *room)
{
    size_t used = voc_batch_used(batch);
    size_t need = used + payload + VOC_JSON_SEAL_MAX;

    if (need > VOC_PUSHER_BATCH_BYTES && batch->count > 0) {
        return VOC_FILL_FULL;
    }

    if (need > batch->size && voc_batch_grow(batch, need) != 0) {
        return VOC_FILL_NO_MEMORY;
    }

    *room = batch->size;
    if (batch->count > 0 && *room > VOC_PUSHER_BATCH_BYTES) {
        *room = VOC_PUSHER_BATCH_BYTES;
    }

    *room -= used + VOC_JSON_SEAL_MAX;

    return VOC_FILL_EMPTY;
}

/* Its payload stands behind the batch already. */
static voc_fill_e
voc_batch_take(voc_pusher_t *p, const voc_journal_record_t *record)
{
    size_t used;
    voc_batch_t *batch = &p->batch;
    voc_source_t *source = p->source;

    if (source->first && voc_pusher_first(p, record) != VOC_JOURNAL_OK) {
        return VOC_FILL_AGAIN;
    }

    voc_pusher_awake(p);
    voc_pusher_passed(p, record->seq);

    used = voc_batch_used(batch) + record->length;
    used += voc_json_seal(batch->data + used, voc_journal_id(source->journal),
                          record->seq);

    batch->ends[batch->count++] = used;
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
    size_t room, need = 0;
    voc_fill_e rc;
    voc_batch_t *batch = &p->batch;
    voc_journal_record_t record;
    unsigned most = p->small ? VOC_PUSHER_SMALL : VOC_PUSHER_BATCH_EVENTS;

    while (batch->count < most) {
        rc = voc_batch_room(batch, need, &room);
        if (rc != VOC_FILL_EMPTY) {
            return rc;
        }

        switch (voc_journal_read(&p->source->reader,
                                 batch->data + voc_batch_used(batch), room,
                                 &record)) {
        case VOC_JOURNAL_OK:
            need = 0;
            rc = voc_batch_take(p, &record);
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

/*
 * A batch costs us and Redis as much as several events.  So behind one the
 * next gathers for a moment, or until it is of a few.  Where many come, for
 * all of a longer moment: who is busy is late anyway.
 */
static void
voc_pusher_gather(voc_pusher_t *p)
{
    uint64_t ms = p->now > p->sent_at ? p->now - p->sent_at : 1;

    p->sent_at = p->now;

    if (p->batch.count < VOC_PUSHER_MANY * ms) {
        p->gather = VOC_PUSHER_FEW;
        p->gather_until = p->now + VOC_PUSHER_GATHER;
    } else {
        p->gather = VOC_PUSHER_BATCH_EVENTS;
        p->gather_until = p->now + VOC_PUSHER_GATHER_MANY;
    }
}

/* EVALSHA or EVAL, script, 2, list, cursor, expected, new, event ... */
static int
voc_batch_send(voc_pusher_t *p)
{
    char cursor[VOC_PUSHER_NUMBER];
    size_t from = 0;
    unsigned i;
    voc_str_t *argv = p->argv;
    voc_batch_t *batch = &p->batch;
    voc_source_t *source = p->source;
    voc_sent_t sent = {.type = VOC_SENT_PUSH};
    static const voc_str_t evalsha = voc_str("EVALSHA"),
                           eval = voc_str("EVAL");
    static const voc_str_t keys = voc_str("2");

    *argv++ = p->loaded ? evalsha : eval;
    argv->data = p->loaded ? voc_redis_push_sha1 : voc_redis_push_script;
    argv->len = strlen(argv->data);
    argv++;
    *argv++ = keys;
    *argv++ = p->options.key;
    *argv++ = voc_pusher_source_key(p, source);
    *argv++ = (voc_str_t){source->expected, source->expected_len};
    *argv++ = (voc_str_t){cursor, voc_pusher_decimal(cursor, batch->last)};

    for (i = 0; i < batch->count; i++) {
        *argv++ = (voc_str_t){batch->data + from, batch->ends[i] - from};
        from = batch->ends[i];
    }

    sent.last = batch->last;
    sent.end = batch->end;
    sent.events = batch->count;

    if (voc_pusher_command(p, &sent, VOC_PUSHER_ARGS + batch->count,
                           p->argv) != 0) {
        return -1;
    }

    memcpy(source->expected, cursor, sizeof(cursor));
    source->expected_len = p->argv[VOC_PUSHER_ARGS - 1].len;

    p->loaded = 1;
    p->in_flight++;
    voc_pusher_gather(p);
    batch->count = 0;

    if (batch->size > VOC_PUSHER_BATCH_BYTES) {
        voc_batch_shrink(batch);
    }

    return 0;
}

static void
voc_pusher_delete_cursor(voc_pusher_t *p)
{
    voc_str_t id = {p->cursors[0], VOC_JOURNAL_ID_LEN};
    voc_sent_t sent = {.type = VOC_SENT_DEL};
    voc_str_t argv[2] = {voc_str("DEL"), {p->cursor_key, 0}};

    argv[1].len = voc_redis_cursor_key(p->cursor_key, p->options.key, id);

    if (voc_pusher_command(p, &sent, 2, argv) == 0) {
        p->deleting = 1;
    }
}

static int
voc_pusher_gathers(const voc_pusher_t *p)
{
    return p->source == &p->live && p->now < p->gather_until &&
           p->batch.count < p->gather;
}

/* Until there is more, or enough where a batch gathers. */
static void
voc_pusher_sleep(voc_pusher_t *p)
{
    voc_source_t *source = p->source;
    uint64_t seq = source->read;

    if (voc_pusher_gathers(p)) {
        seq += p->gather - p->batch.count - 1;
        voc_pusher_again(p, p->gather_until - p->now);
    }

    p->asleep = voc_journal_sleep(source->journal, seq);
    if (!p->asleep) {
        voc_pusher_again(p, 0);
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
    voc_batch_shrink(&p->batch);
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

        if (p->batch.count == 0 ||
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
        return p->in_flight == 0 && p->batch.count == 0 ? voc_pusher_idle(p)
                                                        : 0;
    default:
        return 0;
    }
}
