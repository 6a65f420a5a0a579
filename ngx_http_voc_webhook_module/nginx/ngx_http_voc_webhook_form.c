/*
 * A form body.  It is read unbuffered, so that it never goes to a temporary
 * file, and a chunked one is bounded like any other.
 */

#include "ngx_http_voc_webhook_module.h"

#define NGX_HTTP_VOC_WEBHOOK_FORM_MAX VOC_JOURNAL_PAYLOAD_MAX /* bytes */

static void ngx_http_voc_webhook_form_handler(ngx_http_request_t *r);
static void ngx_http_voc_webhook_form_read(ngx_http_request_t *r);


ngx_int_t
ngx_http_voc_webhook_read_form(ngx_http_request_t *r)
{
    ngx_int_t rc;

    r->request_body_no_buffering = 1;

    rc = ngx_http_read_client_request_body(r,
                                           ngx_http_voc_webhook_form_handler);

    return rc >= NGX_HTTP_SPECIAL_RESPONSE ? rc : NGX_DONE;
}


static size_t
ngx_http_voc_webhook_form_limit(ngx_http_request_t *r)
{
    ngx_http_voc_webhook_loc_conf_t *vlcf;

    vlcf = ngx_http_get_module_loc_conf(r, ngx_http_voc_webhook_module);

    if (vlcf->max_body_size == 0
        || vlcf->max_body_size > NGX_HTTP_VOC_WEBHOOK_FORM_MAX)
    {
        return NGX_HTTP_VOC_WEBHOOK_FORM_MAX;
    }

    return vlcf->max_body_size;
}


/* Room for len more bytes. */

static ngx_int_t
ngx_http_voc_webhook_form_room(ngx_http_voc_webhook_ctx_t *ctx, size_t len)
{
    size_t limit, size;
    u_char *body;

    limit = ngx_http_voc_webhook_form_limit(ctx->request);

    if (len > limit - ctx->body_len) {
        return ngx_http_voc_webhook_reject(ctx, VOC_BODY_TOO_LARGE);
    }

    if (ctx->body_len + len > ctx->body_size) {

        size = ngx_max(ctx->body_len + len, 2 * ctx->body_size);
        size = ngx_min(ngx_max(size, 1024), limit);

        body = ngx_pnalloc(ctx->request->pool, size);
        if (body == NULL) {
            return NGX_ABORT;
        }

        if (ctx->body_len) {
            ngx_memcpy(body, ctx->body, ctx->body_len);
        }

        ctx->body = body;
        ctx->body_size = size;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_voc_webhook_add_to_form(ngx_http_voc_webhook_ctx_t *ctx,
    ngx_buf_t *b)
{
    size_t len;
    u_char *to;
    ngx_int_t rc;

    if (ngx_buf_size(b) == 0) {
        return NGX_OK; /* the buffer that marks the end has no memory */
    }

    len = (size_t) ngx_min(ngx_buf_size(b), NGX_MAX_INT32_VALUE);

    rc = ngx_http_voc_webhook_form_room(ctx, len);
    if (rc != NGX_OK) {
        return rc;
    }

    to = ctx->body + ctx->body_len;

    if (ngx_buf_in_memory(b)) {
        ngx_memcpy(to, b->pos, len);

    } else if (ngx_read_file(b->file, to, len, b->file_pos) != (ssize_t) len) {
        return NGX_ABORT;
    }

    ctx->body_len += len;

    return NGX_OK;
}


/*
 * Takes what nginx has read so far; NGX_ERROR with ctx->outcome, NGX_ABORT.
 * A body that was read before we came (mirror, an internal redirect) belongs
 * to others, too, and may be in a file; one that was discarded is not there.
 */

static ngx_int_t
ngx_http_voc_webhook_take_form(ngx_http_voc_webhook_ctx_t *ctx)
{
    ngx_int_t rc;
    ngx_uint_t ours;
    ngx_chain_t *cl, *ln;
    ngx_http_request_t *r;
    ngx_http_request_body_t *rb;

    r = ctx->request;
    rb = r->request_body;

    if (rb == NULL) {
        return NGX_OK;
    }

    ours = (r == r->main
            && rb->post_handler == ngx_http_voc_webhook_form_handler);

    for (cl = rb->bufs; cl; /* void */ ) {
        rc = ngx_http_voc_webhook_add_to_form(ctx, cl->buf);
        if (rc != NGX_OK) {
            return rc;
        }

        ln = cl;
        cl = cl->next;

        if (ours) {
            ln->buf->pos = ln->buf->last;
            ngx_free_chain(r->pool, ln);
            rb->bufs = cl;
        }
    }

    return NGX_OK;
}


static void
ngx_http_voc_webhook_form_handler(ngx_http_request_t *r)
{
    if (r->reading_body) {
        r->read_event_handler = ngx_http_voc_webhook_form_read;
    }

    ngx_http_voc_webhook_form_read(r);
}


static void
ngx_http_voc_webhook_form_read(ngx_http_request_t *r)
{
    ngx_int_t rc;
    ngx_http_voc_webhook_ctx_t *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_voc_webhook_module);

    for ( ;; ) {

        rc = ngx_http_voc_webhook_take_form(ctx);

        if (rc == NGX_ABORT) {
            ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
            return;
        }

        if (rc == NGX_ERROR || !r->reading_body) {
            break;
        }

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            ngx_http_finalize_request(r, rc);
            return;
        }

        if (rc == NGX_AGAIN && r->request_body->bufs == NULL) {
            return;
        }
    }

    r->read_event_handler = ngx_http_block_reading;

    ngx_http_voc_webhook_form_done(ctx, rc);
}
