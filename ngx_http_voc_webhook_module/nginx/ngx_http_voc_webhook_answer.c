/* The answer: 200, or a problem (RFC 9457) and its line in the log. */

#include "ngx_http_voc_webhook_module.h"


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

    if (ngx_http_voc_webhook_tune(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}
