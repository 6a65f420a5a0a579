/*
 * The glue between nginx and core/: configuration, the content handler, and
 * the queues with their journals and pushers.
 */

#ifndef NGX_HTTP_VOC_WEBHOOK_MODULE_H
#define NGX_HTTP_VOC_WEBHOOK_MODULE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>
#include <ngx_http.h>

#include "voc_event.h"
#include "voc_guard.h"
#include "voc_journal.h"
#include "voc_json.h"
#include "voc_pusher.h"
#include "voc_redis.h"

typedef struct ngx_http_voc_webhook_queue_s ngx_http_voc_webhook_queue_t;

typedef struct ngx_http_voc_webhook_store_s ngx_http_voc_webhook_store_t;

/*
 * A journal as the processes share it.  The master makes it, its workers
 * inherit it, and a reload that changes neither directory nor size hands it
 * on to the next cycle; each cycle holds one reference.
 */
struct ngx_http_voc_webhook_store_s {
    voc_journal_t *journal;
    ngx_atomic_t *seat; /* in shared memory: the pid that pushes */
    ngx_shm_t shm;      /* holds the seat */
    ngx_fd_t wake;      /* eventfd: the journal has grown */
    ngx_str_t directory; /* empty: in memory */
    off_t size;         /* bytes, as configured */
    ngx_uint_t cycles;  /* references */
    ngx_uint_t used;    /* a cycle with it has come into force */

    /* the one that a reload replaced: its events come first on the list */
    ngx_http_voc_webhook_store_t *previous;
    ngx_uint_t followed; /* is the previous one of another */
};

typedef enum {
    NGX_HTTP_VOC_WEBHOOK_SYNC_OFF,
    NGX_HTTP_VOC_WEBHOOK_SYNC_TIME,
    NGX_HTTP_VOC_WEBHOOK_SYNC_ALWAYS
} ngx_http_voc_webhook_sync_e;

/* The socket to Redis: worker 0 only. */
typedef struct {
    ngx_http_voc_webhook_queue_t *queue;
    ngx_peer_connection_t peer;
    ngx_resolver_ctx_t *resolving;
    ngx_addr_t *addrs; /* the addresses to try, in turn */
    ngx_uint_t naddrs;
    ngx_uint_t next;
    ngx_pool_t *pool;     /* of resolved addresses, or NULL */
    ngx_event_t report;   /* tells the pusher of an outcome, posted */
    ngx_log_t log;        /* silent: the pusher reports changes of state */
    unsigned established:1;
    u_char reason[NGX_MAX_ERROR_STR]; /* of the outcome; empty: connected */
} ngx_http_voc_webhook_transport_t;

/* voc_webhook_queue: configuration first, then what a worker runs. */
struct ngx_http_voc_webhook_queue_s {
    ngx_str_t name;
    ngx_cycle_t *cycle;
    u_char *file; /* of the directive, for errors found later */
    ngx_uint_t line;

    ngx_url_t redis;
    ngx_str_t redis_user;
    ngx_str_t redis_password; /* data NULL: none */
    ngx_uint_t redis_db;
    ngx_msec_t redis_connect_timeout;
    ngx_msec_t redis_timeout;
    ngx_resolver_t *resolver; /* NULL: the addresses found at configuration */
    ngx_msec_t resolver_timeout;
    ngx_str_t key;
    ngx_str_t journal; /* directory; data NULL: not set, empty: off */
    off_t size;        /* bytes */
    ngx_http_voc_webhook_sync_e sync;
    ngx_msec_t sync_time;
    ngx_thread_pool_t *thread_pool;

    ngx_shm_zone_t *zone; /* hands the store on at a reload */
    ngx_http_voc_webhook_store_t *store;

