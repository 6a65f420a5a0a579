/*
 * A connection that events come over: what nginx does for each request of any
 * connection, and can be had for less on this one.
 */

#include "ngx_http_voc_webhook_module.h"


/* Copies what a chain holds; returns its size, or 0: too much, or a file. */

static size_t
ngx_http_voc_webhook_copy_chain(u_char *to, size_t size, ngx_chain_t *in)
{
    u_char *p;
    ngx_buf_t *b;

    for (p = to; in; in = in->next) {
        b = in->buf;

        if (!ngx_buf_in_memory_only(b)
            || b->last - b->pos > (ssize_t) size - (p - to))
        {
            return 0;
        }

        p = ngx_cpymem(p, b->pos, b->last - b->pos);
    }

    return p - to;
}


/* Behind what was taken together with others' answers. */

static ssize_t
ngx_http_voc_webhook_send(ngx_connection_t *c, u_char *buf, size_t size)
{
    ngx_int_t rc;

    rc = ngx_http_voc_webhook_together_take(c, NULL, 0);

    return rc == NGX_DECLINED ? ngx_send(c, buf, size) : rc;
}


/*
 * An answer is two buffers, header and body, for which nginx takes writev().
 * To put them together and send() them takes the kernel 0.1 us less, of 6 for
 * a whole request.
 */

static ngx_chain_t *
ngx_http_voc_webhook_send_chain(ngx_connection_t *c, ngx_chain_t *in,
    off_t limit)
{
    size_t size;
    ssize_t n;
    u_char buf[NGX_HTTP_VOC_WEBHOOK_ANSWER];

    if (!c->write->ready) {
        return in;
    }

    size = ngx_http_voc_webhook_copy_chain(buf, sizeof(buf), in);

    if (limit > 0 && limit < (off_t) size) {
        size = 0;
    }

    switch (ngx_http_voc_webhook_together_take(c, buf, size)) {

    case NGX_OK:
        c->sent += size;
        return ngx_chain_update_sent(in, size);

    case NGX_AGAIN:
        return in;

    case NGX_ERROR:
        return NGX_CHAIN_ERROR;
    }

    if (size == 0) {
        return ngx_send_chain(c, in, limit);
    }

    n = ngx_send(c, buf, size);

    if (n == NGX_ERROR) {
        return NGX_CHAIN_ERROR;
    }

    return n > 0 ? ngx_chain_update_sent(in, n) : in;
}


static void
ngx_http_voc_webhook_free_buffer(void *data)
{
    ngx_free(data);
}


/*
 * Between two requests nginx gives the buffer of the request's header back to
 * malloc(), where it was too large for the connection's pool, as 1k is.  Taken
 * off the pool's list of these it stays, until the connection ends.
 */

static ngx_int_t
ngx_http_voc_webhook_keep_buffer(ngx_connection_t *c)
{
    ngx_pool_large_t *large;
    ngx_pool_cleanup_t *cln;

    for (large = c->pool->large; large; large = large->next) {

        if (large->alloc && large->alloc == c->buffer->start) {

            cln = ngx_pool_cleanup_add(c->pool, 0);
            if (cln == NULL) {
                return NGX_ERROR;
            }

            cln->handler = ngx_http_voc_webhook_free_buffer;
            cln->data = large->alloc;

            large->alloc = NULL;
            break;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_voc_webhook_tune(ngx_http_request_t *r)
{
    ngx_connection_t *c;

    c = r->connection;

    /* on HTTP/2 and 3 the connection is that of all streams */

    if (r != r->main || r->http_version > NGX_HTTP_VERSION_11) {
        return NGX_OK;
    }

    if (r->keepalive && ngx_http_voc_webhook_keep_buffer(c) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_voc_webhook_together_tune(r) != NGX_OK) {
        return NGX_ERROR;
    }

#if (NGX_HTTP_SSL)
    if (c->ssl) {
        return ngx_http_voc_webhook_ssl_tune(r);
    }
#endif

    if (c->send == ngx_send && c->send_chain == ngx_send_chain) {
        c->send = ngx_http_voc_webhook_send;
        c->send_chain = ngx_http_voc_webhook_send_chain;
    }

    return NGX_OK;
}
