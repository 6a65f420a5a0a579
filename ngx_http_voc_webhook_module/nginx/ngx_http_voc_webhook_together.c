/*
 * Answers that are sent together.  To enter the kernel once for each of them
 * costs more than all else that this module does for an event.  So an answer
 * behind which its connection stays open waits for those of the same turn of
 * the event loop, and io_uring takes them with one system call.  Where there is
 * no io_uring, each is sent by itself.
 */

#include "ngx_http_voc_webhook_module.h"

#include <liburing.h>

#define NGX_HTTP_VOC_WEBHOOK_TOGETHER 8 /* answers, at most */

/* Of a connection: its answer, until the kernel has all of it. */
typedef struct {
    ngx_connection_t *connection;
    u_char *pos;
    u_char *last;
    unsigned may   : 1; /* the next answer may wait */
    unsigned waits : 1; /* is one of those below */
    u_char buf[NGX_HTTP_VOC_WEBHOOK_ANSWER];
} ngx_http_voc_webhook_held_t;

static void ngx_http_voc_webhook_held_write_handler(ngx_event_t *wev);

/* Of the process. */
static struct {
    struct io_uring ring;
    unsigned open : 1;
    ngx_event_t event; /* the end of the turn */
    ngx_uint_t n;
    ngx_http_voc_webhook_held_t *held[NGX_HTTP_VOC_WEBHOOK_TOGETHER];
} ngx_http_voc_webhook_together;


/*
 * What is left of an answer, by itself.  NGX_OK: nothing, NGX_AGAIN: the socket
 * is full, or NGX_ERROR, logged.
 */

static ngx_int_t
ngx_http_voc_webhook_held_send(ngx_http_voc_webhook_held_t *held)
{
    ssize_t n;
    ngx_connection_t *c;

    c = held->connection;

    n = ngx_send(c, held->pos, held->last - held->pos);

    if (n == NGX_ERROR) {
        held->pos = held->last;
        return NGX_ERROR;
    }

    if (n == NGX_AGAIN) {
        return NGX_AGAIN;
    }

    held->pos += n;
    c->sent -= n; /* it was counted when it was taken */

    return held->pos == held->last ? NGX_OK : NGX_AGAIN;
}


/* The same, where no request will do it: the connection is idle. */

static void
ngx_http_voc_webhook_held_finish(ngx_http_voc_webhook_held_t *held)
{
    ngx_int_t rc;
    ngx_event_t *wev;
    ngx_connection_t *c;

    c = held->connection;
    wev = c->write;

    rc = ngx_http_voc_webhook_held_send(held);

    if (rc == NGX_AGAIN) {
        if (wev->handler == ngx_http_empty_handler) {
            wev->handler = ngx_http_voc_webhook_held_write_handler;
        }

    } else if (wev->handler == ngx_http_voc_webhook_held_write_handler) {
        wev->handler = ngx_http_empty_handler;
    }

    if (rc == NGX_ERROR || ngx_handle_write_event(wev, 0) != NGX_OK) {

        /* nginx is told as if the sender had ended the connection */

        held->pos = held->last;
        (void) shutdown(c->fd, SHUT_RDWR);
    }
}


static void
ngx_http_voc_webhook_together_close(void)
{
    if (ngx_http_voc_webhook_together.open) {
        ngx_http_voc_webhook_together.open = 0;
        io_uring_queue_exit(&ngx_http_voc_webhook_together.ring);
    }
}


/*
 * A socket of nginx never makes an operation wait, so the kernel is done with
 * all of them when it returns.  Returns how many it has done.
 */

static ngx_uint_t
ngx_http_voc_webhook_together_submit(ngx_http_voc_webhook_held_t **held,
    ngx_uint_t n)
{
    unsigned head;
    ngx_uint_t i;
    struct io_uring *ring;
    struct io_uring_cqe *cqe;
    struct io_uring_sqe *sqe;
    ngx_http_voc_webhook_held_t *h;

    ring = &ngx_http_voc_webhook_together.ring;

    for (i = 0; i < n; i++) {
        sqe = io_uring_get_sqe(ring);
        if (sqe == NULL) {
            break;
        }

        h = held[i];
        io_uring_prep_send(sqe, h->connection->fd, h->pos, h->last - h->pos,
                           MSG_DONTWAIT);
        io_uring_sqe_set_data(sqe, h);
    }

    (void) io_uring_submit_and_wait(ring, i);

    i = 0;

    io_uring_for_each_cqe(ring, head, cqe) {
        h = io_uring_cqe_get_data(cqe);

        if (cqe->res > 0) {
            h->pos += cqe->res;
        }

        i++;
    }

    io_uring_cq_advance(ring, i);

    return i;
}


static void
ngx_http_voc_webhook_together_flush(void)
{
    ngx_uint_t i, n;
    ngx_http_voc_webhook_held_t **held;

    n = ngx_http_voc_webhook_together.n;
    held = ngx_http_voc_webhook_together.held;

    ngx_http_voc_webhook_together.n = 0;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, ngx_cycle->log, 0,
                   "voc_webhook: answers sent together: %ui", n);

    if (n > 1 && ngx_http_voc_webhook_together.open
        && ngx_http_voc_webhook_together_submit(held, n) != n)
    {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0,
                      "voc_webhook: io_uring has not sent all answers, "
                      "each is sent by itself from here on");
        ngx_http_voc_webhook_together_close();
    }

    for (i = 0; i < n; i++) {
        held[i]->waits = 0;

        if (held[i]->pos != held[i]->last) {
            ngx_http_voc_webhook_held_finish(held[i]);
        }
    }
}


static void
ngx_http_voc_webhook_together_handler(ngx_event_t *ev)
{
    ngx_http_voc_webhook_together_flush();
}


