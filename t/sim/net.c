/*
 * The network: bytes take their time, connections break at any byte, and what
 * a closed connection still holds may reach Redis later than what follows.
 */

#include "sim.h"

static int
used(const conn_t *c)
{
    return c->used;
}

conn_t *
net_any(void)
{
    unsigned i, n = 0, pick;

    for (i = 0; i < CONNS_MAX; i++) {
        n += (unsigned)used(&sim.conns[i]);
    }
    if (n == 0) {
        return NULL;
    }

    pick = roll(n);
    for (i = 0;; i++) {
        if (used(&sim.conns[i]) && pick-- == 0) {
            return &sim.conns[i];
        }
    }
}

void
net_drop(conn_t *c)
{
    proc_t *p = c->client;

    if (p != NULL) {
        p->conn = NULL;
    }

    c->used = 0;
    c->client = NULL;
    c->up.len = 0;
    c->in.len = 0;
    c->down.len = 0;
    redis_forget(c);
}

static void
truncate_at_random(bytes_t *b)
{
    if (b->len > 0 && roll(2)) {
        b->len = roll((uint32_t)b->len + 1);
    }
}

/* The client's end is closed; Redis may still get what was sent. */
static void
net_leave(conn_t *c)
{
    if (c == NULL) {
        return;
    }

    if (c->client != NULL) {
        c->client->conn = NULL;
        c->client = NULL;
    }

    c->down.len = 0;
    truncate_at_random(&c->up);
    if (c->closed || roll(8) == 0) {
        net_drop(c);
    } else if (c->up.len > 0 && !sim.calm && roll(2)) {
        c->mute = 1; /* it comes late */
    }
}

/* The server's end is closed, or nothing more gets there. */
void
net_cut(conn_t *c)
{
    say("a connection breaks");
    truncate_at_random(&c->up);
    bytes_add(&c->in, c->up.data, c->up.len);
    c->up.len = 0;

    while (roll(3) && redis_serve(c)) {
    }

    truncate_at_random(&c->down);
    c->in.len = 0;
    c->closed = 1;
    if (c->client == NULL) {
        net_drop(c);
    }
}

void
net_server_gone(int old_master_too)
{
    int i;
    conn_t *c;

    for (i = 0; i < CONNS_MAX; i++) {
        c = &sim.conns[i];
        if (!c->used || (!old_master_too && !c->old_master)) {
            continue;
        }

        c->up.len = 0;
        c->in.len = 0;
        truncate_at_random(&c->down);
        if (c->old_master) {
            c->down.len = 0;
        }
        c->closed = 1;
        c->mute = 0;
        if (c->client == NULL) {
            net_drop(c);
        }
    }
}

void
net_forget(proc_t *p)
{
    net_leave(p->conn);
    p->conn = NULL;
    p->connecting = 0;
}

/* ---- connecting ----------------------------------------------------------
 */

static conn_t *
net_free_conn(void)
{
    int i;

    for (i = 0; i < CONNS_MAX; i++) {
        if (!sim.conns[i].used) {
            return &sim.conns[i];
        }
    }

    for (i = 0; i < CONNS_MAX; i++) {
        if (sim.conns[i].client == NULL) {
            net_drop(&sim.conns[i]);
            return &sim.conns[i];
        }
    }

    return NULL;
}

/* As a server does that turns a client away. */
static void
unasked(conn_t *c)
{
    static const char *const texts[] = {
        "-ERR max number of clients reached\r\n",
        "-DENIED Redis is running in protected mode\r\n", "+PONG\r\n",
        ":1\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n"};
    const char *text = texts[roll(sizeof(texts) / sizeof(texts[0]))];

    bytes_add(&c->down, text, strlen(text));
    c->closed = roll(2) == 0;
    c->nonsense = 1;
}

void
net_connecting(proc_t *p)
{
    conn_t *c;
    int refused;

    if (fault(FAULT_HANG)) {
        return;
    }

    refused = redis_down() || fault(FAULT_REFUSE);
    c = refused ? NULL : net_free_conn();
    p->connecting = 0;

    if (c == NULL) {
        proc_call(p, CALL_CLOSED, "connection refused", 0);
        return;
    }

    c->used = 1;
    c->client = p;
    c->old_master = 0;
    c->closed = 0;
    c->mute = 0;
    c->blocked = 0;
    redis_forget(c);
    c->window = fault(FAULT_WINDOW) ? roll(3000) : SIZE_MAX;
    p->conn = c;
    if (fault(FAULT_UNASKED)) {
        unasked(c);
    }
    proc_call(p, CALL_CONNECTED, NULL, 0);
}

/* ---- bytes on their way --------------------------------------------------
 */

static size_t
some(size_t len)
{
    return sim.calm || roll(3) ? len : 1 + roll((uint32_t)len);
}

static int
net_deliver_up(conn_t *c)
{
    size_t n;

    if (c->up.len == 0 || c->mute || c->closed) {
        return 0;
    }

    n = some(c->up.len);
    bytes_add(&c->in, c->up.data, n);
    bytes_drop(&c->up, n);
    return 1;
}

static int
net_deliver_down(conn_t *c)
{
    size_t n;
    char *data;
    proc_t *p = c->client;

    if (p == NULL || c->mute || p->task.used) {
        return 0;
    }

    if (c->down.len > 0) {
        n = some(c->down.len);
        data = malloc(n); /* exactly, for the sanitizer */
        if (data == NULL) {
            fail("no memory");
        }
        memcpy(data, c->down.data, n);
        bytes_drop(&c->down, n);
        c->heard_at = sim.now;
        proc_call(p, CALL_RECEIVED, data, n);
        return 1;
    }

    if (c->closed) {
        net_drop(c);
        proc_call(p, CALL_CLOSED, "connection closed", 0);
        return 1;
    }

    return 0;
}

