/* What voc_pusher*.c share: connection and timers, replies, sources, batches.
 */

#ifndef VOC_PUSHER_PRIVATE_H
#define VOC_PUSHER_PRIVATE_H

#include "voc_json.h"
#include "voc_pusher.h"
#include "voc_redis_push.h"

#define VOC_PUSHER_SMALL   10  /* events of the first batch after an error */
#define VOC_PUSHER_SENT    16  /* commands without an answer, at most */
#define VOC_PUSHER_CURSORS 64  /* retired journals' cursors to be deleted */
#define VOC_PUSHER_BUSY    10  /* ms until a journal's lock is tried again */
#define VOC_PUSHER_LINE    512 /* bytes of a log line */

typedef enum {
    VOC_PHASE_STOPPED,
    VOC_PHASE_DOWN,
    VOC_PHASE_CONNECTING,
    VOC_PHASE_AUTH,     /* nothing else is sent before its answer */
    VOC_PHASE_GREETING, /* database and role */
    VOC_PHASE_READY
} voc_phase_e;

typedef enum {
    VOC_SENT_AUTH,
    VOC_SENT_SELECT,
    VOC_SENT_ROLE,
    VOC_SENT_RIGHTS, /* may we take back a batch? */
    VOC_SENT_INIT,   /* the cursor, where there is none */
    VOC_SENT_GET,    /* the cursor */
    VOC_SENT_PUSH,
    VOC_SENT_DEL, /* a retired journal's cursor */
    VOC_SENT_PING
} voc_sent_e;

/* A command or a transaction on its way, until its answer is there. */
typedef struct {
    voc_sent_e type;
    voc_redis_buffer_t buffer; /* freed once all of it is written */
    unsigned replies;          /* still to come */
    int refused;               /* one of them was an error */
    uint64_t last;             /* VOC_SENT_PUSH: its last event, */
    uint64_t end;              /* where that ends in the journal, */
    unsigned events;           /* and how many there are */
} voc_sent_t;

/* Reasons for not pushing: each is logged once, until events flow again. */
typedef enum {
    VOC_TROUBLE_CONNECTION,
    VOC_TROUBLE_TIMEOUT,
    VOC_TROUBLE_PROTOCOL,
    VOC_TROUBLE_BACKOFF,
    VOC_TROUBLE_REDISCOVER,
    VOC_TROUBLE_HOLD,
    VOC_TROUBLE_DENIED,
    VOC_TROUBLE_BLOCKED,
    VOC_TROUBLE_CURSOR,
    VOC_TROUBLE_MEMORY,
    VOC_TROUBLE_JOURNAL
} voc_trouble_e;

/* A journal that is pushed, the live one or a leftover. */
typedef struct {
    voc_journal_t *journal; /* NULL: none */
    voc_journal_reader_t reader;
    int recovered;      /* leftover: its records are found */
    int begun;          /* its cursor is known, the reader stands behind it */
    int first;          /* nothing was read since */
    int replay;         /* Redis has less than it had confirmed */
    int forward;        /* Redis has more than was acknowledged */
    int missing;        /* logged: a cursor that had been there */
    uint64_t confirmed; /* the last event that Redis has */
    uint64_t from;      /* the cursor when it was begun */
    uint64_t read;      /* the last event read, or passed */
    uint64_t lost;      /* up to here lost ones are counted, */
    uint64_t damaged;   /* how many they are, */
    uint64_t told;      /* of them logged */
    uint64_t skipped;   /* damaged to the end: its last number; 0: no */
    uint64_t skipped_end;
    uint64_t ack; /* to be acknowledged; 0: nothing */
    uint64_t ack_end;
    char expected[VOC_REDIS_NUMBER]; /* Redis' cursor before the next batch */
    size_t expected_len;
} voc_source_t;

/* The batch that gathers. */
typedef struct {
    voc_redis_push_t push;
    uint64_t last; /* its last event, */
    uint64_t end;  /* and where that ends in the journal */
} voc_batch_t;

struct voc_pusher_s {
    voc_pusher_options_t options;
    voc_pusher_ops_t ops;
    void *ctx;
    voc_pusher_counters_t counters;
    uint64_t now; /* of the call that is being served */

    voc_phase_e phase;
    voc_redis_reader_t *reader;
    voc_sent_t sent[VOC_PUSHER_SENT]; /* a ring */
    unsigned sent_first;
    unsigned sent_n;
    unsigned written;    /* of them, whole ones */
    size_t written_part; /* bytes of the next one */
    unsigned in_flight;  /* batches */
    int getting;         /* the cursor */
    int deleting;        /* cursors[0] */
    int small;           /* the next batch comes after an error */
    int rediscover;
    voc_reply_e failure; /* VOC_REPLY_OK: none; else no more is sent, */
    int realign;         /* ... nor with this, until all is answered */

