/* The pusher's connection to Redis: nginx's own peer, resolver and events. */

#include "ngx_http_voc_webhook_module.h"

#include <netinet/tcp.h>

#define NGX_HTTP_VOC_WEBHOOK_READ 16384 /* bytes read at once */

static void ngx_http_voc_webhook_transport_resolved(ngx_resolver_ctx_t *ctx);
static void ngx_http_voc_webhook_transport_open(
    ngx_http_voc_webhook_transport_t *transport);
static void ngx_http_voc_webhook_transport_read_handler(ngx_event_t *rev);
static void ngx_http_voc_webhook_transport_write_handler(ngx_event_t *wev);
static void ngx_http_voc_webhook_transport_report_handler(ngx_event_t *ev);


void
ngx_http_voc_webhook_transport_init(
    ngx_http_voc_webhook_transport_t *transport,
    ngx_http_voc_webhook_queue_t *queue, ngx_log_t *log)
{
    ngx_memzero(transport, sizeof(ngx_http_voc_webhook_transport_t));

    transport->queue = queue;
    transport->addrs = queue->redis.addrs;
    transport->naddrs = queue->redis.naddrs;

    /*
     * nginx logs every failed connect; the pusher logs changes of state.
     * Debug messages still come through.
     */

    transport->log = *log;
    transport->log.log_level = log->log_level & NGX_LOG_DEBUG_ALL;

    transport->report.handler = ngx_http_voc_webhook_transport_report_handler;
    transport->report.data = &queue->dumb;
    transport->report.log = log;
}


/* Tells the pusher later: it is not called back from within its own call. */

static void
ngx_http_voc_webhook_transport_report(
    ngx_http_voc_webhook_transport_t *transport, const char *fmt, ...)
{
    u_char *p;
    va_list args;

    va_start(args, fmt);
    p = ngx_vslprintf(transport->reason,
                      transport->reason + sizeof(transport->reason) - 1, fmt,
                      args);
    va_end(args);

    *p = '\0';

    ngx_post_event(&transport->report, &ngx_posted_events);
}


static void
ngx_http_voc_webhook_transport_report_errno(
    ngx_http_voc_webhook_transport_t *transport, const char *what,
    ngx_err_t err)
{
    u_char text[256], *p;

    p = ngx_strerror(err, text, sizeof(text));

    ngx_http_voc_webhook_transport_report(transport, "%s failed (%d: %*s)",
                                          what, err, p - text, text);
}


static void
ngx_http_voc_webhook_transport_report_handler(ngx_event_t *ev)
{
    ngx_connection_t *dumb;
    ngx_http_voc_webhook_queue_t *queue;
    ngx_http_voc_webhook_transport_t *transport;

    dumb = ev->data;
    queue = dumb->data;
    transport = &queue->transport;

    if (!ngx_http_voc_webhook_pusher_seated(queue)) {
        return;
    }

    if (transport->reason[0]) {
        ngx_http_voc_webhook_transport_close(transport);
        voc_pusher_closed(queue->pusher, ngx_current_msec,
                          (const char *) transport->reason);

    } else {
        transport->established = 1;
        voc_pusher_connected(queue->pusher, ngx_current_msec);
    }

    ngx_http_voc_webhook_pusher_progressed(queue);
}


void
ngx_http_voc_webhook_transport_close(
    ngx_http_voc_webhook_transport_t *transport)
{
    if (transport->report.posted) {
        ngx_delete_posted_event(&transport->report);
    }

    if (transport->resolving) {
        ngx_resolve_name_done(transport->resolving);
        transport->resolving = NULL;
    }

    if (transport->peer.connection) {
        ngx_close_connection(transport->peer.connection);
        transport->peer.connection = NULL;
    }

    transport->established = 0;
}


void
ngx_http_voc_webhook_transport_connect(
    ngx_http_voc_webhook_transport_t *transport, ngx_uint_t rediscover)
{
    ngx_resolver_ctx_t *ctx, temp;
    ngx_http_voc_webhook_queue_t *queue;

    queue = transport->queue;

    ngx_http_voc_webhook_transport_close(transport);

    if (queue->resolver == NULL) {
        ngx_http_voc_webhook_transport_open(transport);
        return;
    }

    temp.name = queue->redis.host;

    ctx = ngx_resolve_start(queue->resolver, &temp);

    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        ngx_http_voc_webhook_transport_report(transport, "no resolver");
        return;
    }

    ctx->name = queue->redis.host;
    ctx->handler = ngx_http_voc_webhook_transport_resolved;
    ctx->data = transport;
    ctx->timeout = queue->resolver_timeout;
    ctx->cancelable = 1;

    transport->resolving = ctx;

    if (ngx_resolve_name(ctx) != NGX_OK) {
        transport->resolving = NULL;
        ngx_http_voc_webhook_transport_report(transport,
                                              "%V could not be resolved",
                                              &queue->redis.host);
    }
}


