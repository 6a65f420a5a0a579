/*
 * The pusher of core/ in an nginx worker: the one that has the seat.  Its
 * timers, its wake-ups, its end at a graceful exit.
 */

#include "ngx_http_voc_webhook_module.h"

#define NGX_HTTP_VOC_WEBHOOK_DRAIN 2000 /* ms to push at a graceful exit */
#define NGX_HTTP_VOC_WEBHOOK_BUSY  16   /* ms at least to look at */

static void ngx_http_voc_webhook_wake_handler(ngx_event_t *ev);
static void ngx_http_voc_webhook_push_timer_handler(ngx_event_t *ev);
static void ngx_http_voc_webhook_drain_timer_handler(ngx_event_t *ev);


static void
ngx_http_voc_webhook_pusher_connect(void *ctx, int rediscover)
{
    ngx_http_voc_webhook_queue_t *queue = ctx;

    ngx_http_voc_webhook_transport_connect(&queue->transport, rediscover);
}


static void
ngx_http_voc_webhook_pusher_close(void *ctx)
{
    ngx_http_voc_webhook_queue_t *queue = ctx;

    ngx_http_voc_webhook_transport_close(&queue->transport);
}


static ssize_t
ngx_http_voc_webhook_pusher_send(void *ctx, const char *data, size_t len)
{
    ngx_http_voc_webhook_queue_t *queue = ctx;

    return ngx_http_voc_webhook_transport_send(&queue->transport, data, len);
}


static void
ngx_http_voc_webhook_pusher_timer(void *ctx, uint64_t ms)
{
    ngx_http_voc_webhook_queue_t *queue = ctx;

    if (ms == VOC_NO_TIMER) {
        if (queue->push_timer.timer_set) {
            ngx_del_timer(&queue->push_timer);
        }

        return;
    }

    /* ngx_add_timer() keeps a timer that is due up to 300 ms later */

    if (queue->push_timer.timer_set
        && (ngx_msec_int_t) (queue->push_timer.timer.key - ngx_current_msec)
           > (ngx_msec_int_t) ms)
    {
        ngx_del_timer(&queue->push_timer);
    }

    ngx_add_timer(&queue->push_timer, (ngx_msec_t) ms);
}


static uint32_t
ngx_http_voc_webhook_pusher_random(void *ctx)
{
    return ((uint32_t) ngx_random() << 16) ^ (uint32_t) ngx_random();
}


static void
ngx_http_voc_webhook_pusher_log(void *ctx, voc_log_e level, const char *text)
{
    ngx_http_voc_webhook_queue_t *queue = ctx;

    static const ngx_uint_t levels[] = {
        NGX_LOG_ALERT, NGX_LOG_ERR, NGX_LOG_WARN, NGX_LOG_NOTICE
    };

    ngx_log_error(levels[level], ngx_cycle->log, 0,
                  "voc_webhook_queue \"%V\" (redis %V): %s", &queue->name,
                  &queue->redis.url, text);
}


static int
ngx_http_voc_webhook_pusher_may_begin(void *ctx)
{
    ngx_http_voc_webhook_queue_t *queue = ctx;

    return ngx_http_voc_webhook_store_first(queue);
}


/* The worker's own time on the CPU, of all its queues. */

static unsigned
ngx_http_voc_webhook_pusher_busy(void *ctx)
{
    uint64_t cpu;
    ngx_msec_t wall;
    struct timespec ts;

    static unsigned busy;
    static uint64_t cpu_then;
    static ngx_msec_t wall_then;

    wall = ngx_current_msec - wall_then;

    if (wall < NGX_HTTP_VOC_WEBHOOK_BUSY
        || clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) != 0)
    {
        return busy;
    }

    cpu = (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
    busy = (unsigned) ((cpu - cpu_then) / (10 * wall));

    cpu_then = cpu;
    wall_then += wall;

    return busy;
}


typedef struct {
    ngx_http_voc_webhook_queue_t *queue;
    voc_journal_t *journal;
    char id[VOC_JOURNAL_ID_LEN];
    int rc;
    voc_error_t error;
} ngx_http_voc_webhook_retire_ctx_t;


