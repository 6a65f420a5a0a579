/*
 * The pusher: the journals it reads.  Leftovers of earlier starts first, the
 * oldest before the others, then the live one; where a source is begun is
 * told by its cursor in Redis, not by the journal.
 */

#include "voc_pusher_private.h"

#include <inttypes.h>
#include <stdlib.h>

/* Only as voc_redis_decimal() writes it; 1 or 0. */
static int
voc_pusher_number(const voc_redis_reply_t *reply, uint64_t *number)
{
    size_t i;
    char again[VOC_REDIS_NUMBER];
    voc_str_t text = reply->text, same = {again, 0};

    *number = 0;

    if (reply->cut || text.len == 0 || text.len > VOC_REDIS_NUMBER) {
        return 0;
    }

    for (i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return 0;
        }

        *number = *number * 10 + (uint64_t)(text.data[i] - '0');
    }

    /* leading zeros, and what does not fit into 64 bits */
    same.len = voc_redis_decimal(again, *number);

    return voc_str_equal(text, same);
}

/* ---- which one ------------------------------------------------------ */

void
voc_pusher_awake(voc_pusher_t *p)
{
    if (p->asleep) {
        p->asleep = 0;
        voc_journal_awake(p->live.journal);
    }
}

void
voc_pusher_restart(voc_pusher_t *p)
{
    p->batch.push.count = 0;
    p->gather_until = 0;
    p->live.begun = 0;
    p->left.begun = 0;
}

int
voc_pusher_draining(const voc_pusher_t *p)
{
    return p->source == &p->live && p->left.journal != NULL;
}

static void
voc_pusher_adopt(voc_pusher_t *p)
{
    unsigned i;
    voc_error_t error;
    voc_journal_t *journal = NULL;
    voc_journal_rc rc = VOC_JOURNAL_REFUSED;

    p->rescan_at = p->now + VOC_PUSHER_RESCAN;

    if (p->options.directory == NULL) {
        return;
    }

    for (i = 0; rc == VOC_JOURNAL_REFUSED && i < VOC_JOURNAL_REFUSED_MAX;
         i++) {
        memset(&error, 0, sizeof(error));
        rc = voc_journal_adopt_next(p->live.journal, p->options.directory,
                                    p->drains, &journal, &error);

        if (rc == VOC_JOURNAL_REFUSED) {
            voc_pusher_log(p, VOC_LOG_WARN, "journal: %s", error.text);
        }
    }

    if (rc == VOC_JOURNAL_FAILED) {
        if (!p->directory_failed) {
            voc_pusher_log(p, VOC_LOG_ERROR, "journal: %s", error.text);
        }
        p->directory_failed = 1;
        return;
    }

    p->directory_failed = 0;

    p->waits = rc == VOC_JOURNAL_BUSY;
    if (p->waits && !p->begun) {
        p->rescan_at = p->now + VOC_PUSHER_TURN;
    }

    if (rc == VOC_JOURNAL_OK) {
        memset(&p->left, 0, sizeof(p->left));
        p->left.journal = journal;
        p->drains = 1;
        voc_pusher_awake(p);
    }
}

static void
voc_pusher_drop_leftover(voc_pusher_t *p)
{
    memset(&p->left, 0, sizeof(p->left));

    if (p->source == &p->left) {
        p->source = NULL;
        p->batch.push.count = 0;
    }
}

static void
voc_pusher_recover(voc_pusher_t *p)
{
    voc_error_t error;
    voc_journal_status_t status;

    switch (voc_journal_recover(p->left.journal)) {
    case VOC_JOURNAL_AGAIN:
        voc_pusher_again(p, 0);
        return;

    case VOC_JOURNAL_OK:
        voc_journal_status(p->left.journal, &status);
        p->left.recovered = 1;
        p->left.confirmed = status.tail;

        voc_pusher_log(p, VOC_LOG_NOTICE,
                       "journal: %s was left behind, %" PRIu64
                       " events in it",
                       voc_journal_path(p->left.journal), status.pending);
        if (voc_journal_check(p->left.journal, &error) != VOC_JOURNAL_OK) {
            voc_pusher_log(p, VOC_LOG_WARN, "journal: %s", error.text);
        }
        return;

    default:
        if (!(p->troubles & (1u << VOC_TROUBLE_JOURNAL))) {
            p->troubles |= 1u << VOC_TROUBLE_JOURNAL;
            voc_pusher_log(p, VOC_LOG_ALERT, "journal: %s cannot be read",
                           voc_journal_path(p->left.journal));
        }
        voc_journal_close(p->left.journal);
        voc_pusher_drop_leftover(p);
        return;
    }
}

