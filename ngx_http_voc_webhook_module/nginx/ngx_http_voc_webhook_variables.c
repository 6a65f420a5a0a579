/* Variables for logs: what became of the request, without phone numbers. */

#include "ngx_http_voc_webhook_module.h"

typedef enum {
    NGX_HTTP_VOC_WEBHOOK_RESULT,
    NGX_HTTP_VOC_WEBHOOK_EVENT,
    NGX_HTTP_VOC_WEBHOOK_CALLID,
    NGX_HTTP_VOC_WEBHOOK_ID
} ngx_http_voc_webhook_variable_e;

static ngx_int_t ngx_http_voc_webhook_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static ngx_http_variable_t ngx_http_voc_webhook_vars[] = {

    { ngx_string("voc_webhook_result"), NULL,
      ngx_http_voc_webhook_variable, NGX_HTTP_VOC_WEBHOOK_RESULT,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("voc_webhook_event"), NULL,
      ngx_http_voc_webhook_variable, NGX_HTTP_VOC_WEBHOOK_EVENT,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("voc_webhook_callid"), NULL,
      ngx_http_voc_webhook_variable, NGX_HTTP_VOC_WEBHOOK_CALLID,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("voc_webhook_id"), NULL,
      ngx_http_voc_webhook_variable, NGX_HTTP_VOC_WEBHOOK_ID,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_voc_webhook_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t *var, *v;

    for (v = ngx_http_voc_webhook_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


/* What of the request a variable shows; data NULL where it has none. */

static voc_str_t
ngx_http_voc_webhook_variable_value(ngx_http_voc_webhook_ctx_t *ctx,
    ngx_http_voc_webhook_variable_e variable)
{
    voc_str_t value = { NULL, 0 };

    switch (variable) {

    case NGX_HTTP_VOC_WEBHOOK_RESULT:
        if (ctx->decided) {
            value = voc_reason_name(ctx->outcome.reason);
        }

        break;

    case NGX_HTTP_VOC_WEBHOOK_EVENT:
        if (ctx->event.type) {
            value = ctx->event.type->name;
        }

        break;

    case NGX_HTTP_VOC_WEBHOOK_CALLID:
        if (ctx->event.type) {
            value = voc_event_callid(&ctx->event);
        }

        break;

    case NGX_HTTP_VOC_WEBHOOK_ID:
        if (ctx->id[0]) {
            value.data = ctx->id;
            value.len = VOC_UUID_LEN;
        }

        break;
    }

    return value;
}


static ngx_int_t
ngx_http_voc_webhook_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    voc_str_t value = { NULL, 0 };
    ngx_http_voc_webhook_ctx_t *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_voc_webhook_module);

    if (ctx) {
        value = ngx_http_voc_webhook_variable_value(ctx, data);
    }

    if (value.data == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = value.len;
    v->data = (u_char *) value.data;

    return NGX_OK;
}
