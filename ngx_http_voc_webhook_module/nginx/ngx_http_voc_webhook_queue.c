/* A queue in every worker: appends, wake-ups, syncs. */

#include "ngx_http_voc_webhook_module.h"

#define NGX_HTTP_VOC_WEBHOOK_CHECK     1000  /* ms between looks at the file */
#define NGX_HTTP_VOC_WEBHOOK_SYNC_SLOW 60000 /* ms until a sync is reported */
#define NGX_HTTP_VOC_WEBHOOK_CALM      1000  /* ms without a refusal: over */

static void ngx_http_voc_webhook_sync_timer_handler(ngx_event_t *ev);
static void ngx_http_voc_webhook_sync(ngx_http_voc_webhook_queue_t *queue);


uint64_t
ngx_http_voc_webhook_now(void)
{
    ngx_time_t *tp = ngx_timeofday();

    return (uint64_t) tp->sec * 1000 + tp->msec;
}


void
ngx_http_voc_webhook_queue_timer(ngx_http_voc_webhook_queue_t *queue,
    ngx_event_t *ev, ngx_event_handler_pt handler, ngx_log_t *log)
{
    ngx_memzero(ev, sizeof(ngx_event_t));

    ev->handler = handler;
    ev->data = &queue->dumb;
    ev->log = log;
    ev->cancelable = 1; /* no timer of ours keeps an exiting worker */
}


ngx_int_t
ngx_http_voc_webhook_queue_init_process(ngx_http_voc_webhook_queue_t *queue,
    ngx_cycle_t *cycle)
{
    if (voc_guard_install() == -1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno,
                      "sigaction(SIGBUS) failed");
        return NGX_ERROR;
    }

    queue->dumb.fd = (ngx_socket_t) -1;
    queue->dumb.data = queue;

    ngx_http_voc_webhook_queue_timer(queue, &queue->sync_timer,
                                    ngx_http_voc_webhook_sync_timer_handler,
                                    cycle->log);

    if (ngx_worker == 0) {
        return ngx_http_voc_webhook_pusher_start(queue, cycle);
    }

    return NGX_OK;
}


void
ngx_http_voc_webhook_queue_exit_process(ngx_http_voc_webhook_queue_t *queue)
{
    uint64_t synced;
    voc_error_t error;

    if (queue->pusher) {
        ngx_http_voc_webhook_pusher_stop(queue);
    }

    if (queue->store && queue->sync != NGX_HTTP_VOC_WEBHOOK_SYNC_OFF) {
        (void) voc_journal_sync(queue->store->journal, &synced, &error);
    }
}


void
ngx_http_voc_webhook_queue_wake(ngx_http_voc_webhook_queue_t *queue)
{
    uint64_t one = 1;

    if (write(queue->store->wake, &one, sizeof(one)) == -1
        && ngx_errno != NGX_EAGAIN)
    {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, ngx_errno,
                      "write() to eventfd failed");
    }
}


/*
 * One line when a journal begins to refuse events, one when it ends.  A full
 * journal that Redis empties accepts and refuses by turns: that is one state.
 */

static void
ngx_http_voc_webhook_log_accepted(ngx_http_voc_webhook_queue_t *queue)
{
    if (ngx_current_msec - queue->refused < NGX_HTTP_VOC_WEBHOOK_CALM) {
        return;
    }

    queue->refusing = VOC_JOURNAL_OK;

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "voc_webhook_queue \"%V\": events are accepted again",
                  &queue->name);
}


static void
ngx_http_voc_webhook_log_refusal(ngx_http_voc_webhook_queue_t *queue,
    voc_journal_rc rc)
{
    voc_error_t error;
    voc_journal_status_t status;

    queue->refused = ngx_current_msec;

    /* full or locked passes, failed does not */

    if (queue->refusing == rc
        || (queue->refusing != VOC_JOURNAL_OK && rc != VOC_JOURNAL_FAILED))
    {
        return;
    }

    queue->refusing = rc;
    voc_journal_status(queue->store->journal, &status);

    if (rc == VOC_JOURNAL_FULL) {
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "voc_webhook_queue \"%V\": the journal is full, %uL "
                      "events wait for Redis; events are refused with 503",
                      &queue->name, status.pending);

    } else if (rc == VOC_JOURNAL_BUSY) {
        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "voc_webhook_queue \"%V\": a process holds the "
                      "journal's lock; events are refused with 503",
                      &queue->name);

    } else {
        error.text[0] = '\0';
        (void) voc_journal_check(queue->store->journal, &error);

        ngx_log_error(NGX_LOG_CRIT, ngx_cycle->log, 0,
                      "voc_webhook_queue \"%V\": the journal \"%s\" cannot be "
                      "written; events are refused with 503: %s",
                      &queue->name, voc_journal_path(queue->store->journal),
                      error.text);
    }
}


