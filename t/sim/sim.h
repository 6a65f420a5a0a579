/*
 * The simulator: the real journal and pusher in a made-up world.  One clock,
 * one Redis, one network, processes that start, stop and die; a seed is a
 * run, the same each time.  Everything happens in one thread at a time.
 */

#ifndef SIM_H
#define SIM_H

#include <inttypes.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include "voc_journal_file.h"
#include "voc_pusher.h"
#include "voc_redis.h"

#define SIM_KEY      "voc:events"
#define SIM_PASSWORD "pass word"
#define SIM_NEVER    UINT64_MAX

#define STORES_MAX 64
#define PROCS_MAX  12
#define CONNS_MAX  16
#define KEYS_MAX   128
#define SNAPSHOTS  8
#define ARGS_MAX   1100
#define RETIRE_MAX 8

#define PAYLOAD_MIN 24          /* bytes: {"n":12345678,"p":"..." */
#define PAYLOAD_MAX (32 * 1024) /* room; none is as large */
#define EVENT_MAX   (PAYLOAD_MAX + 128)

/* ---- what can go wrong; a run has some of it, each at its own rate ------
 */

#define FAULTS(X)                                                            \
    X(PAUSE, 400)        /* an append stops at a point */                    \
    X(DIE, 60)           /* its process dies at a point */                   \
    X(PUSHER_PAUSE, 200) /* a call of the pusher stops at a point */         \
    X(PUSHER_DIE, 100)   /* or its process dies there */                     \
    X(RETIRE_DIE, 2000)  /* dies while a file is deleted */                  \
    X(RETIRE_FAIL, 2000) /* a file cannot be deleted */                      \
    X(CREATE_DIE, 4000)  /* a start dies while it makes its file */          \
    X(KILL_WORKER, 400)  /* kill -9 of a worker */                           \
    X(KILL_ALL, 300)     /* of all that there is */                          \
    X(RELOAD, 400)       /* new workers, the journal stays */                \
    X(RESIZE, 200)       /* new workers, a new journal */                    \
    X(SECOND, 80)        /* a second master beside the old workers */        \
    X(LATE, 5000)        /* the old pusher resigns late */                   \
    X(LOST_WAKE, 1000)   /* an appender dies before it wakes the pusher */   \
    X(BURST, 1000)       /* many events at once */                           \
    X(CUT, 1500)         /* a connection, at any byte */                     \
    X(MUTE, 500)         /* nothing gets through, nobody is told */          \
    X(WINDOW, 3000)      /* the socket takes less than all */                \
    X(REFUSE, 2000)      /* connecting is refused, */                        \
    X(HANG, 500)         /* or not answered */                               \
    X(ERROR, 800)        /* Redis answers with an error */                   \
    X(GARBAGE, 200)      /* or with something else */                        \
    X(RIGHTS, 80)        /* who may push may no longer take back */          \
    X(RESTART, 300)      /* Redis restarts and has lost nothing */           \
    X(RESTORE, 250)      /* or comes back with an older state */             \
    X(FAILOVER, 200)     /* another is the master, of an older state */      \
    X(DOWN, 150)         /* Redis is away for a while */                     \
    X(REPLICA, 150)      /* Redis is no master for a while */                \
    X(FOREIGN, 150)      /* someone sets a cursor */                         \
    X(WRONG_LIST, 80)    /* or something that is no list at its key */       \
    X(UNASKED, 300)      /* an answer that nobody asked for */               \
    X(QUIT, 100)         /* a graceful stop */                               \
    X(SYNC_ERROR, 100)   /* the disk does not take it */                     \
    X(FILE_CUT, 60)      /* a journal's file is cut, */                      \
    X(VANISH, 40)        /* or deleted */                                    \
    X(POWER, 150)        /* the machine loses its power */

#define FAULT_NAME(name, rate) FAULT_##name,
typedef enum { FAULTS(FAULT_NAME) FAULT_N } fault_e;

/* ---- an append, and what became of it -----------------------------------
 */

typedef enum {
    APPEND_RUNNING,
    APPEND_OK,
    APPEND_REFUSED,
    APPEND_DIED
} fate_e;