void
ngx_http_voc_webhook_together_init(ngx_cycle_t *cycle)
{
    int rc;

    ngx_http_voc_webhook_together.event.handler =
                                     ngx_http_voc_webhook_together_handler;
    ngx_http_voc_webhook_together.event.log = cycle->log;

    rc = io_uring_queue_init(NGX_HTTP_VOC_WEBHOOK_TOGETHER,
                             &ngx_http_voc_webhook_together.ring, 0);

    if (rc < 0) {
        ngx_log_error(NGX_LOG_NOTICE, cycle->log, -rc,
                      "voc_webhook: no io_uring, each answer is sent by "
                      "itself: io_uring_queue_init() failed");
        return;
    }

    ngx_http_voc_webhook_together.open = 1;
}


void
ngx_http_voc_webhook_together_exit(void)
{
    if (ngx_http_voc_webhook_together.n) {
        ngx_http_voc_webhook_together_flush();
    }

    ngx_http_voc_webhook_together_close();
}


/*
 * nginx ends a connection before its turn is over only where something is
 * wrong with it, but its descriptor may be that of another by then.
 */

static void
ngx_http_voc_webhook_held_cleanup(void *data)
{
    ngx_uint_t i, n;
    ngx_http_voc_webhook_held_t *held = data, **all;

    if (!held->waits) {
        return;
    }

    n = --ngx_http_voc_webhook_together.n;
    all = ngx_http_voc_webhook_together.held;

    for (i = 0; i < n; i++) {
        if (all[i] == held) {
            all[i] = all[n];
            break;
        }
    }
}


static ngx_http_voc_webhook_held_t *
ngx_http_voc_webhook_held(ngx_connection_t *c)
{
    ngx_pool_cleanup_t *cln;

    for (cln = c->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_voc_webhook_held_cleanup) {
            return cln->data;
        }
    }

    return NULL;
}


static void
ngx_http_voc_webhook_held_write_handler(ngx_event_t *wev)
{
    ngx_connection_t *c = wev->data;
    ngx_http_voc_webhook_held_t *held;

    held = ngx_http_voc_webhook_held(c);

    if (held->pos == held->last) {

        /* it went before an answer of nginx's to what is no request */

        wev->handler = ngx_http_empty_handler;
        return;
    }

    ngx_http_voc_webhook_held_finish(held);
}


/*
 * Whether nginx keeps the connection behind this answer, by the rules of
 * ngx_http_finalize_connection().  nginx also ends idle ones where no more than
 * a sixteenth of its connections is free: here no answer waits from an eighth
 * on, so that those it accepts in the same turn do not bring it there.
 */

static ngx_uint_t
ngx_http_voc_webhook_stays(ngx_http_request_t *r)
{
    ngx_http_core_loc_conf_t *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    return r->keepalive
           && !r->reading_body
           && !r->connection->read->eof
           && !ngx_exiting
           && !ngx_terminate
           && clcf->keepalive_timeout > 0
           && clcf->post_action.data == NULL
           && ngx_cycle->free_connection_n > ngx_cycle->connection_n / 8;
}


ngx_int_t
ngx_http_voc_webhook_together_tune(ngx_http_request_t *r)
{
    ngx_connection_t *c;
    ngx_pool_cleanup_t *cln;
    ngx_http_voc_webhook_held_t *held;

    c = r->connection;
    held = ngx_http_voc_webhook_held(c);

    if (held) {
        held->may = ngx_http_voc_webhook_stays(r);
        return NGX_OK;
    }

    if (!ngx_http_voc_webhook_together.open
        || !ngx_http_voc_webhook_stays(r))
    {
        return NGX_OK;
    }

    cln = ngx_pool_cleanup_add(c->pool, sizeof(ngx_http_voc_webhook_held_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    held = cln->data;
    ngx_memzero(held, offsetof(ngx_http_voc_webhook_held_t, buf));

    held->connection = c;
    held->may = 1;
    cln->handler = ngx_http_voc_webhook_held_cleanup;

    return NGX_OK;
}


/* What was taken before goes first. */

static ngx_int_t
ngx_http_voc_webhook_held_settle(ngx_http_voc_webhook_held_t *held)
{
    if (held->waits) {
        ngx_http_voc_webhook_together_flush();
    }

    return held->pos == held->last ? NGX_OK
                                   : ngx_http_voc_webhook_held_send(held);
}


ngx_int_t
ngx_http_voc_webhook_together_take(ngx_connection_t *c, const u_char *data,
    size_t len)
{
    ngx_int_t rc;
    ngx_http_voc_webhook_held_t *held;

    held = ngx_http_voc_webhook_held(c);

    if (held == NULL) {
        return NGX_DECLINED;
    }

    rc = ngx_http_voc_webhook_held_settle(held);

    if (rc != NGX_OK) {
        return rc;
    }

    if (!held->may || !ngx_http_voc_webhook_together.open) {
        return NGX_DECLINED;
    }

    held->may = 0;

    if (len == 0 || len > sizeof(held->buf)) {
        return NGX_DECLINED;
    }

    held->pos = held->buf;
    held->last = ngx_cpymem(held->buf, data, len);
    held->waits = 1;

    ngx_http_voc_webhook_together.held[ngx_http_voc_webhook_together.n++] =
        held;

    if (ngx_http_voc_webhook_together.n == NGX_HTTP_VOC_WEBHOOK_TOGETHER) {
        ngx_http_voc_webhook_together_flush();

    } else if (!ngx_http_voc_webhook_together.event.posted) {
        ngx_post_event(&ngx_http_voc_webhook_together.event,
                       &ngx_posted_events);
    }

    return NGX_OK;
}