static void
voc_pusher_go_live(voc_pusher_t *p)
{
    if (!p->begun) {
        p->begun = !p->waits && p->ops.may_begin(p->ctx);
    }

    if (p->begun) {
        p->source = &p->live;
    } else {
        voc_pusher_again(p, VOC_PUSHER_TURN);
    }
}

void
voc_pusher_sources(voc_pusher_t *p)
{
    if (p->left.journal == NULL && p->now >= p->rescan_at) {
        voc_pusher_adopt(p);
    }

    if (p->left.journal != NULL && !p->left.recovered) {
        voc_pusher_recover(p);
    }

    if (p->source == &p->left) {
        return;
    }

    if (p->left.journal == NULL) {
        voc_pusher_go_live(p);
        return;
    }

    if (p->left.recovered && p->in_flight == 0 && !p->getting) {
        p->source = &p->left;
        p->live.begun = 0;
        p->batch.push.count = 0;
    }
}

void
voc_pusher_finish(voc_pusher_t *p)
{
    voc_journal_t *journal = p->left.journal;

    if (p->left.damaged > p->left.told) {
        voc_pusher_log(p, VOC_LOG_WARN,
                       "journal: %s is done with, %" PRIu64
                       " of its events are lost in all",
                       voc_journal_path(journal), p->left.damaged);
    }

    voc_pusher_drop_leftover(p);
    p->rescan_at = p->now;
    p->ops.retire(p->ctx, journal);
}

void
voc_pusher_unreadable(voc_pusher_t *p)
{
    voc_pusher_trouble(p, VOC_TROUBLE_JOURNAL, VOC_LOG_ALERT,
                       "journal %s cannot be read",
                       voc_journal_path(p->source->journal));
    p->paused_until = p->now + voc_pusher_hold(p);
    p->realign = 1;
}

/* ---- its cursor ----------------------------------------------------- */

voc_str_t
voc_pusher_source_key(voc_pusher_t *p, const voc_source_t *source)
{
    voc_str_t key = {p->cursor_key, 0};

    key.len = voc_redis_cursor_key(p->cursor_key, p->options.key,
                                   voc_journal_id(source->journal));

    return key;
}

/* No list is that long: the answer is never an event, however large. */
#define VOC_PUSHER_NO_INDEX "9223372036854775807"

/*
 * What the commit does after RPUSH, on a list that it leaves as it is: who
 * may not take a batch back must not push one.
 */
static int
voc_pusher_rights(voc_pusher_t *p)
{
    voc_sent_t sent = {.type = VOC_SENT_RIGHTS, .replies = 4};
    voc_str_t list = p->options.key;
    voc_str_t multi[] = {voc_str("MULTI")};
    voc_str_t last[] = {voc_str("LINDEX"), list,
                        voc_str(VOC_PUSHER_NO_INDEX)};
    voc_str_t trim[] = {voc_str("LTRIM"), list, voc_str("0"), voc_str("-1")};
    voc_str_t exec[] = {voc_str("EXEC")};

    if (voc_redis_append(&sent.buffer, 1, multi) == 0 &&
        voc_redis_append(&sent.buffer, 3, last) == 0 &&
        voc_redis_append(&sent.buffer, 4, trim) == 0 &&
        voc_redis_append(&sent.buffer, 1, exec) == 0) {
        if (voc_pusher_enqueue(p, &sent) == 0) {
            return 0;
        }
    } else {
        voc_pusher_no_memory(p);
    }

    voc_redis_buffer_free(&sent.buffer);

    return -1;
}

