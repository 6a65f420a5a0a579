/*
 * What has to be true.  An accepted event is on the list, once, in order of
 * acceptance.  Where Redis has lost what it had, it is pushed again unless
 * its journal no longer holds it, or Redis lost the journal's cursor as well.
 * Nothing is overwritten, acknowledged or deleted before Redis has had it.
 */

#include "sim.h"

static __thread uint64_t tail_was;

int
store_of(const char *id)
{
    int i;

    for (i = sim.nstores - 1; i >= 0; i--) {
        if (memcmp(sim.stores[i].id, id, VOC_JOURNAL_ID_LEN) == 0) {
            return i;
        }
    }

    return -1;
}

static uint32_t
append_by(const store_t *store, uint64_t seq)
{
    return seq < store->nby_seq ? store->by_seq[seq] : 0;
}

const char *
append_name(uint32_t n)
{
    static char name[64];
    const append_t *a = &sim.appends[n];

    snprintf(name, sizeof(name), "event %u (journal %d, number %" PRIu64 ")",
             n, a->store, a->seq);
    return name;
}

/* Still there: no later record was written over it. */
int
append_held(const append_t *a)
{
    const store_t *store = &sim.stores[a->store];

    return !store->deleted && store->written <= a->offset + store->size;
}

static void
append_numbered(uint32_t n, uint64_t seq)
{
    append_t *a = &sim.appends[n];
    store_t *store = &sim.stores[a->store];
    size_t size = store->nby_seq;

    store->by_seq = grown(store->by_seq, seq + 1, &size, sizeof(uint32_t));
    store->nby_seq = size;

    /* the power may leave a record that was never published in its place */
    if (store->by_seq[seq] != 0 &&
        (!sim.appends[store->by_seq[seq]].gone ||
         sim.appends[store->by_seq[seq]].on_list)) {
        fail("event %u has number %" PRIu64 " of journal %d, which event %u "
             "has already",
             n, seq, a->store, store->by_seq[seq]);
    }

    store->by_seq[seq] = n;
    a->seq = seq;
    disk_numbered(a);
}

/* ---- appending ----------------------------------------------------------
 */

size_t
payload_write(char *out, uint32_t append, uint32_t length)
{
    static char text[8192 + 32 * 1024];
    size_t i, head;

    if (text[0] == '\0') {
        for (i = 0; i < sizeof(text); i++) {
            text[i] = (char)('a' + i * 2654435761u / 65536 % 26);
        }
    }

    head = (size_t)sprintf(out, "{\"n\":\"%08u\",\"p\":\"", append);
    memcpy(out + head, text + append * 7919u % 8192, length - head - 1);
    out[length - 1] = '"';
    return length;
}

uint64_t
append_time(uint32_t append)
{
    return 1700000000000 + append;
}

size_t
event_write(char *out, uint32_t append)
{
    const append_t *a = &sim.appends[append];
    time_t seconds = (time_t)(append_time(append) / 1000);
    size_t n = payload_write(out, append, a->length);
    struct tm tm;

    gmtime_r(&seconds, &tm);
    n += strftime(out + n, EVENT_MAX - n,
                  ",\"received\":\"%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)sprintf(out + n, ".%03uZ\",\"seq\":\"%s:",
                               (unsigned)(append_time(append) % 1000),
                               sim.stores[a->store].id);
}

uint32_t
oracle_append(int store, uint32_t length)
{
    append_t *a;
    size_t size = sim.appends_size;

    sim.appends =
        grown(sim.appends, sim.nappends + 2, &size, sizeof(append_t));
    sim.appends_size = (uint32_t)size;

    a = &sim.appends[++sim.nappends];
    a->store = store;
    a->length = length;
    a->late = sim.stores[store].followed != 0;
    return sim.nappends;
}

void
oracle_died(uint32_t append)
{
    append_t *a = &sim.appends[append];

    say("event %u: its process dies", append);
    a->fate = APPEND_DIED;
    a->late = sim.stores[a->store].followed != 0;
}