typedef struct {
    fate_e fate;
    int store;
    uint32_t length;     /* of the payload */
    uint64_t seq;        /* 0: not published */
    uint64_t offset;     /* in the journal */
    unsigned placed : 1; /* it had the lock: offset holds */
    unsigned on_list : 1;
    unsigned pushed : 1;  /* Redis had it since the journal last kept it */
    unsigned dropped : 1; /* Redis had it once and lost it */
    unsigned excused : 1; /* its journal's cursor was lost, too */
    unsigned late : 1;    /* accepted when a later journal had begun */
    unsigned gone : 1;    /* what holds it was cut, or lost with the power */
} append_t;

/* ---- a journal of one start, and who uses it ----------------------------
 */

typedef struct {
    char id[VOC_JOURNAL_ID_LEN + 1];
    uint64_t size;
    char *path;
    voc_journal_t *master; /* the master's own */
    int previous;          /* the store that this one replaced; -1: none */
    int followed;          /* a later one has begun */
    int loose;             /* two masters at a time: no order between them */
    int deleted;
    unsigned deleted_in; /* sim.deaths then */
    int memory;          /* it has no file */
    int doomed;          /* something happened to the file, */
    int failed;          /* and the journal has said so */
    int cut, window_cut, vanished;
    int none_left;   /* no process has it, and nothing else has */
    uint64_t have;   /* bytes of ring that are not cut off */
    uint64_t synced; /* up to this number, as the journal says */
    char *synced_image, *between_image; /* of the file */
    int between;                        /* the second one is newer */
    unsigned seat;     /* serial of the process that pushes */
    int wake;          /* the eventfd */
    uint64_t written;  /* the highest offset that an append wrote up to */
    uint64_t kept;     /* the first number that is not overwritten */
    uint64_t returned; /* the highest number that an append has returned */
    uint64_t checked;  /* up to here all were pushed */
    uint32_t *by_seq;  /* appends; 0: none */
    uint64_t nby_seq;
} store_t;

/* ---- threads that can stop and die at a point of the journal ------------
 */

typedef struct {
    int used; /* it has stopped, and goes on later */
    int dead; /* it has died */
    pthread_t thread;
    sem_t go, back;
    void (*run)(void *arg);
    void *arg;
    unsigned pause; /* percent of points */
    unsigned die;   /* at this point from now; 0: never */
    int killed;
    int done;
    int locked; /* holds the lock of its process' journal */
} task_t;

/* ---- processes ----------------------------------------------------------
 */

typedef enum {
    CALL_START,
    CALL_CONNECTED,
    CALL_CLOSED,
    CALL_RECEIVED,
    CALL_WRITABLE,
    CALL_TIMER,
    CALL_WAKE,
    CALL_RETIRED
} call_e;

typedef struct conn_s conn_t;

typedef struct {
    unsigned serial; /* 0: none */
    int store;
    int first;   /* number 0 of its cycle: it pushes */
    int exiting; /* of an earlier cycle, */
    int orphan;  /* or of an earlier master */
    unsigned late;
    voc_journal_t *journal;
    voc_pusher_t *pusher;
    int starting; /* its first call is to come */
    voc_journal_directory_t leftovers;
    conn_t *conn;
    int connecting;
    uint64_t timer_at;
    uint64_t banned;   /* until then it must not connect */
    int told;          /* that it has to exit */
    uint64_t drain_at; /* the end of pushing, if it was told so */
    voc_journal_t *retiring[RETIRE_MAX];
    unsigned nretiring;

    task_t task;
    call_e call; /* of the task, or APPEND below */
    int appending;
    uint32_t append;
    char *data;
    size_t len;
    char id[VOC_JOURNAL_ID_LEN];
} proc_t;

/* ---- network and Redis --------------------------------------------------
 */

typedef struct {
    char *data;
    size_t len, size;
} bytes_t;

