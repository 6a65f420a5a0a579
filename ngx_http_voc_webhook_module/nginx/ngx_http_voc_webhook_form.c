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


static ngx_int_t
ngx_http_voc_webhook_add_to_form(ngx_http_voc_webhook_ctx_t *ctx,
    const u_char *data, size_t len)
{
    size_t limit, size;
    u_char *body;

    if (len == 0) {
        return NGX_OK; /* the buffer that marks the end has no memory */
    }

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

    ngx_memcpy(ctx->body + ctx->body_len, data, len);
    ctx->body_len += len;

    return NGX_OK;
}


/* Takes what nginx has read so far; NGX_ERROR with ctx->outcome, NGX_ABORT. */

static ngx_int_t
ngx_http_voc_webhook_take_form(ngx_http_voc_webhook_ctx_t *ctx)
{
    ngx_int_t rc;
    ngx_buf_t *b;
    ngx_chain_t *cl;
    ngx_http_request_body_t *rb;

    rb = ctx->request->request_body;

    for (cl = rb->bufs; cl; cl = cl->next) {
        b = cl->buf;

        rc = ngx_http_voc_webhook_add_to_form(ctx, b->pos, b->last - b->pos);
        if (rc != NGX_OK) {
            return rc;
        }

        b->pos = b->last;
    }

    rb->bufs = NULL;

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
