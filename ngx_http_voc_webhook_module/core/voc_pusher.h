/*
 * The pusher: takes events off the journals of one queue and puts them on its
 * Redis list, each once, in order.  A state machine without socket, clock or
 * thread of its own: time comes with every call, bytes and timers go through
 * voc_pusher_ops_t.  The same code runs in nginx and under the simulator.
 *
 *   IDLE → CONNECTING → GREETING (auth, select, role) → SEEKING (cursor)
 *        ↑                                               ↓
 *        └── backoff ← any error ←──────────────────  PUSHING ⇄ HOLDING
 */

#ifndef VOC_PUSHER_H
#define VOC_PUSHER_H

#include "voc_journal.h"
#include "voc_types.h"

#define VOC_PUSHER_BATCH_EVENTS 1000          /* of one transaction */
#define VOC_PUSHER_BATCH_BYTES  (1024 * 1024) /* or one larger event */
#define VOC_PUSHER_IN_FLIGHT    4             /* batches */
#define VOC_PUSHER_REPLY_MAX    (64 * 1024)   /* bytes of unread replies */

/* From a batch to the next one; events are counted per ms, over RECENT. */
#define VOC_PUSHER_GATHER      1  /* ms, */
#define VOC_PUSHER_FEW         4  /* ... or so many events */
#define VOC_PUSHER_MANY        24 /* from so many a ms on: */
#define VOC_PUSHER_GATHER_MANY 12 /* ms */
#define VOC_PUSHER_TAKEN       30 /* percent of a CPU, */
#define VOC_PUSHER_SOME        12 /* below so many a ms of that, */
#define VOC_PUSHER_SELDOM      1  /* but one in so many ms at least: */
#define VOC_PUSHER_GATHER_BUSY 32 /* ms */
#define VOC_PUSHER_RECENT      8  /* ms at least */

#define VOC_PUSHER_BACKOFF_MIN 50    /* ms, full jitter */
#define VOC_PUSHER_BACKOFF_MAX 5000  /* ms */
#define VOC_PUSHER_HOLD_MIN    1000  /* ms */
#define VOC_PUSHER_HOLD_MAX    30000 /* ms */
#define VOC_PUSHER_PING        15000 /* ms of silence */
#define VOC_PUSHER_RESCAN      1000  /* ms between looks for leftover files */
#define VOC_PUSHER_TURN        50    /* ms between questions to may_begin() */

typedef struct voc_pusher_s voc_pusher_t;

typedef enum {
    VOC_LOG_ALERT,  /* someone has to act */
    VOC_LOG_ERROR,  /* Redis does not take events, the journal holds them */
    VOC_LOG_WARN,   /* events were lost or are pushed again */
    VOC_LOG_NOTICE  /* changes of state */
} voc_log_e;

#define VOC_NO_TIMER UINT64_MAX

/*
 * What the pusher asks for.  None of these calls back into the pusher before
 * it returns.
 */
typedef struct {
    /* Start to connect; rediscover: forget what is known of the address.
     * Answered by voc_pusher_connected() or voc_pusher_closed(). */
    void (*connect)(void *ctx, int rediscover);
    /* Close or give up connecting; not answered. */
    void (*close)(void *ctx);
    /* Bytes taken, 0: none now, voc_pusher_writable() follows; -1: the
     * connection is dead, voc_pusher_closed() need not follow. */
    ssize_t (*send)(void *ctx, const char *data, size_t len);
    /* Call voc_pusher_timer() in ms milliseconds; replaces the timer set
     * before.  VOC_NO_TIMER: none. */
    void (*timer)(void *ctx, uint64_t ms);
    /* 32 random bits, for jitter. */
    uint32_t (*random)(void *ctx);
    /* One line without newline; level and text only change of state. */
    void (*log)(void *ctx, voc_log_e level, const char *text);
    /* 1 where the live journal may be pushed: all that was accepted before
     * it, into another, is on the list.  Asked until it is. */
    int (*may_begin)(void *ctx);
    /* Percent of a CPU that is taken, by whatever runs here. */
    unsigned (*busy)(void *ctx);
    /* Take over the journal, delete its file off the event loop, then
     * voc_pusher_retired() with its id. */
    void (*retire)(void *ctx, voc_journal_t *journal);
} voc_pusher_ops_t;

/* Strings are the caller's and outlive the pusher. */
typedef struct {
    voc_str_t key;                   /* of the list */
    voc_str_t user;                  /* data NULL: none */
    voc_str_t password;              /* data NULL: no AUTH */
    unsigned db;                     /* 0: no SELECT */
    uint64_t connect_timeout;        /* ms, TCP and greeting together */
    uint64_t timeout;                /* ms for a reply */
    voc_journal_t *journal;          /* the live one; not the pusher's own */
    voc_journal_directory_t *directory; /* leftovers; NULL: none (memory) */
} voc_pusher_options_t;

typedef struct {
    uint64_t pushed;   /* events confirmed by Redis */
    uint64_t replayed; /* events pushed again after Redis lost them */
    uint64_t lost;     /* damaged or no longer held, each time they were due */
    uint64_t connects;
    uint64_t errors;   /* replies and connections that failed */
    int up;            /* connected and taking events */
} voc_pusher_counters_t;

voc_pusher_t *voc_pusher_create(const voc_pusher_options_t *options,
                                const voc_pusher_ops_t *ops, void *ctx);
void voc_pusher_free(voc_pusher_t *pusher); /* closes nothing, sends nothing */

const voc_pusher_counters_t *voc_pusher_counters(const voc_pusher_t *pusher);

/* Events of all its journals that Redis has not confirmed. */
uint64_t voc_pusher_pending(const voc_pusher_t *pusher);
/* 1: none, and no cursor is left to be deleted. */
int voc_pusher_finished(const voc_pusher_t *pusher);

/* ---- what happens to it; now: milliseconds of a monotonic clock --------- */

void voc_pusher_start(voc_pusher_t *pusher, uint64_t now);
void voc_pusher_connected(voc_pusher_t *pusher, uint64_t now);
/* The connection is gone, or none came about; reason: for the log. */
void voc_pusher_closed(voc_pusher_t *pusher, uint64_t now, const char *reason);
void voc_pusher_received(voc_pusher_t *pusher, uint64_t now, const char *data,
                         size_t len);
void voc_pusher_writable(voc_pusher_t *pusher, uint64_t now);
void voc_pusher_timer(voc_pusher_t *pusher, uint64_t now);
/* The journal has grown. */
void voc_pusher_wake(voc_pusher_t *pusher, uint64_t now);
/* A retired journal's file is gone: its cursor may go. */
void voc_pusher_retired(voc_pusher_t *pusher, uint64_t now, voc_str_t id);

#endif