struct conn_s {
    int used;
    proc_t *client; /* NULL: it has closed */
    int old_master; /* of the server before the failover */
    int closed;     /* by the server; the client has not been told */
    int mute;
    int blocked;
    size_t window;
    int asked, authed;
    int multi;          /* commands are queued, */
    int aborts;         /* one of them was not, */
    int bare;           /* or MULTI itself was refused */
    int granted;        /* it may take back what it pushes, and has asked */
    int nonsense;       /* it was answered with what no command answers */
    const char *error;  /* the first one since it asked; NULL: none */
    const char *before; /* that, when the last MULTI came */
    uint64_t heard_at;  /* the client */
    bytes_t up;         /* on the way to the server */
    bytes_t in;         /* there, not yet looked at */
    bytes_t down;       /* on the way to the client */
    bytes_t queue;      /* behind MULTI */
    unsigned queued;    /* commands in it */
};

typedef struct {
    char id[VOC_JOURNAL_ID_LEN + 1];
    char value[24];
    int foreign;    /* someone else has set it */
    char right[24]; /* what stood there; "": nothing */
} cursor_t;

enum { FOREIGN_TEXT = 1, FOREIGN_BEYOND, FOREIGN_TYPE };

/* Where an error is answered. */
typedef enum {
    AT_ANY,
    AT_PLAIN,  /* outside of a transaction */
    AT_QUEUED, /* in one, before EXEC */
    AT_EXEC,   /* by EXEC, for all of it */
    AT_PUSH,   /* in EXEC, by RPUSH */
    AT_SCRIPT, /* in EXEC, by GET or SET in the commit */
    AT_N
} place_e;

typedef struct {
    cursor_t cursors[KEYS_MAX];
    unsigned ncursors;
    size_t nlist;
} redis_state_t;

typedef struct {
    redis_state_t state, old; /* old: of the master before */
    uint32_t *list;
    size_t list_size;
    redis_state_t snapshots[SNAPSHOTS];
    unsigned nsnapshots;
    int has_old;
    int password;
    uint64_t down_until, replica_until, loading_until;
    const char *error; /* the answer to the next commands */
    unsigned errors;
    place_e place;      /* only there */
    unsigned denied;    /* commands that are refused, bits; 0: none */
    const char *denies; /* how */
    int wrong_list;     /* what stands at the key is no list */
    int garbage;
} redis_t;

/* ---- all of it ----------------------------------------------------------
 */

typedef struct {
    uint64_t seed, random, now;
    unsigned steps;
    int verbose;
    int calm; /* no more faults: it has to come to its end */
    char directory[96];
    unsigned rate[FAULT_N]; /* per 10000 */
    unsigned met[FAULT_N];
    unsigned losses;   /* of Redis */
    append_t *appends; /* from 1 */
    uint32_t nappends, appends_size;
    store_t stores[STORES_MAX];
    int nstores, current; /* -1: nginx is not there */
    proc_t procs[PROCS_MAX];
    unsigned serials;
    unsigned workers;
    unsigned pace; /* of so many steps in time one is long */
    int large;     /* events that fill a journal soon */
    int memory; /* journals: 0 files, 1 memory, 2 memory, and files later */
    int sync;   /* 0 off, 1 now and then, 2 after each append */
    unsigned deaths; /* of all of nginx */
    int rush;        /* events, while Redis gets back what it lost */
    int settled;     /* Redis answers, and has done so for a while */
    unsigned full;   /* of them were refused for that */
    conn_t conns[CONNS_MAX];
    redis_t redis;
    uint64_t ids;
    uint64_t pushed, replayed, lost; /* of pushers that have ended */
} sim_t;

extern sim_t sim;

/* world.c */
uint32_t roll(uint32_t n); /* 0 to n - 1 */
int fault(fault_e f);      /* does it happen now? */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void fail(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));
void *grown(void *data, size_t count, size_t *size, size_t each);
void bytes_add(bytes_t *b, const void *data, size_t len);
void bytes_drop(bytes_t *b, size_t len);
void world_begin(uint64_t seed);
void world_end(void);
unsigned world_files(int remove_them);
const char *fault_name(fault_e f);

/* reach.c */
void reached(const char *what, const char *where);
void reached_point(const char *what, voc_point_e point);
void reached_print(void);

