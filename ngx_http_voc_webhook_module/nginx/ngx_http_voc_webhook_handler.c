/* The content handler: request → event → journal. */

#include "ngx_http_voc_webhook_module.h"

static ngx_int_t ngx_http_voc_webhook_check_request(
    ngx_http_voc_webhook_ctx_t *ctx);
static ngx_int_t ngx_http_voc_webhook_accept(ngx_http_voc_webhook_ctx_t *ctx);
static void ngx_http_voc_webhook_wait_handler(ngx_http_request_t *r);
static u_char *ngx_http_voc_webhook_log_error(ngx_http_request_t *r,
    ngx_http_request_t *sr, u_char *buf, size_t len);

static voc_str_t ngx_http_voc_webhook_event_name = voc_str("event");


static voc_str_t
ngx_http_voc_webhook_str(ngx_str_t *s)
{
    voc_str_t v;

    v.data = (const char *) s->data;
    v.len = s->len;

    return v;
}


/*
 * The query as it was sent.  nginx ends r->args at a '#', which is data here;
 * where r->args still is what the request line held up to there, the whole
 * query is taken from the request line.
 */

static voc_str_t
ngx_http_voc_webhook_query(ngx_http_request_t *r)
{
    u_char *start, *last;
    voc_str_t query;

    query = ngx_http_voc_webhook_str(&r->args);

    last = r->unparsed_uri.data + r->unparsed_uri.len;
    start = ngx_strlchr(r->unparsed_uri.data, last, '?');

    if (start == NULL) {
        return query;
    }

    start++;

    if ((size_t) (last - start) > r->args.len
        && start[r->args.len] == '#'
        && (r->args.len == 0
            || ngx_memcmp(start, r->args.data, r->args.len) == 0))
    {
        query.data = (const char *) start;
        query.len = last - start;
    }

    return query;
}


/*
 * Log lines of a request to a webhook location name the location, not the
 * request: its query holds people's phone numbers.
 */

ngx_int_t
ngx_http_voc_webhook_rewrite_handler(ngx_http_request_t *r)
{
    ngx_http_voc_webhook_loc_conf_t *vlcf;

    vlcf = ngx_http_get_module_loc_conf(r, ngx_http_voc_webhook_module);

    if (vlcf->queue) {
        r->log_handler = ngx_http_voc_webhook_log_error;
    }

    return NGX_DECLINED;
}


static u_char *
ngx_http_voc_webhook_log_error(ngx_http_request_t *r, ngx_http_request_t *sr,
    u_char *buf, size_t len)
{
    u_char *p;
    ngx_http_core_loc_conf_t *clcf;
    ngx_http_core_srv_conf_t *cscf;

    cscf = ngx_http_get_module_srv_conf(r, ngx_http_core_module);
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    p = ngx_snprintf(buf, len, ", server: %V, location: \"%V\"",
                     &cscf->server_name, &clcf->name);

    return p;
}