    /* every worker */
    ngx_event_t sync_timer;
    ngx_queue_t waiting; /* requests that wait for a sync (sync=always) */
    ngx_connection_t dumb; /* data of the timers, for their debug lines */
    ngx_thread_task_t *sync_task;
    unsigned syncing:1;
    unsigned resync:1; /* another sync is due when this one is done */
    voc_journal_rc refusing; /* why events are refused, logged; OK: they are
                                not */
    ngx_msec_t refused;      /* the last one, ngx_current_msec */

    /* the worker that pushes */
    voc_pusher_t *pusher;
    voc_journal_directory_t leftovers;
    ngx_http_voc_webhook_transport_t transport;
    ngx_connection_t *wake;  /* of the eventfd */
    ngx_uint_t retiring;     /* journals that a thread is deleting */
    unsigned starting:1;
    ngx_event_t push_timer;
    ngx_event_t drain_timer; /* bounds the push at a graceful exit */
};

typedef struct {
    ngx_array_t queues; /* of ngx_http_voc_webhook_queue_t * */
    ngx_uint_t in_use; /* a location names a queue */
    voc_catalogue_t *catalogue;
    voc_uuid_t *uuid;
} ngx_http_voc_webhook_main_conf_t;

typedef struct {
    ngx_str_t queue_name; /* voc_webhook NAME */
    u_char *file;
    ngx_uint_t line;
    ngx_http_voc_webhook_queue_t *queue;

    ngx_array_t *allow; /* of ngx_cidr_t; NULL: all */
    ngx_flag_t https;
    ngx_http_complex_value_t *scheme; /* NULL: $scheme */
    ngx_uint_t unknown_fields;        /* voc_unknown_e */
    off_t max_body_size;              /* client_max_body_size; 0: no limit */
} ngx_http_voc_webhook_loc_conf_t;

typedef struct {
    ngx_http_request_t *request;
    ngx_http_voc_webhook_queue_t *queue;
    voc_event_t event;
    voc_problem_t outcome;
    char id[VOC_UUID_LEN];
    unsigned decided:1;  /* outcome is set */
    unsigned waiting:1;  /* in queue->waiting */
    uint64_t seq;        /* of its record */
    ngx_queue_t link;

    u_char *body; /* of a form, as far as it has been read */
    size_t body_len;
    size_t body_size; /* allocated */
} ngx_http_voc_webhook_ctx_t;