/* Keeps the addresses for this connect: the resolver frees its own. */

static ngx_int_t
ngx_http_voc_webhook_transport_take_addrs(
    ngx_http_voc_webhook_transport_t *transport, ngx_resolver_ctx_t *ctx)
{
    u_char *p;
    size_t len;
    ngx_uint_t i;
    ngx_addr_t *addrs;
    ngx_pool_t *pool;
    struct sockaddr *sockaddr;

    pool = ngx_create_pool(1024, &transport->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    addrs = ngx_pcalloc(pool, ctx->naddrs * sizeof(ngx_addr_t));
    if (addrs == NULL) {
        goto failed;
    }

    for (i = 0; i < ctx->naddrs; i++) {
        sockaddr = ngx_palloc(pool, ctx->addrs[i].socklen);
        p = ngx_pnalloc(pool, NGX_SOCKADDR_STRLEN);

        if (sockaddr == NULL || p == NULL) {
            goto failed;
        }

        ngx_memcpy(sockaddr, ctx->addrs[i].sockaddr, ctx->addrs[i].socklen);
        ngx_inet_set_port(sockaddr, transport->queue->redis.port);

        len = ngx_sock_ntop(sockaddr, ctx->addrs[i].socklen, p,
                            NGX_SOCKADDR_STRLEN, 1);

        addrs[i].sockaddr = sockaddr;
        addrs[i].socklen = ctx->addrs[i].socklen;
        addrs[i].name.data = p;
        addrs[i].name.len = len;
    }

    if (transport->pool) {
        ngx_destroy_pool(transport->pool);
    }

    transport->pool = pool;
    transport->addrs = addrs;
    transport->naddrs = ctx->naddrs;

    return NGX_OK;

failed:

    ngx_destroy_pool(pool);

    return NGX_ERROR;
}


static void
ngx_http_voc_webhook_transport_resolved(ngx_resolver_ctx_t *ctx)
{
    ngx_int_t rc;
    ngx_http_voc_webhook_transport_t *transport = ctx->data;

    transport->resolving = NULL;

    if (ctx->state) {
        ngx_http_voc_webhook_transport_report(transport,
                                       "%V could not be resolved (%i: %s)",
                                       &ctx->name, ctx->state,
                                       ngx_resolver_strerror(ctx->state));
        ngx_resolve_name_done(ctx);
        return;
    }

    rc = ngx_http_voc_webhook_transport_take_addrs(transport, ctx);

    ngx_resolve_name_done(ctx);

    if (rc != NGX_OK) {
        ngx_http_voc_webhook_transport_report(transport, "no memory");
        return;
    }

    ngx_http_voc_webhook_transport_open(transport);
}


/* Tells a dead peer from an idle one; best effort. */

static void
ngx_http_voc_webhook_transport_options(
    ngx_http_voc_webhook_transport_t *transport, ngx_connection_t *c)
{
    int on, ms;

    if (c->sockaddr->sa_family == AF_UNIX) {
        return;
    }

    on = 1;
    ms = (int) transport->queue->redis_timeout;

    (void) setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(int));
    (void) setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(int));
#ifdef TCP_USER_TIMEOUT
    (void) setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(int));
#endif
}