    uint64_t deadline;     /* of connecting and greeting */
    uint64_t retry_at;     /* VOC_PHASE_DOWN */
    uint64_t paused_until; /* nothing but PING */
    uint64_t since;        /* sent[0] waits since, or was last written to */
    uint64_t last_received;
    uint64_t rescan_at;
    uint64_t ack_at;
    uint64_t again_at;
    uint64_t sent_at;      /* the last batch */
    uint64_t gather_until; /* no batch of less than gather events */
    unsigned gather;
    uint64_t recent; /* events since, */
    uint64_t recent_since;
    uint64_t rate; /* ... and how many a second before that */

    unsigned backoffs; /* since the last success */
    unsigned holds;
    unsigned realigns;
    unsigned troubles; /* logged, a bit each */
    int was_up;
    int directory_failed; /* logged */
    int cursor_stays;     /* logged: DEL is not allowed */

    voc_source_t live;
    voc_source_t left;
    voc_source_t *source; /* NULL: leftovers are looked for */
    int begun;            /* the live one may be pushed */
    int waits;            /* another pusher drains leftovers, */
    int drains;           /* or it is us who did last */
    int asleep;

    voc_batch_t batch;
    voc_redis_buffer_t spare; /* for the next batch */
    voc_json_second_t second;
    char cursors[VOC_PUSHER_CURSORS][VOC_JOURNAL_ID_LEN];
    unsigned ncursors;
    char *cursor_key; /* scratch */
};

/* voc_pusher.c */
void voc_pusher_trouble(voc_pusher_t *p, voc_trouble_e trouble,
                        voc_log_e level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void voc_pusher_log(voc_pusher_t *p, voc_log_e level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void voc_pusher_up(voc_pusher_t *p);
void voc_pusher_again(voc_pusher_t *p, uint64_t ms);
uint64_t voc_pusher_backoff(voc_pusher_t *p);
uint64_t voc_pusher_hold(voc_pusher_t *p);
/* voc_pusher_connection.c */
void voc_pusher_connect(voc_pusher_t *p);
/* Says who we are, then voc_pusher_greet(). */
void voc_pusher_login(voc_pusher_t *p);
/* Database and role. */
void voc_pusher_greet(voc_pusher_t *p);
void voc_pusher_ping(voc_pusher_t *p);
/* Both: 0, or -1: no memory, the pusher holds. */
int voc_pusher_command(voc_pusher_t *p, voc_sent_e type, unsigned argc,
                       const voc_str_t *argv);
/* The buffer is taken over if it succeeds. */
int voc_pusher_enqueue(voc_pusher_t *p, const voc_sent_t *what);
void voc_pusher_flush(voc_pusher_t *p);
/* Bytes received; 0, or -1 where the connection is given up. */
int voc_pusher_take(voc_pusher_t *p, const char *data, size_t len);
void voc_pusher_check_time(voc_pusher_t *p);
void voc_pusher_no_memory(voc_pusher_t *p);
/* The connection failed; told: the transport knows. */
void voc_pusher_lost(voc_pusher_t *p, int told, voc_trouble_e trouble,
                     const char *reason);
/* Not connected any more, for delay milliseconds. */
void voc_pusher_disconnect(voc_pusher_t *p, int told, uint64_t delay);
void voc_pusher_forget_sent(voc_pusher_t *p);

/* voc_pusher_reply.c */
/* 0, or -1 where the connection is given up. */
int voc_pusher_reply(voc_pusher_t *p, const voc_redis_reply_t *reply);
/* All is answered after a failure: does what the answer asks. */
void voc_pusher_act(voc_pusher_t *p);

/* voc_pusher_source.c */
void voc_pusher_sources(voc_pusher_t *p);
/* Forget what was read behind the cursor; it is asked for again. */
void voc_pusher_restart(voc_pusher_t *p);
int
voc_pusher_draining(const voc_pusher_t *p); /* the live one, for another */
voc_str_t voc_pusher_source_key(voc_pusher_t *p, const voc_source_t *source);
void voc_pusher_ask(voc_pusher_t *p); /* for the source's cursor */
void voc_pusher_begin(voc_pusher_t *p, const voc_redis_reply_t *reply);
void voc_pusher_acknowledge(voc_pusher_t *p, voc_source_t *source);
/* The first record behind the cursor; BUSY: read once more, later. */
voc_journal_rc voc_pusher_first(voc_pusher_t *p,
                                const voc_journal_record_t *record);
void voc_pusher_first_empty(voc_pusher_t *p);
void voc_pusher_passed(voc_pusher_t *p, uint64_t seq);
void voc_pusher_finish(voc_pusher_t *p); /* the leftover */
void voc_pusher_unreadable(voc_pusher_t *p);
void voc_pusher_awake(voc_pusher_t *p);

/* voc_pusher_batch.c */
/* Sends what there is to send; 1: another source is due. */
int voc_pusher_work(voc_pusher_t *p);

#endif