/* Where the record goes, by the rules of the format. */
static void
append_placed(append_t *a, voc_journal_t *journal)
{
    voc_position_t head = voc_journal_head(journal);
    uint64_t need = voc_record_size(a->length);

    a->placed = 1;
    a->offset = head.end;
    if (journal->size - head.end % journal->size < need) {
        a->offset += journal->size - head.end % journal->size;
    }
}

/* From now on records are overwritten: each must have been in Redis. */
static void
append_writes(const append_t *a)
{
    store_t *store = &sim.stores[a->store];
    uint64_t up_to = a->offset + voc_record_size(a->length);
    const append_t *old;

    if (store->written < up_to) {
        store->written = up_to;
    }

    for (; store->kept + 1 < store->nby_seq; store->kept++) {
        old = &sim.appends[store->by_seq[store->kept + 1]];
        if (store->by_seq[store->kept + 1] == 0 ||
            (append_held(old) && old->offset < a->offset)) {
            break;
        }
        if (!old->pushed && !old->on_list && !old->gone &&
            old->fate == APPEND_OK) {
            fail("%s is overwritten before it was pushed",
                 append_name(store->by_seq[store->kept + 1]));
        }
    }
}

void
oracle_returned(uint32_t append, voc_journal_rc rc, uint64_t seq)
{
    append_t *a = &sim.appends[append];
    store_t *store = &sim.stores[a->store];

    say("event %u: %d, number %" PRIu64, append, rc,
        rc == VOC_JOURNAL_OK ? seq : 0);

    if (rc != VOC_JOURNAL_OK) {
        if (rc != VOC_JOURNAL_FULL && rc != VOC_JOURNAL_BUSY &&
            (rc != VOC_JOURNAL_FAILED || !store->doomed)) {
            fail("event %u was not taken: %d", append, rc);
        }
        if (a->seq != 0) {
            fail("%s was refused, but published", append_name(append));
        }
        if (rc == VOC_JOURNAL_FAILED && a->placed) {
            append_writes(a); /* maybe, up to where the file ends */
        }
        sim.full += rc == VOC_JOURNAL_FULL;
        a->fate = APPEND_REFUSED;
        return;
    }

    if (a->seq != seq) {
        fail("%s was given number %" PRIu64, append_name(append), seq);
    }

    a->fate = APPEND_OK;
    a->late = store->followed != 0;
    if (store->returned < seq) {
        store->returned = seq;
    }
}

/* ---- the journal's tail --------------------------------------------------
 */

static void
oracle_pushed_to(int s, uint64_t seq, const char *what)
{
    store_t *store = &sim.stores[s];
    const append_t *a;
    uint32_t n;

    while (store->checked < seq) {
        n = append_by(store, store->checked + 1);
        a = &sim.appends[n];
        if (n != 0 && a->fate == APPEND_OK && !a->pushed && !a->gone) {
            fail("%s is %s, but not pushed", append_name(n), what);
        }
        store->checked++;
    }
}

static void
oracle_kept_from(int s, uint64_t seq)
{
    store_t *store = &sim.stores[s];
    uint64_t i;
    append_t *a;

    for (i = seq; i < store->nby_seq; i++) {
        a = &sim.appends[store->by_seq[i]];
        if (store->by_seq[i] != 0 && !a->on_list && append_held(a)) {
            a->pushed = 0;
        }
    }
    if (store->checked >= seq) {
        store->checked = seq - 1;
    }
}

static void
oracle_tail(voc_journal_t *journal)
{
    uint64_t tail = voc_journal_tail(journal).seq;
    int s = store_of(journal->id);

    if (s == -1) {
        return;
    }

    say("tail of journal %d: %" PRIu64, s, tail);

    if (tail < tail_was) {
        oracle_kept_from(s, tail + 1);
    } else {
        oracle_pushed_to(s, tail, "acknowledged");
    }
}