static int
net_writable(conn_t *c)
{
    proc_t *p = c->client;

    if (p == NULL || p->task.used || !c->blocked || c->mute) {
        return 0;
    }

    c->blocked = 0;
    c->window = fault(FAULT_WINDOW) ? 1 + roll(3000) : SIZE_MAX;
    proc_call(p, CALL_WRITABLE, NULL, 0);
    return 1;
}

/* Nobody is left at the other end, and nothing on the way. */
static int
net_old(conn_t *c)
{
    if (c->client != NULL) {
        return 0;
    }

    if (c->up.len == 0 || (c->mute && roll(50) == 0)) {
        net_drop(c);
        return 1;
    }

    if (c->mute && roll(20) == 0) {
        c->mute = 0;
    }

    return 0;
}

void
net_step(void)
{
    conn_t *c = net_any();

    if (c == NULL) {
        return;
    }

    switch (roll(4)) {
    case 0:
        net_deliver_up(c);
        break;
    case 1:
        while (redis_serve(c) && roll(4)) {
        }
        break;
    case 2:
        net_deliver_down(c);
        break;
    default:
        if (!net_writable(c)) {
            net_old(c);
        }
        break;
    }
}

int
net_flush(void)
{
    int i, any = 0;
    conn_t *c;

    for (i = 0; i < CONNS_MAX; i++) {
        c = &sim.conns[i];
        if (!c->used) {
            continue;
        }

        c->mute = 0;
        any |= net_deliver_up(c);
        while (redis_serve(c)) {
            any = 1;
        }
        if (c->client == NULL) {
            net_drop(c);
            continue;
        }
        any |= net_deliver_down(c);
        if (c->used) {
            any |= net_writable(c);
        }
    }

    return any;
}

/* ---- what the pusher asks for --------------------------------------------
 */

static void
op_connect(void *ctx, int rediscover)
{
    proc_t *p = ctx;

    (void)rediscover;
    if (p->conn != NULL || p->connecting) {
        fail("connects twice");
    }
    if (sim.now < p->banned) {
        fail("connects again %" PRIu64 " ms too early", p->banned - sim.now);
    }
    p->connecting = 1;
}

static void
op_close(void *ctx)
{
    proc_t *p = ctx;

    if (p->conn != NULL) {
        p->banned = redis_bans(p->conn);
    }
    net_forget(p);
}

static ssize_t
op_send(void *ctx, const char *data, size_t len)
{
    proc_t *p = ctx;
    conn_t *c = p->conn;

    if (c == NULL || len == 0) {
        fail("sends nothing, or to nobody");
    }

    if (c->closed && roll(2)) {
        return -1;
    }

    if (len > c->window) {
        len = c->window;
    }
    if (len == 0) {
        c->blocked = 1;
        return 0;
    }
    if (c->window != SIZE_MAX) {
        c->window -= len;
    }

    bytes_add(&c->up, data, len);
    return (ssize_t)len;
}

static void
op_timer(void *ctx, uint64_t ms)
{
    proc_t *p = ctx;

    p->timer_at = ms == VOC_NO_TIMER ? SIM_NEVER : sim.now + ms;
}

static uint32_t
op_random(void *ctx)
{
    (void)ctx;
    return roll(UINT32_MAX);
}

static void
op_log(void *ctx, voc_log_e level, const char *text)
{
    proc_t *p = ctx;

    static const char *const known[] = {
        "connection closed",
        "connection refused",
        "no reply in time",
        "connecting took too long",
        "connected, but no answer in time",
        "sending failed",
        "not an answer of Redis",
        "an unexpected answer",
        "the server is not a master",
        "is none of its numbers",
        "no cursor of journal",
        "is damaged behind",
        "left alone",
        "cannot be read",
        "Redis lost what it had confirmed",
        "of a finished journal cannot be deleted",
        "no memory"};
    size_t i;

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strstr(text, known[i]) != NULL) {
            reached("logged:", known[i]);
        }
    }
    say("process %u [%d]: %s", p->serial, (int)level, text);
}

static int
op_may_begin(void *ctx)
{
    proc_t *p = ctx;

    return life_may_begin(p->store, &p->leftovers);
}

static unsigned
op_busy(void *ctx)
{
    (void)ctx;
    return roll(2) * 100;
}

static void
op_retire(void *ctx, voc_journal_t *journal)
{
    proc_t *p = ctx;
    int s = store_of(journal->id);

    /*
     * The thread pool is full, or it is not permitted: left alone, what Redis
     * loses of it is not pushed again but by a later start.
     */
    if (p->nretiring == RETIRE_MAX || (s != -1 && fault(FAULT_RETIRE_FAIL))) {
        say("journal %d is not deleted", s);
        if (s != -1) {
            disk_all_gone(s);
            sim.stores[s].loose = 1;
        }
        voc_journal_refuse(&p->leftovers, voc_journal_id(journal));
        voc_journal_close(journal);
        return;
    }
    p->retiring[p->nretiring++] = journal;
}

const voc_pusher_ops_t sim_ops = {op_connect,   op_close,  op_send,
                                  op_timer,     op_random, op_log,
                                  op_may_begin, op_busy,   op_retire};