/* task.c */
extern __thread uint32_t this_append;
void task_point(voc_point_e point, voc_journal_t *journal);
/* Runs until it stops, dies or is done. */
void task_start(task_t *t, void (*run)(void *), void *arg, unsigned pause,
                unsigned die);
void task_resume(task_t *t, int kill);
/* Descriptors of a process that died in a call of ours. */
void fds_remember(void);
void fds_close_new(void);

/* oracle.c */
int store_of(const char *id); /* -1: none */
uint32_t oracle_append(int store, uint32_t length);
void oracle_returned(uint32_t append, voc_journal_rc rc, uint64_t seq);
void oracle_died(uint32_t append);
void oracle_point(voc_point_e point, voc_journal_t *journal);
/* An item is pushed; its append.  *previous: number before, of journal id */
uint32_t oracle_push(const char *id, uint64_t *previous, const char *item,
                     size_t len, int to_old);
void oracle_cursor_made(const char *id, uint64_t number, int to_old);
int store_pushed(int store);
void oracle_dropped(uint32_t append);
void oracle_begun(int store, int adopted);
void oracle_pusher_ends(const voc_pusher_counters_t *counters);
int oracle_complete(void);
void oracle_final(void);
void oracle_stopped(void);
const char *append_name(uint32_t n);
int append_held(const append_t *a);
size_t payload_write(char *out, uint32_t append, uint32_t length);
uint64_t append_time(uint32_t append); /* ms since the epoch */
/* As it has to be on the list, up to its number; out holds EVENT_MAX. */
size_t event_write(char *out, uint32_t append);

/* redis.c */
int redis_serve(conn_t *c);   /* one command; 0: none is complete */
void redis_forget(conn_t *c); /* what it had begun */
int redis_has_cursor(const char *id);
void redis_free(void);

/* redis_faults.c */
void redis_snapshot(void);
void redis_restart(int lose, int failover);
void redis_error(void);
void redis_deny(void); /* what the commit needs */
int redis_down(void);
/* What an error asks of the pusher: it has to be gone, and stay away. */
void redis_asked_again(const conn_t *c);
uint64_t redis_bans(const conn_t *c);

void redis_foreign(void);
void redis_repair(void); /* all that someone else has set */
int redis_foreign_left(void);
void redis_mend(redis_state_t *state, cursor_t *cursor);

/* disk.c */
void disk_created(int store);
void disk_step(void);
void disk_sync(proc_t *p);
void disk_numbered(append_t *a);
void disk_all_gone(int store);
void disk_power(void);
/* A name that is removed is not gone before its directory is synced. */
int disk_keep(const voc_journal_t *journal);
void disk_undelete(void);
void disk_free(store_t *store);

/* net.c */
extern const voc_pusher_ops_t sim_ops;
void net_step(void);
void net_connecting(proc_t *p);
void net_forget(proc_t *p); /* its process is gone */
void net_cut(conn_t *c);
void net_drop(conn_t *c);
void net_server_gone(int old_master_only);
int net_flush(void); /* all that is on the way; 0: nothing was */
conn_t *net_any(void);

/* proc.c */
proc_t *proc_start(int store, int first);
void proc_die(proc_t *p);
void proc_exit(proc_t *p);
void proc_told(proc_t *p);    /* to exit, by and by */
void proc_drained(proc_t *p); /* its time for that is over */
/* 0: it is stopped, or has no pusher any more */
int proc_call(proc_t *p, call_e call, const char *data, size_t len);
void proc_append(proc_t *p, uint32_t length);
void proc_resume(proc_t *p);
void proc_timer(proc_t *p);
void proc_retire(proc_t *p);
int store_locked(int store);
proc_t *proc_any(void);

/* life.c */
void life_start(void);
void life_reload(int resize);
void life_second(void);
void life_kill_all(void);
void life_power(void);
void life_quit(void);
void life_loose(void);
void
life_gone(const proc_t *p); /* a worker is gone: the master looks after it */
int life_refused(int store);
int life_may_begin(int store, const voc_journal_directory_t *leftovers);

/* run.c */
void run(uint64_t seed);

#endif