/* _conf.c */
char *ngx_http_voc_webhook_queue_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* _conf_redis.c */
char *ngx_http_voc_webhook_redis(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_voc_webhook_redis_db(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_voc_webhook_password_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_voc_webhook_redis_url(ngx_conf_t *cf,
    ngx_http_voc_webhook_queue_t *queue, ngx_str_t *address);
ngx_int_t ngx_http_voc_webhook_queue_resolve(ngx_conf_t *cf,
    ngx_http_voc_webhook_queue_t *queue);

/* _handler.c */
ngx_int_t ngx_http_voc_webhook_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_voc_webhook_rewrite_handler(ngx_http_request_t *r);
/* Sets ctx->outcome; NGX_ERROR. */
ngx_int_t ngx_http_voc_webhook_reject(ngx_http_voc_webhook_ctx_t *ctx,
    voc_reason_e reason);
/* The form is read (NGX_OK), or was refused (NGX_ERROR). */
void ngx_http_voc_webhook_form_done(ngx_http_voc_webhook_ctx_t *ctx,
    ngx_int_t rc);
/* The event's record is on the disk, or (not ok) the journal has failed. */
void ngx_http_voc_webhook_synced(ngx_http_voc_webhook_ctx_t *ctx,
    ngx_uint_t ok);

/* _answer.c */
/* Sends what ctx->outcome says; returns what a content handler returns. */
ngx_int_t ngx_http_voc_webhook_answer(ngx_http_voc_webhook_ctx_t *ctx);

/* _connection.c */
#define NGX_HTTP_VOC_WEBHOOK_ANSWER 512 /* bytes, header and body: most */
/* Before an answer; NGX_OK, or NGX_ERROR: no memory. */
ngx_int_t ngx_http_voc_webhook_tune(ngx_http_request_t *r);

/* _together.c */
/* At the start and the end of a worker. */
void ngx_http_voc_webhook_together_init(ngx_cycle_t *cycle);
void ngx_http_voc_webhook_together_exit(void);
/* Before an answer, over HTTP/1; NGX_OK, or NGX_ERROR: no memory. */
ngx_int_t ngx_http_voc_webhook_together_tune(ngx_http_request_t *r);
/* NGX_OK: a copy will be sent, NGX_DECLINED: the caller is to send it, NGX_AGAIN:
 * as with a full socket, or NGX_ERROR, logged.  Of 0 bytes: never NGX_OK. */
ngx_int_t ngx_http_voc_webhook_together_take(ngx_connection_t *c,
    const u_char *data, size_t len);

/* _ssl.c */
#if (NGX_HTTP_SSL)
/* As that, over TLS. */
ngx_int_t ngx_http_voc_webhook_ssl_tune(ngx_http_request_t *r);
#endif

/* _form.c */
ngx_int_t ngx_http_voc_webhook_read_form(ngx_http_request_t *r);

/* _store.c */
ngx_int_t ngx_http_voc_webhook_store_init(ngx_shm_zone_t *zone, void *data);
/* 1 where all that was accepted into the stores before is on the list. */
ngx_uint_t ngx_http_voc_webhook_store_first(
    ngx_http_voc_webhook_queue_t *queue);

/* _queue.c */
ngx_int_t ngx_http_voc_webhook_queue_init_process(
    ngx_http_voc_webhook_queue_t *queue, ngx_cycle_t *cycle);
void ngx_http_voc_webhook_queue_exit_process(
    ngx_http_voc_webhook_queue_t *queue);
/* Appends an event, wakes the pusher, has it synced.  NGX_OK, NGX_AGAIN: the
 * ctx waits for its sync, else NGX_ERROR with ctx->outcome. */
ngx_int_t ngx_http_voc_webhook_queue_append(ngx_http_voc_webhook_ctx_t *ctx,
    char *json, size_t len);
void ngx_http_voc_webhook_queue_wake(ngx_http_voc_webhook_queue_t *queue);
void ngx_http_voc_webhook_queue_timer(ngx_http_voc_webhook_queue_t *queue,
    ngx_event_t *ev, ngx_event_handler_pt handler, ngx_log_t *log);
uint64_t ngx_http_voc_webhook_now(void); /* ms since the epoch, nginx's */

/* _pusher.c */
ngx_int_t ngx_http_voc_webhook_pusher_start(
    ngx_http_voc_webhook_queue_t *queue, ngx_cycle_t *cycle);
void ngx_http_voc_webhook_pusher_stop(ngx_http_voc_webhook_queue_t *queue);
/* To be asked before anything that the pusher does: whether this process
 * still has the seat.  If not, the pusher and its connection are gone. */
ngx_uint_t ngx_http_voc_webhook_pusher_seated(
    ngx_http_voc_webhook_queue_t *queue);
/* To be called after it: at a graceful exit the pusher may be done. */
void ngx_http_voc_webhook_pusher_progressed(
    ngx_http_voc_webhook_queue_t *queue);

/* _transport.c */
void ngx_http_voc_webhook_transport_init(
    ngx_http_voc_webhook_transport_t *transport,
    ngx_http_voc_webhook_queue_t *queue, ngx_log_t *log);
void ngx_http_voc_webhook_transport_connect(
    ngx_http_voc_webhook_transport_t *transport, ngx_uint_t rediscover);
void ngx_http_voc_webhook_transport_close(
    ngx_http_voc_webhook_transport_t *transport);
ssize_t ngx_http_voc_webhook_transport_send(
    ngx_http_voc_webhook_transport_t *transport, const char *data, size_t len);

/* _variables.c */
ngx_int_t ngx_http_voc_webhook_add_variables(ngx_conf_t *cf);

extern ngx_module_t ngx_http_voc_webhook_module;

#endif