void
oracle_point(voc_point_e point, voc_journal_t *journal)
{
    append_t *a = &sim.appends[this_append];
    int s;

    switch (point) {
    case VOC_POINT_LOCKED:
        append_placed(a, journal);
        break;
    case VOC_POINT_SKIPPED:
    case VOC_POINT_PAYLOAD:
        append_writes(a);
        break;
    case VOC_POINT_PUBLISHED:
        append_numbered(this_append, voc_journal_head(journal).seq);
        break;
    case VOC_POINT_TAIL_FILE:
        tail_was = voc_journal_tail(journal).seq;
        break;
    case VOC_POINT_TAIL_DONE:
        oracle_tail(journal);
        break;
    case VOC_POINT_ADOPTED:
        s = store_of(journal->id);
        if (s != -1) {
            say("journal %d is drained", s);
            oracle_begun(s, 1);
        }
        break;
    case VOC_POINT_DELETED:
        s = store_of(journal->id);
        if (s != -1) {
            say("journal %d is deleted", s);
            oracle_pushed_to(s, sim.stores[s].nby_seq, "deleted");
            sim.stores[s].deleted = 1;
            sim.stores[s].deleted_in = sim.settled ? sim.deaths : UINT32_MAX;
            disk_free(&sim.stores[s]);
        }
        break;
    default:
        break;
    }
}

/* ---- Redis ---------------------------------------------------------------
 */

/* An event; the append's number, and its own. */
static uint32_t
oracle_parse(const char *item, size_t len, int s, uint64_t *seq)
{
    char want[EVENT_MAX];
    const append_t *a;
    size_t tail;
    uint32_t append;

    if (len < PAYLOAD_MIN || memcmp(item, "{\"n\":\"", 6) != 0) {
        fail("what is pushed is no event: %.60s", item);
    }

    append = (uint32_t)strtoul(item + 6, NULL, 10);
    if (append == 0 || append > sim.nappends) {
        fail("event %u was never there", append);
    }

    a = &sim.appends[append];
    if (a->store != s) {
        fail("event %u is pushed for journal %d, not %d", append, s,
             a->store);
    }

    tail = event_write(want, append);
    if (len < tail + 3 || memcmp(item, want, tail) != 0 ||
        memcmp(item + len - 2, "\"}", 2) != 0) {
        fail("event %u is not pushed as it was accepted: %.60s", append,
             item);
    }

    *seq = strtoull(item + tail, NULL, 10);
    return append;
}

/* Numbers that are passed over: Redis had them, the journal has lost them. */
static void
oracle_gap(int s, uint64_t from, uint64_t to)
{
    uint64_t seq;
    uint32_t n;
    const append_t *a;

    for (seq = from; seq < to; seq++) {
        n = append_by(&sim.stores[s], seq);
        a = &sim.appends[n];
        if (n != 0 && a->fate == APPEND_OK && !a->on_list && !a->excused &&
            !a->gone && (!a->pushed || append_held(a))) {
            fail("%s is passed over", append_name(n));
        }
    }
}

/* What Redis lost of a journal that is followed is pushed again beside it. */
static int
append_strict(const append_t *a)
{
    const store_t *store = &sim.stores[a->store];

    return !a->late && !store->loose && !(store->followed && a->dropped);
}

/* Behind all that stands there; of those that are late, of its journal. */
static void
oracle_order(uint32_t n)
{
    const append_t *last, *a = &sim.appends[n];
    size_t i = sim.redis.state.nlist;
    int strict = append_strict(a);

    while (i-- > 0) {
        last = &sim.appends[sim.redis.list[i]];
        if (last->store == a->store && last->seq >= a->seq) {
            fail("%s is pushed behind a later one", append_name(n));
        }
        if (last->store == a->store) {
            return;
        }
        if (strict && append_strict(last)) {
            if (last->store > a->store) {
                fail("%s is pushed behind event %u of journal %d",
                     append_name(n), sim.redis.list[i], last->store);
            }
            return;
        }
    }
}

