/* The answer: 200, or a problem (RFC 9457) and its line in the log. */

#include "ngx_http_voc_webhook_module.h"

#define NGX_HTTP_VOC_WEBHOOK_ANSWER 512 /* bytes of header and body, mostly */


static ngx_int_t
ngx_http_voc_webhook_add_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_table_elt_t *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key = *name;
    h->value = *value;

    return NGX_OK;
}


/*
 * A refused address is nginx's "error", as in its access module; a refused
 * event is a call that someone will miss: "warn".  503s are logged once, by
 * the queue.
 */

static void
ngx_http_voc_webhook_log_outcome(ngx_http_voc_webhook_ctx_t *ctx)
{
    ngx_log_t *log;
    ngx_uint_t level;
    voc_str_t name, field;

    if (voc_reason_status(ctx->outcome.reason)
        == NGX_HTTP_SERVICE_UNAVAILABLE)
    {
        return;
    }

    log = ctx->request->connection->log;
    level = ctx->outcome.reason == VOC_ADDRESS_DENIED ? NGX_LOG_ERR
                                                      : NGX_LOG_WARN;
    name = voc_reason_name(ctx->outcome.reason);
    field = ctx->outcome.field;

    if (field.data && ctx->outcome.field_known) {
        ngx_log_error(level, log, 0, "voc_webhook: %*s \"%*s\": %*s",
                      name.len, name.data, field.len, field.data,
                      ctx->outcome.detail.len, ctx->outcome.detail.data);
        return;
    }

    ngx_log_error(level, log, 0, "voc_webhook: %*s: %*s", name.len, name.data,
                  ctx->outcome.detail.len, ctx->outcome.detail.data);
}


static ngx_int_t
ngx_http_voc_webhook_set_headers(ngx_http_voc_webhook_ctx_t *ctx,
    ngx_uint_t status)
{
    ngx_http_request_t *r;

    static ngx_str_t allow = ngx_string("Allow");
    static ngx_str_t post = ngx_string("POST");
    static ngx_str_t retry_after = ngx_string("Retry-After");
    static ngx_str_t second = ngx_string("1");

    r = ctx->request;
    r->headers_out.status = status;

    if (status == NGX_HTTP_OK) {
        ngx_str_set(&r->headers_out.content_type, "application/json");

    } else {
        ngx_str_set(&r->headers_out.content_type, "application/problem+json");
    }

    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (status == NGX_HTTP_NOT_ALLOWED) {
        return ngx_http_voc_webhook_add_header(r, &allow, &post);
    }

    if (status == NGX_HTTP_SERVICE_UNAVAILABLE) {
        return ngx_http_voc_webhook_add_header(r, &retry_after, &second);
    }

    if (status == NGX_HTTP_REQUEST_ENTITY_TOO_LARGE) {
        r->keepalive = 0; /* rather than read what was too much */
    }

    return NGX_OK;
}


#if (NGX_HTTP_SSL)

static void
ngx_http_voc_webhook_buffer_cleanup(void *data)
{
    ngx_buf_t *buf = data;

    buf->start = NULL;
}


/*
 * nginx and OpenSSL take buffers of 16k for each request of a connection, four
 * times, and give them back to malloc(): 0.3 of the 8 us that a request costs.
 * Senders keep few connections, so here OpenSSL keeps its two, and the answer
 * stands in memory of the request until it is sent.  As soon as the request
 * goes, nginx finds its own buffer missing, as after any other request.
 */

static ngx_int_t
ngx_http_voc_webhook_answer_buffer(ngx_http_request_t *r)
{
    ngx_buf_t *buf;
    ngx_pool_cleanup_t *cln;
    ngx_ssl_connection_t *ssl;

    ssl = r->connection->ssl;

    /* on HTTP/2 and 3 the buffer is that of all streams */

    if (ssl == NULL || !ssl->buffer || r != r->main
        || r->http_version > NGX_HTTP_VERSION_11)
    {
        return NGX_OK;
    }

#ifdef SSL_MODE_RELEASE_BUFFERS
    (void) SSL_clear_mode(ssl->connection, SSL_MODE_RELEASE_BUFFERS);
#endif

    buf = ssl->buf;

    if (buf == NULL || buf->start) {
        return NGX_OK;
    }

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    buf->start = ngx_pnalloc(r->pool, NGX_HTTP_VOC_WEBHOOK_ANSWER);
    if (buf->start == NULL) {
        return NGX_ERROR;
    }

    buf->pos = buf->start;
    buf->last = buf->start;
    buf->end = buf->start + NGX_HTTP_VOC_WEBHOOK_ANSWER;

    cln->handler = ngx_http_voc_webhook_buffer_cleanup;
    cln->data = buf;

    return NGX_OK;
}

#endif


ngx_int_t
ngx_http_voc_webhook_answer(ngx_http_voc_webhook_ctx_t *ctx)
{
    size_t size;
    ngx_int_t rc;
    ngx_buf_t *b;
    ngx_uint_t status;
    ngx_chain_t out;
    ngx_http_request_t *r;

    r = ctx->request;
    ctx->decided = 1;

    status = voc_reason_status(ctx->outcome.reason);
    size = status == NGX_HTTP_OK ? VOC_JSON_ACCEPTED_MAX
                                 : voc_json_problem_size(&ctx->outcome);

    b = ngx_create_temp_buf(r->pool, size);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (status == NGX_HTTP_OK) {
        b->last += voc_json_accepted((char *) b->pos, ctx->id);

    } else {
        b->last += voc_json_problem((char *) b->pos, &ctx->outcome);
        ngx_http_voc_webhook_log_outcome(ctx);
    }

    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    r->headers_out.content_length_n = b->last - b->pos;

    if (ngx_http_voc_webhook_set_headers(ctx, status) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

#if (NGX_HTTP_SSL)
    if (ngx_http_voc_webhook_answer_buffer(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
#endif

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}