static ngx_int_t
ngx_http_voc_webhook_refuse(ngx_http_voc_webhook_ctx_t *ctx,
    voc_journal_rc rc)
{
    if (rc == VOC_JOURNAL_TOO_LARGE) {
        ctx->outcome = voc_problem(VOC_BODY_TOO_LARGE);
        return NGX_ERROR;
    }

    ngx_http_voc_webhook_log_refusal(ctx->queue, rc);

    ctx->outcome = voc_problem(rc == VOC_JOURNAL_FULL ? VOC_QUEUE_FULL
                                                      : VOC_JOURNAL_ERROR);
    return NGX_ERROR;
}


/*
 * nginx ends, and the journal in memory with it: this event came when nobody
 * pushes any more.  Looked at behind the append, as the pusher looks for
 * events once it has left.
 */

static ngx_uint_t
ngx_http_voc_webhook_queue_ended(ngx_http_voc_webhook_queue_t *queue)
{
    if (!ngx_exiting || queue->journal.len) {
        return 0;
    }

    ngx_memory_barrier();

    return *queue->store->seat == 0;
}


ngx_int_t
ngx_http_voc_webhook_queue_append(ngx_http_voc_webhook_ctx_t *ctx, char *json,
    size_t len)
{
    voc_journal_t *journal;
    voc_journal_rc rc;
    ngx_http_voc_webhook_queue_t *queue;

    queue = ctx->queue;
    journal = queue->store->journal;

    rc = voc_journal_append(journal, json, len, ngx_http_voc_webhook_now(),
                            &ctx->seq);

    if (rc != VOC_JOURNAL_OK) {
        return ngx_http_voc_webhook_refuse(ctx, rc);
    }

    if (ngx_http_voc_webhook_queue_ended(queue)) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "voc_webhook_queue \"%V\": nginx ends, an event that "
                      "came too late is refused with 503", &queue->name);
        ctx->outcome = voc_problem(VOC_JOURNAL_ERROR);
        return NGX_ERROR;
    }

    if (queue->refusing != VOC_JOURNAL_OK) {
        ngx_http_voc_webhook_log_accepted(queue);
    }

    if (voc_journal_must_wake(journal)) {
        ngx_http_voc_webhook_queue_wake(queue);
    }

    if (queue->sync == NGX_HTTP_VOC_WEBHOOK_SYNC_ALWAYS) {
        ngx_queue_insert_tail(&queue->waiting, &ctx->link);
        ngx_http_voc_webhook_sync(queue);
        return NGX_AGAIN;
    }

    if (!queue->sync_timer.timer_set && queue->journal.len) {
        ngx_add_timer(&queue->sync_timer,
                      queue->sync == NGX_HTTP_VOC_WEBHOOK_SYNC_TIME
                      ? queue->sync_time : NGX_HTTP_VOC_WEBHOOK_CHECK);
    }

    return NGX_OK;
}


static void
ngx_http_voc_webhook_sync_timer_handler(ngx_event_t *ev)
{
    voc_error_t error;
    ngx_connection_t *dumb;
    ngx_http_voc_webhook_queue_t *queue;

    dumb = ev->data;
    queue = dumb->data;

    if (voc_journal_check(queue->store->journal, &error) != VOC_JOURNAL_OK) {
        ngx_http_voc_webhook_log_refusal(queue, VOC_JOURNAL_FAILED);

        if (ngx_queue_empty(&queue->waiting)) {
            return;
        }
    }

    if (queue->sync != NGX_HTTP_VOC_WEBHOOK_SYNC_OFF) {
        ngx_http_voc_webhook_sync(queue);
    }
}


typedef struct {
    voc_journal_t *journal;
    voc_journal_rc rc;
    uint64_t synced;
    voc_error_t error;
} ngx_http_voc_webhook_sync_ctx_t;


static void
ngx_http_voc_webhook_sync_thread(void *data, ngx_log_t *log)
{
    ngx_http_voc_webhook_sync_ctx_t *ctx = data;

    ctx->rc = voc_journal_sync(ctx->journal, &ctx->synced, &ctx->error);
}


/* Answers the requests whose records are on the disk, in their order. */