static void
ngx_http_voc_webhook_retire_thread(void *data, ngx_log_t *log)
{
    ngx_http_voc_webhook_retire_ctx_t *ctx = data;

    ctx->rc = voc_journal_retire(ctx->journal, &ctx->error);
}


static void
ngx_http_voc_webhook_retire_failed(ngx_http_voc_webhook_queue_t *queue,
    voc_journal_t *journal, const char *reason)
{
    ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                  "voc_webhook_queue \"%V\": %s; it holds no event that is "
                  "not pushed, and is left alone", &queue->name, reason);

    voc_journal_refuse(&queue->leftovers, voc_journal_id(journal));
    voc_journal_close(journal);
}


static void
ngx_http_voc_webhook_retire_done(ngx_event_t *ev)
{
    voc_str_t id;
    ngx_thread_task_t *task;
    ngx_http_voc_webhook_queue_t *queue;
    ngx_http_voc_webhook_retire_ctx_t *ctx;

    task = ev->data;
    ctx = task->ctx;
    queue = ctx->queue;
    queue->retiring--;

    if (ctx->rc == -1) {
        ngx_http_voc_webhook_retire_failed(queue, ctx->journal,
                                           ctx->error.text);

    } else if (queue->pusher && ngx_http_voc_webhook_pusher_seated(queue)) {
        id.data = ctx->id;
        id.len = VOC_JOURNAL_ID_LEN;

        voc_pusher_retired(queue->pusher, ngx_current_msec, id);
    }

    if (queue->pusher && ngx_http_voc_webhook_pusher_seated(queue)) {
        ngx_http_voc_webhook_pusher_progressed(queue);
    }

    ngx_free(task);
}


/* Deleting a large file blocks: in a thread. */

static void
ngx_http_voc_webhook_pusher_retire(void *data, voc_journal_t *journal)
{
    ngx_http_voc_webhook_queue_t *queue = data;

    ngx_thread_task_t *task;
    ngx_http_voc_webhook_retire_ctx_t *ctx;

    task = ngx_calloc(sizeof(ngx_thread_task_t)
                      + sizeof(ngx_http_voc_webhook_retire_ctx_t),
                      ngx_cycle->log);
    if (task == NULL) {
        ngx_http_voc_webhook_retire_failed(queue, journal, "no memory");
        return;
    }

    ctx = (ngx_http_voc_webhook_retire_ctx_t *) &task[1];
    ctx->queue = queue;
    ctx->journal = journal;
    ngx_memcpy(ctx->id, voc_journal_id(journal).data, VOC_JOURNAL_ID_LEN);

    task->ctx = ctx;
    task->handler = ngx_http_voc_webhook_retire_thread;
    task->event.handler = ngx_http_voc_webhook_retire_done;
    task->event.data = task;
    task->event.log = ngx_cycle->log;

    if (ngx_thread_task_post(queue->thread_pool, task) != NGX_OK) {
        ngx_http_voc_webhook_retire_failed(queue, journal,
                                           "the thread pool is full");
        ngx_free(task);
        return;
    }

    queue->retiring++;
}


static const voc_pusher_ops_t ngx_http_voc_webhook_pusher_ops = {
    ngx_http_voc_webhook_pusher_connect,
    ngx_http_voc_webhook_pusher_close,
    ngx_http_voc_webhook_pusher_send,
    ngx_http_voc_webhook_pusher_timer,
    ngx_http_voc_webhook_pusher_random,
    ngx_http_voc_webhook_pusher_log,
    ngx_http_voc_webhook_pusher_may_begin,
    ngx_http_voc_webhook_pusher_busy,
    ngx_http_voc_webhook_pusher_retire
};