void
voc_pusher_ask(voc_pusher_t *p)
{
    voc_source_t *source = p->source;
    voc_journal_status_t status;
    voc_str_t argv[2] = {voc_str("GET")};

    /*
     * Another pusher may have gone on since we were made.  Or the tail stands
     * before what we push again, behind what is lost.
     */
    voc_journal_status(source->journal, &status);
    if (source->confirmed < status.tail && source->lost < status.tail) {
        source->confirmed = status.tail;
    }

    argv[1] = voc_pusher_source_key(p, source);

    if (voc_pusher_rights(p) == 0 &&
        voc_pusher_command(p, VOC_SENT_GET, 2, argv) == 0) {
        p->getting = 1;
    }
}

/*
 * There is no cursor: we go on behind the tail, and say so.  No batch goes
 * out against a missing cursor, or what an old connection still holds could
 * be pushed again once the journal is done and its cursor deleted.
 */
static void
voc_pusher_init_cursor(voc_pusher_t *p)
{
    char number[VOC_REDIS_NUMBER];
    voc_source_t *source = p->source;
    voc_str_t argv[4] = {voc_str("SET"), {0}, {number, 0}, voc_str("NX")};

    if (source->confirmed > 0 && !source->missing) {
        source->missing = 1;
        voc_pusher_log(p, VOC_LOG_WARN,
                       "no cursor of journal %.*s, going on behind "
                       "event %" PRIu64,
                       VOC_JOURNAL_ID_LEN,
                       voc_journal_id(source->journal).data,
                       source->confirmed);
    }

    argv[1] = voc_pusher_source_key(p, source);
    argv[2].len = voc_redis_decimal(number, source->confirmed);

    if (voc_pusher_command(p, VOC_SENT_INIT, 4, argv) == 0) {
        voc_pusher_ask(p);
    }
}

static void
voc_pusher_foreign(voc_pusher_t *p)
{
    p->counters.errors++;
    voc_pusher_trouble(p, VOC_TROUBLE_CURSOR, VOC_LOG_ALERT,
                       "the cursor of journal %.*s is none of its numbers, "
                       "someone else has set it",
                       VOC_JOURNAL_ID_LEN,
                       voc_journal_id(p->source->journal).data);
    p->paused_until = p->now + voc_pusher_hold(p);
    p->small = 1;
}

void
voc_pusher_begin(voc_pusher_t *p, const voc_redis_reply_t *reply)
{
    uint64_t cursor, sure;
    voc_source_t *source = p->source;
    voc_journal_status_t status;

    if (reply->type == VOC_REDIS_NIL) {
        voc_pusher_init_cursor(p);
        return;
    }

    voc_journal_status(source->journal, &status);

    /* a leftover may have lost records with the power that Redis has */
    if (!voc_pusher_number(reply, &cursor) ||
        (cursor > status.head && source == &p->live)) {
        voc_pusher_foreign(p);
        return;
    }

    memcpy(source->expected, reply->text.data, reply->text.len);
    source->expected_len = reply->text.len;

    source->begun = 1;
    source->first = 1;
    source->from = cursor;
    source->read = cursor;
    source->skipped = 0;
    source->replay = cursor < source->confirmed;
    source->forward = cursor > status.tail;

    if (cursor > source->confirmed) {
        /* confirmed, though the answer was lost */
        sure = cursor < status.head ? cursor : status.head;
        p->counters.pushed += sure - source->confirmed;
        source->confirmed = sure;
    }

    p->batch.push.count = 0;
    voc_journal_seek(&source->reader, source->journal, cursor);
}

void
voc_pusher_acknowledge(voc_pusher_t *p, voc_source_t *source)
{
    if (source->ack == 0) {
        return;
    }

    /* a journal that failed says so itself, where it is appended to */
    if (voc_journal_acknowledge(source->journal, source->ack,
                                source->ack_end) == VOC_JOURNAL_BUSY) {
        p->ack_at = p->now + VOC_PUSHER_BUSY;
    } else {
        source->ack = 0;
    }
}