static void
ngx_http_voc_webhook_transport_open(
    ngx_http_voc_webhook_transport_t *transport)
{
    ngx_int_t rc;
    ngx_addr_t *addr;
    ngx_connection_t *c;
    ngx_peer_connection_t *peer;

    addr = &transport->addrs[transport->next++ % transport->naddrs];
    peer = &transport->peer;

    ngx_memzero(peer, sizeof(ngx_peer_connection_t));

    peer->sockaddr = addr->sockaddr;
    peer->socklen = addr->socklen;
    peer->name = &addr->name;
    peer->get = ngx_event_get_peer;
    peer->log = &transport->log;
    peer->log_error = NGX_ERROR_ERR;

    ngx_set_errno(0);

    rc = ngx_event_connect_peer(peer);

    if (rc == NGX_ERROR && ngx_socket_errno == 0) {
        ngx_http_voc_webhook_transport_report(transport,
                                  "worker_connections are not enough");
        return;
    }

    if (rc != NGX_OK && rc != NGX_AGAIN) {
        ngx_http_voc_webhook_transport_report_errno(transport, "connect()",
                                                    ngx_socket_errno);
        return;
    }

    c = peer->connection;
    c->data = transport;
    c->sockaddr = addr->sockaddr;
    c->socklen = addr->socklen;
    c->read->handler = ngx_http_voc_webhook_transport_read_handler;
    c->write->handler = ngx_http_voc_webhook_transport_write_handler;

    ngx_http_voc_webhook_transport_options(transport, c);

    if (rc == NGX_OK) {
        ngx_http_voc_webhook_transport_report(transport, "");
    }
}


/* The outcome of a connect that was in progress. */

static void
ngx_http_voc_webhook_transport_test(
    ngx_http_voc_webhook_transport_t *transport, ngx_connection_t *c)
{
    int err;
    socklen_t len;

    if (transport->report.posted) {
        return;
    }

    err = 0;
    len = sizeof(int);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    if (err) {
        ngx_http_voc_webhook_transport_report_errno(transport, "connect()",
                                                    err);
        return;
    }

    ngx_http_voc_webhook_transport_report(transport, "");
}


static void
ngx_http_voc_webhook_transport_write_handler(ngx_event_t *wev)
{
    ngx_connection_t *c;
    ngx_http_voc_webhook_queue_t *queue;
    ngx_http_voc_webhook_transport_t *transport;

    c = wev->data;
    transport = c->data;
    queue = transport->queue;

    if (!transport->established) {
        ngx_http_voc_webhook_transport_test(transport, c);
        return;
    }

    if (!ngx_http_voc_webhook_pusher_seated(queue)) {
        return;
    }

    voc_pusher_writable(queue->pusher, ngx_current_msec);
    ngx_http_voc_webhook_pusher_progressed(queue);
}


static void
ngx_http_voc_webhook_transport_read_handler(ngx_event_t *rev)
{
    ssize_t n;
    ngx_connection_t *c;
    ngx_http_voc_webhook_queue_t *queue;
    ngx_http_voc_webhook_transport_t *transport;
    u_char buf[NGX_HTTP_VOC_WEBHOOK_READ];

    c = rev->data;
    transport = c->data;
    queue = transport->queue;

    if (!ngx_http_voc_webhook_pusher_seated(queue)) {
        return;
    }

    if (c->close) {
        ngx_http_voc_webhook_transport_report(transport, "worker shutdown");
        return;
    }

    if (!transport->established) {
        ngx_http_voc_webhook_transport_test(transport, c);
        return;
    }

    /* the pusher may close the connection, or this be another by then */

    while (transport->peer.connection == c && transport->established) {

        n = c->recv(c, buf, sizeof(buf));

        if (n == NGX_AGAIN) {
            if (ngx_handle_read_event(rev, 0) != NGX_OK) {
                ngx_http_voc_webhook_transport_report(transport,
                                                      "event error");
            }

            break;
        }

        if (n == 0) {
            ngx_http_voc_webhook_transport_report(transport,
                                            "Redis closed the connection");
            break;
        }

        if (n == NGX_ERROR) {
            ngx_http_voc_webhook_transport_report_errno(transport, "recv()",
                                                        ngx_socket_errno);
            break;
        }

        voc_pusher_received(queue->pusher, ngx_current_msec,
                            (const char *) buf, n);
    }

    ngx_http_voc_webhook_pusher_progressed(queue);
}


ssize_t
ngx_http_voc_webhook_transport_send(
    ngx_http_voc_webhook_transport_t *transport, const char *data, size_t len)
{
    ssize_t n;
    ngx_connection_t *c;

    c = transport->peer.connection;

    if (c == NULL) {
        return -1;
    }

    n = c->send(c, (u_char *) data, len);

    if (n == NGX_ERROR) {
        return -1;
    }

    if (n == NGX_AGAIN) {
        n = 0;
    }

    if ((size_t) n < len
        && ngx_handle_write_event(c->write, 0) != NGX_OK)
    {
        return -1;
    }

    return n;
}