uint32_t
oracle_push(const char *id, uint64_t *previous, const char *item, size_t len,
            int to_old)
{
    int s = store_of(id);
    uint64_t seq;
    uint32_t n = oracle_parse(item, len, s, &seq);
    append_t *a = &sim.appends[n];

    if (a->fate == APPEND_REFUSED) {
        fail("event %u was refused, and is pushed", n);
    }

    /* died with its record written: a later start found it */
    if (a->seq == 0) {
        if (a->fate != APPEND_DIED) {
            fail("event %u is pushed before it was published", n);
        }
        append_numbered(n, seq);
    }

    if (a->seq != seq) {
        fail("%s is pushed as number %" PRIu64, append_name(n), seq);
    }

    a->pushed = 1;

    if (to_old) {
        a->dropped = 1;
        return n;
    }

    sim.rush |= a->dropped;
    if (a->on_list) {
        fail("%s is pushed twice", append_name(n));
    }
    if (seq <= *previous) {
        fail("%s is pushed where the cursor is %" PRIu64, append_name(n),
             *previous);
    }

    oracle_gap(s, *previous + 1, seq);
    oracle_order(n);
    oracle_kept_from(s, seq + 1); /* who pushes this knows they are due */
    a->on_list = 1;
    *previous = seq;
    return n;
}

void
oracle_dropped(uint32_t append)
{
    sim.appends[append].on_list = 0;
    sim.appends[append].dropped = 1;
}

/*
 * Redis had no cursor: what it had confirmed once is not pushed again.  (What
 * a pusher of a leftover knew better has gone with it: its file is not
 * written.)
 */
void
oracle_cursor_made(const char *id, uint64_t number, int to_old)
{
    int s = store_of(id);
    uint64_t seq;
    uint32_t n;

    if (s == -1) {
        if (number != 0) {
            fail("a cursor %" PRIu64 " of an empty journal", number);
        }
        return;
    }

    for (seq = 1; seq <= number; seq++) {
        n = append_by(&sim.stores[s], seq);
        if (n == 0 || sim.appends[n].fate != APPEND_OK) {
            continue;
        }
        if (!sim.appends[n].pushed && !sim.appends[n].dropped &&
            !sim.appends[n].gone) {
            fail("%s was not pushed, but the cursor begins with %" PRIu64,
                 append_name(n), number);
        }
        if (!to_old) {
            sim.appends[n].excused = 1;
            sim.appends[n].pushed = 1;
        }
    }
}

/* ---- the pusher ----------------------------------------------------------
 */

/* Somebody still pushes it. */
int
store_pushed(int s)
{
    int i;

    for (i = 0; i < PROCS_MAX; i++) {
        if (sim.procs[i].serial != 0 && sim.procs[i].store == s &&
            sim.procs[i].pusher != NULL) {
            return 1;
        }
    }

    return 0;
}

/*
 * The turn of journal s has come: what those before it accepted is pushed.
 * As a leftover it does not wait for one in memory, since who adopts cannot
 * tell whether that is still there.
 */
void
oracle_begun(int s, int adopted)
{
    int i;
    store_t *store;

    for (i = sim.stores[s].previous; i != -1; i = store->previous) {
        store = &sim.stores[i];
        if (store->memory && !store_pushed(i)) {
            disk_all_gone(i);
        } else if (store->memory && adopted) {
            store->loose = 1;
        }
        if (!store->loose) {
            oracle_pushed_to(i, store->nby_seq, "left behind");
        }
        store->followed = 1;
    }
}

void
oracle_pusher_ends(const voc_pusher_counters_t *counters)
{
    if (sim.losses == 0 && (counters->lost != 0 || counters->replayed != 0)) {
        fail("%" PRIu64 " lost and %" PRIu64 " replayed are counted, though "
             "Redis has lost nothing",
             counters->lost, counters->replayed);
    }

    sim.pushed += counters->pushed;
    sim.lost += counters->lost;
    sim.replayed += counters->replayed;
}