/* ---- what is read behind it ----------------------------------------- */

static void
voc_pusher_count_replay(voc_pusher_t *p, uint64_t replayed, uint64_t gone)
{
    voc_source_t *source = p->source;

    p->counters.replayed += replayed;
    p->counters.lost += gone;

    voc_pusher_log(p, VOC_LOG_WARN,
                   "Redis lost what it had confirmed, %" PRIu64
                   " events behind event %" PRIu64
                   " of journal %.*s: %" PRIu64 " are pushed again, %" PRIu64
                   " are no longer held",
                   replayed + gone, source->from, VOC_JOURNAL_ID_LEN,
                   voc_journal_id(source->journal).data, replayed, gone);

    source->read = source->from + gone;
    if (source->lost < source->read) {
        source->lost = source->read;
    }

    source->confirmed = source->from;
    source->replay = 0;
}

static voc_journal_rc
voc_pusher_replay(voc_pusher_t *p, const voc_journal_record_t *record)
{
    voc_journal_rc rc;
    voc_source_t *source = p->source;

    if (record->seq > source->confirmed) {
        voc_pusher_count_replay(p, 0, source->confirmed - source->from);
        return VOC_JOURNAL_OK;
    }

    rc = voc_journal_retain(source->journal, record);
    if (rc == VOC_JOURNAL_EMPTY || rc == VOC_JOURNAL_BUSY) {
        /* the room was used, or the lock is held: once more */
        voc_journal_seek(&source->reader, source->journal, source->from);
        voc_pusher_again(p, rc == VOC_JOURNAL_EMPTY ? 0 : VOC_PUSHER_BUSY);
        return VOC_JOURNAL_BUSY;
    }

    /* a journal that failed takes no more events, so it stays as it is */

    if (source->ack >= record->seq) {
        source->ack = 0;
    }

    voc_pusher_count_replay(p, source->confirmed - record->seq + 1,
                            record->seq - 1 - source->from);

    return VOC_JOURNAL_OK;
}

voc_journal_rc
voc_pusher_first(voc_pusher_t *p, const voc_journal_record_t *record)
{
    voc_journal_rc rc;
    voc_source_t *source = p->source;

    if (source->replay) {
        rc = voc_pusher_replay(p, record);
        if (rc != VOC_JOURNAL_OK) {
            return rc;
        }
    }

    if (source->forward) {
        source->forward = 0;
        source->ack = source->from;
        source->ack_end = record->offset;
        voc_pusher_acknowledge(p, source);
    }

    source->first = 0;

    return VOC_JOURNAL_OK;
}

/* Redis' cursor is the journal's end, or all behind it is damaged. */
void
voc_pusher_first_empty(voc_pusher_t *p)
{
    voc_source_t *source = p->source;

    if (source->replay) {
        voc_pusher_count_replay(p, 0, source->confirmed - source->from);
    }

    if (source->forward) {
        source->forward = 0;
        source->ack = source->from;
        source->ack_end = source->reader.offset;
        voc_pusher_acknowledge(p, source);
    }
}

/*
 * Records between the last one read and seq could not be read.  What is
 * acknowledged is in Redis: another pusher was faster, and we have to go.
 */
void
voc_pusher_passed(voc_pusher_t *p, uint64_t seq)
{
    uint64_t from;
    voc_source_t *source = p->source;
    voc_journal_status_t status;

    from = source->read > source->lost ? source->read : source->lost;

    if (seq <= from + 1) {
        return;
    }

    voc_journal_status(source->journal, &status);
    if (from < status.tail) {
        from = status.tail;
    }

    if (seq <= from + 1) {
        return;
    }

    p->counters.lost += seq - 1 - from;
    source->lost = seq - 1;

    source->damaged += seq - 1 - from;

    if (source->told == 0) {
        source->told = source->damaged;
        voc_pusher_log(p, VOC_LOG_WARN,
                       "journal: %s is damaged behind event %" PRIu64
                       ", %" PRIu64 " events are lost",
                       voc_journal_path(source->journal), from,
                       seq - 1 - from);
    }
}