static void
ngx_http_voc_webhook_answer_waiting(ngx_http_voc_webhook_queue_t *queue,
    uint64_t synced, ngx_uint_t ok)
{
    ngx_queue_t *q, done;
    ngx_http_voc_webhook_ctx_t *ctx;

    /* an answer may bring in the next request of its connection */

    ngx_queue_init(&done);

    while (!ngx_queue_empty(&queue->waiting)) {
        q = ngx_queue_head(&queue->waiting);
        ctx = ngx_queue_data(q, ngx_http_voc_webhook_ctx_t, link);

        if (ok && ctx->seq > synced) {
            break;
        }

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&done, q);
    }

    while (!ngx_queue_empty(&done)) {
        q = ngx_queue_head(&done);
        ctx = ngx_queue_data(q, ngx_http_voc_webhook_ctx_t, link);

        ngx_queue_remove(q);
        ngx_http_voc_webhook_synced(ctx, ok);
    }
}


static void
ngx_http_voc_webhook_sync_later(ngx_http_voc_webhook_queue_t *queue)
{
    if (!queue->sync_timer.timer_set) {
        queue->sync_timer.cancelable = ngx_queue_empty(&queue->waiting);
        ngx_add_timer(&queue->sync_timer, 100);
    }
}


static void
ngx_http_voc_webhook_sync_done(ngx_event_t *ev)
{
    ngx_connection_t *dumb;
    ngx_http_voc_webhook_queue_t *queue;
    ngx_http_voc_webhook_sync_ctx_t *ctx;

    dumb = ev->data;
    queue = dumb->data;

    if (ev->timedout) {
        ev->timedout = 0;
        ngx_log_error(NGX_LOG_ALERT, ev->log, 0,
                      "voc_webhook_queue \"%V\": fdatasync() of the journal "
                      "takes longer than a minute", &queue->name);
        return;
    }

    if (ev->timer_set) {
        ngx_del_timer(ev);
    }

    ctx = queue->sync_task->ctx;
    queue->syncing = 0;

    if (ctx->rc == VOC_JOURNAL_BUSY) {
        ngx_http_voc_webhook_sync_later(queue);
        return;
    }

    if (ctx->rc != VOC_JOURNAL_OK) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "voc_webhook_queue \"%V\": %s", &queue->name,
                      ctx->error.text);
        ngx_http_voc_webhook_log_refusal(queue, VOC_JOURNAL_FAILED);
    }

    ngx_http_voc_webhook_answer_waiting(queue, ctx->synced,
                                        ctx->rc == VOC_JOURNAL_OK);

    /* an answer may have begun the next one */

    if (!queue->syncing && ctx->rc == VOC_JOURNAL_OK
        && (queue->resync || !ngx_queue_empty(&queue->waiting)))
    {
        ngx_http_voc_webhook_sync(queue);
    }
}


static ngx_thread_task_t *
ngx_http_voc_webhook_sync_task(ngx_http_voc_webhook_queue_t *queue)
{
    ngx_thread_task_t *task;
    ngx_http_voc_webhook_sync_ctx_t *ctx;

    task = ngx_thread_task_alloc(ngx_cycle->pool,
                                 sizeof(ngx_http_voc_webhook_sync_ctx_t));
    if (task == NULL) {
        return NULL;
    }

    ctx = task->ctx;
    ctx->journal = queue->store->journal;

    task->handler = ngx_http_voc_webhook_sync_thread;
    task->event.handler = ngx_http_voc_webhook_sync_done;
    task->event.data = &queue->dumb;
    task->event.log = ngx_cycle->log;

    return task;
}


/*
 * One fdatasync() at a time, in a thread: what is appended while it runs waits
 * for the next, so a sync serves a group.
 */

static void
ngx_http_voc_webhook_sync(ngx_http_voc_webhook_queue_t *queue)
{
    if (queue->syncing) {
        queue->resync = 1;
        return;
    }

    if (queue->sync_task == NULL) {
        queue->sync_task = ngx_http_voc_webhook_sync_task(queue);
    }

    if (queue->sync_task == NULL
        || ngx_thread_task_post(queue->thread_pool, queue->sync_task)
           != NGX_OK)
    {
        /* the thread pool's queue is full, it has said so */

        ngx_http_voc_webhook_sync_later(queue);
        return;
    }

    queue->syncing = 1;
    queue->resync = 0;

    /* an exiting worker stays for the answers that wait */

    ngx_add_timer(&queue->sync_task->event, NGX_HTTP_VOC_WEBHOOK_SYNC_SLOW);
}