ngx_int_t
ngx_http_voc_webhook_handler(ngx_http_request_t *r)
{
    ngx_int_t rc;
    ngx_http_voc_webhook_ctx_t *ctx;
    ngx_http_voc_webhook_loc_conf_t *vlcf;

    vlcf = ngx_http_get_module_loc_conf(r, ngx_http_voc_webhook_module);

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_voc_webhook_ctx_t));
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->request = r;
    ctx->queue = vlcf->queue;
    ngx_http_set_ctx(r, ctx, ngx_http_voc_webhook_module);

    rc = ngx_http_voc_webhook_check_request(ctx);

    if (rc == NGX_DECLINED) {

        /* the fields, or some of them, are in the body */

        return ngx_http_voc_webhook_read_form(r);
    }

    if (ngx_http_discard_request_body(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (rc == NGX_OK) {
        rc = ngx_http_voc_webhook_accept(ctx);
    }

    if (rc == NGX_AGAIN) {
        r->main->count++;
        return NGX_DONE;
    }

    return ngx_http_voc_webhook_answer(ctx);
}


ngx_int_t
ngx_http_voc_webhook_reject(ngx_http_voc_webhook_ctx_t *ctx,
    voc_reason_e reason)
{
    ctx->outcome = voc_problem(reason);
    return NGX_ERROR;
}


static ngx_uint_t
ngx_http_voc_webhook_is_https(ngx_http_voc_webhook_ctx_t *ctx,
    ngx_http_voc_webhook_loc_conf_t *vlcf)
{
    ngx_str_t scheme;

    if (vlcf->scheme == NULL) {
#if (NGX_HTTP_SSL)
        return ctx->request->connection->ssl != NULL;
#else
        return 0;
#endif
    }

    if (ngx_http_complex_value(ctx->request, vlcf->scheme, &scheme)
        != NGX_OK)
    {
        return 0;
    }

    return scheme.len == 5 && ngx_strncmp(scheme.data, "https", 5) == 0;
}


static ngx_uint_t
ngx_http_voc_webhook_is_form(ngx_http_request_t *r)
{
    size_t len;
    u_char *p;
    ngx_str_t *type;

    static ngx_str_t form = ngx_string("application/x-www-form-urlencoded");

    if (r->headers_in.content_type == NULL) {
        return 0;
    }

    type = &r->headers_in.content_type->value;

    if (type->len < form.len
        || ngx_strncasecmp(type->data, form.data, form.len) != 0)
    {
        return 0;
    }

    /* parameters, such as a charset, may follow */

    p = type->data + form.len;
    len = type->len - form.len;

    return len == 0 || *p == ';' || *p == ' ' || *p == '\t';
}


/*
 * What can be said before the body is read, in the order of the answers'
 * table.  NGX_OK, NGX_DECLINED: the body has to be read, or NGX_ERROR with
 * ctx->outcome.
 */

static ngx_int_t
ngx_http_voc_webhook_check_request(ngx_http_voc_webhook_ctx_t *ctx)
{
    ngx_http_request_t *r;
    ngx_http_voc_webhook_loc_conf_t *vlcf;

    r = ctx->request;
    vlcf = ngx_http_get_module_loc_conf(r, ngx_http_voc_webhook_module);

    if (vlcf->allow
        && ngx_cidr_match(r->connection->sockaddr, vlcf->allow) != NGX_OK)
    {
        return ngx_http_voc_webhook_reject(ctx, VOC_ADDRESS_DENIED);
    }

    if (vlcf->https && !ngx_http_voc_webhook_is_https(ctx, vlcf)) {
        return ngx_http_voc_webhook_reject(ctx, VOC_HTTPS_REQUIRED);
    }

    if (r->method != NGX_HTTP_POST) {
        return ngx_http_voc_webhook_reject(ctx, VOC_METHOD_NOT_ALLOWED);
    }

    if (vlcf->max_body_size
        && r->headers_in.content_length_n > vlcf->max_body_size)
    {
        r->expect_tested = 1;
        return ngx_http_voc_webhook_reject(ctx, VOC_BODY_TOO_LARGE);
    }

    if (ngx_http_voc_webhook_is_form(r)
        && !voc_query_has(ngx_http_voc_webhook_query(r),
                          ngx_http_voc_webhook_event_name))
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static void *
ngx_http_voc_webhook_alloc(void *pool, size_t size)
{
    return ngx_palloc(pool, size);
}


/* NGX_OK, NGX_AGAIN: waits for a sync, or NGX_ERROR with ctx->outcome. */

static ngx_int_t
ngx_http_voc_webhook_accept(ngx_http_voc_webhook_ctx_t *ctx)
{
    char *json;
    size_t len;
    voc_str_t body;
    ngx_int_t rc;
    voc_memory_t memory;
    voc_event_rc event_rc;
    ngx_http_request_t *r;
    ngx_http_voc_webhook_loc_conf_t *vlcf;
    ngx_http_voc_webhook_main_conf_t *vmcf;

    r = ctx->request;
    vlcf = ngx_http_get_module_loc_conf(r, ngx_http_voc_webhook_module);
    vmcf = ngx_http_get_module_main_conf(r, ngx_http_voc_webhook_module);

    memory.alloc = ngx_http_voc_webhook_alloc;
    memory.pool = r->pool;

    body.data = (const char *) ctx->body;
    body.len = ctx->body_len;

    event_rc = voc_event_read(vmcf->catalogue, ngx_http_voc_webhook_query(r),
                              body, vlcf->unknown_fields, &memory,
                              &ctx->event, &ctx->outcome);

    if (event_rc == VOC_EVENT_REJECTED) {
        return NGX_ERROR;
    }

    if (event_rc == VOC_EVENT_NO_MEMORY) {
        return ngx_http_voc_webhook_reject(ctx, VOC_JOURNAL_ERROR);
    }

    json = ngx_pnalloc(r->pool, voc_json_event_size(&ctx->event));
    if (json == NULL) {
        return ngx_http_voc_webhook_reject(ctx, VOC_JOURNAL_ERROR);
    }

    len = voc_json_event(json, &ctx->event, vmcf->uuid, ctx->id);
    if (len == 0) {
        ngx_memzero(ctx->id, VOC_UUID_LEN);
        return ngx_http_voc_webhook_reject(ctx, VOC_JOURNAL_ERROR);
    }

    rc = ngx_http_voc_webhook_queue_append(ctx, json, len);

    if (rc == NGX_OK) {
        ctx->outcome = voc_problem(VOC_ACCEPTED);
    }

    if (rc == NGX_AGAIN) {

        /* as with file AIO: the request must outlive the wait */

        ctx->waiting = 1;
        r->main->blocked++;
        r->write_event_handler = ngx_http_voc_webhook_wait_handler;
    }

    return rc;
}


void
ngx_http_voc_webhook_synced(ngx_http_voc_webhook_ctx_t *ctx, ngx_uint_t ok)
{
    ngx_connection_t *c;
    ngx_http_request_t *r;
    ngx_http_log_ctx_t *log_ctx;

    r = ctx->request;
    c = r->connection;

    log_ctx = c->log->data;
    log_ctx->current_request = r;

    ctx->outcome = voc_problem(ok ? VOC_ACCEPTED : VOC_JOURNAL_ERROR);
    ctx->waiting = 0;
    r->main->blocked--;

    /* ours, or nginx's own where the request has been terminated meanwhile */

    r->write_event_handler(r);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_voc_webhook_wait_handler(ngx_http_request_t *r)
{
    ngx_http_voc_webhook_ctx_t *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_voc_webhook_module);

    if (ctx->waiting) {
        return;
    }

    ngx_http_finalize_request(r, ngx_http_voc_webhook_answer(ctx));
}


void
ngx_http_voc_webhook_form_done(ngx_http_voc_webhook_ctx_t *ctx, ngx_int_t rc)
{
    if (rc == NGX_OK) {
        rc = ngx_http_voc_webhook_accept(ctx);
    }

    if (rc != NGX_AGAIN) {
        ngx_http_finalize_request(ctx->request,
                                  ngx_http_voc_webhook_answer(ctx));
    }
}