static voc_pusher_t *
ngx_http_voc_webhook_pusher_create(ngx_http_voc_webhook_queue_t *queue)
{
    voc_pusher_options_t options;

    ngx_memzero(&options, sizeof(voc_pusher_options_t));

    options.key.data = (const char *) queue->key.data;
    options.key.len = queue->key.len;
    options.user.data = (const char *) queue->redis_user.data;
    options.user.len = queue->redis_user.len;
    options.password.data = (const char *) queue->redis_password.data;
    options.password.len = queue->redis_password.len;
    options.db = queue->redis_db;
    options.connect_timeout = queue->redis_connect_timeout;
    options.timeout = queue->redis_timeout;
    options.journal = queue->store->journal;

    if (queue->journal.len) {
        queue->leftovers.path = (const char *) queue->journal.data;
        options.directory = &queue->leftovers;
    }

    return voc_pusher_create(&options, &ngx_http_voc_webhook_pusher_ops,
                             queue);
}


/*
 * Takes the seat: whoever had it resigns when it looks next.  The eventfd's
 * connection is marked idle, which is how nginx tells of a graceful exit.
 */

ngx_int_t
ngx_http_voc_webhook_pusher_start(ngx_http_voc_webhook_queue_t *queue,
    ngx_cycle_t *cycle)
{
    ngx_connection_t *c;

    queue->pusher = ngx_http_voc_webhook_pusher_create(queue);
    if (queue->pusher == NULL) {
        return NGX_ERROR;
    }

    ngx_http_voc_webhook_transport_init(&queue->transport, queue, cycle->log);

    ngx_http_voc_webhook_queue_timer(queue, &queue->push_timer,
                                    ngx_http_voc_webhook_push_timer_handler,
                                    cycle->log);
    ngx_http_voc_webhook_queue_timer(queue, &queue->drain_timer,
                                    ngx_http_voc_webhook_drain_timer_handler,
                                    cycle->log);
    queue->drain_timer.cancelable = 0;

    c = ngx_get_connection(queue->store->wake, cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    c->data = queue;
    c->idle = 1;
    c->read->handler = ngx_http_voc_webhook_wake_handler;
    c->read->log = cycle->log;
    c->write->log = cycle->log;

    queue->wake = c;

    if (ngx_add_event(c->read, NGX_READ_EVENT,
                      (ngx_event_flags & NGX_USE_CLEAR_EVENT)
                      ? NGX_CLEAR_EVENT : NGX_LEVEL_EVENT)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    *queue->store->seat = ngx_pid;
    ngx_memory_barrier();

    ngx_http_voc_webhook_queue_wake(queue);

    /* the first steps are taken by the timer, in the event loop */

    queue->starting = 1;
    ngx_add_timer(&queue->push_timer, 1);

    return NGX_OK;
}


void
ngx_http_voc_webhook_pusher_stop(ngx_http_voc_webhook_queue_t *queue)
{
    ngx_http_voc_webhook_transport_close(&queue->transport);

    if (queue->push_timer.timer_set) {
        ngx_del_timer(&queue->push_timer);
    }

    if (queue->drain_timer.timer_set) {
        ngx_del_timer(&queue->drain_timer);
    }

    voc_pusher_free(queue->pusher);
    queue->pusher = NULL;

    /* the eventfd stays open: this worker may still append */

    if (queue->wake->read->posted) {
        ngx_delete_posted_event(queue->wake->read); /* accept_mutex */
    }

    if (queue->wake->read->active) {
        (void) ngx_del_event(queue->wake->read, NGX_READ_EVENT, 0);
    }

    ngx_free_connection(queue->wake);
    queue->wake->fd = (ngx_socket_t) -1;
    queue->wake = NULL;
}


ngx_uint_t
ngx_http_voc_webhook_pusher_seated(ngx_http_voc_webhook_queue_t *queue)
{
    if (*queue->store->seat == (ngx_atomic_uint_t) ngx_pid) {
        return 1;
    }

    ngx_http_voc_webhook_pusher_stop(queue);

    return 0;
}


/* Whoever appends to a journal in memory from now on sees that nobody reads. */

static void
ngx_http_voc_webhook_leave_seat(ngx_http_voc_webhook_queue_t *queue)
{
    (void) ngx_atomic_cmp_set(queue->store->seat, ngx_pid, 0);
    ngx_memory_barrier();
}


static void
ngx_http_voc_webhook_end_drain(ngx_http_voc_webhook_queue_t *queue)
{
    uint64_t pending;
    ngx_uint_t level;

    ngx_http_voc_webhook_leave_seat(queue);

    pending = voc_pusher_pending(queue->pusher);

    if (pending) {
        level = queue->journal.len ? NGX_LOG_NOTICE : NGX_LOG_ALERT;

        ngx_log_error(level, ngx_cycle->log, 0,
                      "voc_webhook_queue \"%V\": %uL events not pushed at "
                      "exit, %s", &queue->name, pending,
                      queue->journal.len
                      ? "they wait in the journal"
                      : "they are lost: the journal is off");
    }

    ngx_http_voc_webhook_pusher_stop(queue);
}


/*
 * At a graceful exit the pusher ends with the last event, not before, and
 * with the cursor of a journal that is being deleted: nobody would know later
 * that it is there.
 */

void
ngx_http_voc_webhook_pusher_progressed(ngx_http_voc_webhook_queue_t *queue)
{
    if (queue->drain_timer.timer_set && queue->retiring == 0
        && voc_pusher_finished(queue->pusher))
    {
        ngx_http_voc_webhook_leave_seat(queue);

        if (voc_pusher_pending(queue->pusher) == 0) {
            ngx_http_voc_webhook_pusher_stop(queue);
            return;
        }

        /* one more came meanwhile */

        (void) ngx_atomic_cmp_set(queue->store->seat, 0, ngx_pid);
    }
}


static void
ngx_http_voc_webhook_begin_drain(ngx_http_voc_webhook_queue_t *queue)
{
    queue->wake->close = 0;
    queue->wake->idle = 0;

    /* told a second time, the worker_shutdown_timeout is over */

    if (queue->drain_timer.timer_set
        || (!voc_pusher_counters(queue->pusher)->up && queue->retiring == 0))
    {
        ngx_http_voc_webhook_end_drain(queue);
        return;
    }

    ngx_add_timer(&queue->drain_timer, NGX_HTTP_VOC_WEBHOOK_DRAIN);

    ngx_http_voc_webhook_pusher_progressed(queue);
}


static void
ngx_http_voc_webhook_wake_handler(ngx_event_t *ev)
{
    uint64_t n;
    ngx_connection_t *c;
    ngx_http_voc_webhook_queue_t *queue;

    c = ev->data;
    queue = c->data;

    if (!ngx_http_voc_webhook_pusher_seated(queue)) {
        return;
    }

    if (c->close) {
        ngx_http_voc_webhook_begin_drain(queue);
        return;
    }

    /* the count does not matter, and the old pusher may have read it */

    if (read(c->fd, &n, sizeof(n)) == -1 && ngx_errno != NGX_EAGAIN) {
        ngx_log_error(NGX_LOG_ALERT, ev->log, ngx_errno,
                      "read() from eventfd failed");
    }

    if (!queue->starting) {
        voc_pusher_wake(queue->pusher, ngx_current_msec);
        ngx_http_voc_webhook_pusher_progressed(queue);
    }
}


static void
ngx_http_voc_webhook_push_timer_handler(ngx_event_t *ev)
{
    ngx_connection_t *dumb;
    ngx_http_voc_webhook_queue_t *queue;

    dumb = ev->data;
    queue = dumb->data;

    if (!ngx_http_voc_webhook_pusher_seated(queue)) {
        return;
    }

    if (queue->starting) {
        queue->starting = 0;
        voc_pusher_start(queue->pusher, ngx_current_msec);

    } else {
        voc_pusher_timer(queue->pusher, ngx_current_msec);
    }

    ngx_http_voc_webhook_pusher_progressed(queue);
}


static void
ngx_http_voc_webhook_drain_timer_handler(ngx_event_t *ev)
{
    ngx_connection_t *dumb;
    ngx_http_voc_webhook_queue_t *queue;

    dumb = ev->data;
    queue = dumb->data;

    if (ngx_http_voc_webhook_pusher_seated(queue)) {
        ngx_http_voc_webhook_end_drain(queue);
    }
}
