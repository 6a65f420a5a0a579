/* Directives of a location, their inheritance, and the module's lifecycle. */

#include "ngx_http_voc_webhook_module.h"

static void *ngx_http_voc_webhook_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_voc_webhook_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_voc_webhook_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_http_voc_webhook(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_voc_webhook_allow(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_voc_webhook_unknown_fields(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_voc_webhook_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_voc_webhook_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_voc_webhook_init_process(ngx_cycle_t *cycle);
static void ngx_http_voc_webhook_exit_process(ngx_cycle_t *cycle);

/* The one address that VOC sends from. */
#define NGX_HTTP_VOC_WEBHOOK_SENDER "103.135.87.3"

#define NGX_HTTP_VOC_WEBHOOK_ANY_CONF                                         \
    NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF

static ngx_command_t ngx_http_voc_webhook_commands[] = {

    { ngx_string("voc_webhook_queue"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_voc_webhook_queue_block,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("voc_webhook"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_voc_webhook,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("voc_webhook_allow"),
      NGX_HTTP_VOC_WEBHOOK_ANY_CONF|NGX_CONF_1MORE,
      ngx_http_voc_webhook_allow,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("voc_webhook_https"),
      NGX_HTTP_VOC_WEBHOOK_ANY_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_voc_webhook_loc_conf_t, https),
      NULL },

    { ngx_string("voc_webhook_scheme"),
      NGX_HTTP_VOC_WEBHOOK_ANY_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_voc_webhook_loc_conf_t, scheme),
      NULL },

    { ngx_string("voc_webhook_unknown_fields"),
      NGX_HTTP_VOC_WEBHOOK_ANY_CONF|NGX_CONF_TAKE1,
      ngx_http_voc_webhook_unknown_fields,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};

static ngx_http_module_t ngx_http_voc_webhook_module_ctx = {
    ngx_http_voc_webhook_add_variables, /* preconfiguration */
    ngx_http_voc_webhook_init,          /* postconfiguration */

    ngx_http_voc_webhook_create_main_conf,
    NULL,

    NULL,
    NULL,

    ngx_http_voc_webhook_create_loc_conf,
    ngx_http_voc_webhook_merge_loc_conf
};

ngx_module_t ngx_http_voc_webhook_module = {
    NGX_MODULE_V1,
    &ngx_http_voc_webhook_module_ctx,
    ngx_http_voc_webhook_commands,
    NGX_HTTP_MODULE,
    NULL,                              /* init master */
    ngx_http_voc_webhook_init_module,
    ngx_http_voc_webhook_init_process,
    NULL,                              /* init thread */
    NULL,                              /* exit thread */
    ngx_http_voc_webhook_exit_process,
    NULL,                              /* exit master */
    NGX_MODULE_V1_PADDING
};


static void
ngx_http_voc_webhook_cleanup(void *data)
{
    ngx_http_voc_webhook_main_conf_t *vmcf = data;

    voc_catalogue_free(vmcf->catalogue);
    voc_uuid_free(vmcf->uuid);
}


static void *
ngx_http_voc_webhook_create_main_conf(ngx_conf_t *cf)
{
    voc_error_t error;
    ngx_pool_cleanup_t *cln;
    ngx_http_voc_webhook_main_conf_t *vmcf;

    vmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_voc_webhook_main_conf_t));
    if (vmcf == NULL
        || ngx_array_init(&vmcf->queues, cf->pool, 2, sizeof(void *)) != NGX_OK)
    {
        return NULL;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_voc_webhook_cleanup;
    cln->data = vmcf;

    vmcf->catalogue = voc_catalogue_create(&error);
    if (vmcf->catalogue == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s", error.text);
        return NULL;
    }

    vmcf->uuid = voc_uuid_create();
    if (vmcf->uuid == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "SHA-1 is not available from OpenSSL");
        return NULL;
    }

    return vmcf;
}


static void *
ngx_http_voc_webhook_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_voc_webhook_loc_conf_t *vlcf;

    /*
     * set by ngx_pcalloc():
     *
     *     vlcf->queue_name = { 0, NULL };
     *     vlcf->queue = NULL;
     *     vlcf->scheme = NULL; nginx before 1.21 takes no other value for unset
     */

    vlcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_voc_webhook_loc_conf_t));
    if (vlcf == NULL) {
        return NULL;
    }

    vlcf->allow = NGX_CONF_UNSET_PTR;
    vlcf->https = NGX_CONF_UNSET;
    vlcf->unknown_fields = NGX_CONF_UNSET_UINT;

    return vlcf;
}


static ngx_array_t *
ngx_http_voc_webhook_default_allow(ngx_conf_t *cf)
{
    ngx_str_t text = ngx_string(NGX_HTTP_VOC_WEBHOOK_SENDER);
    ngx_cidr_t *cidr;
    ngx_array_t *allow;

    allow = ngx_array_create(cf->pool, 1, sizeof(ngx_cidr_t));
    if (allow == NULL) {
        return NULL;
    }

    cidr = ngx_array_push(allow);
    if (cidr == NULL || ngx_ptocidr(&text, cidr) != NGX_OK) {
        return NULL;
    }

    return allow;
}


/*
 * nginx refuses a body by its length before the access phase.  Here the
 * source address comes first and the answer has a form of its own, so the
 * limit is taken over and the handler applies it.
 */

static void
ngx_http_voc_webhook_take_max_body_size(ngx_http_core_loc_conf_t *clcf,
    ngx_http_voc_webhook_loc_conf_t *vlcf)
{
    vlcf->max_body_size = clcf->client_max_body_size;
    clcf->client_max_body_size = 0;
}


static ngx_http_voc_webhook_queue_t *
ngx_http_voc_webhook_find_queue(ngx_http_voc_webhook_main_conf_t *vmcf,
    ngx_str_t *name)
{
    ngx_uint_t i;
    ngx_http_voc_webhook_queue_t **queue;

    queue = vmcf->queues.elts;

    for (i = 0; i < vmcf->queues.nelts; i++) {
        if (queue[i]->name.len == name->len
            && ngx_strncmp(queue[i]->name.data, name->data, name->len) == 0)
        {
            return queue[i];
        }
    }

    return NULL;
}


/* A queue may be defined behind the location that names it. */

static ngx_int_t
ngx_http_voc_webhook_resolve_queue(ngx_conf_t *cf,
    ngx_http_voc_webhook_loc_conf_t *vlcf)
{
    ngx_http_voc_webhook_main_conf_t *vmcf;

    vmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_voc_webhook_module);

    vlcf->queue = ngx_http_voc_webhook_find_queue(vmcf, &vlcf->queue_name);

    if (vlcf->queue == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "unknown voc_webhook_queue \"%V\" in %s:%ui",
                      &vlcf->queue_name, vlcf->file, vlcf->line);
        return NGX_ERROR;
    }

    vmcf->in_use = 1;

    return NGX_OK;
}


static char *
ngx_http_voc_webhook_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_voc_webhook_loc_conf_t *prev = parent;
    ngx_http_voc_webhook_loc_conf_t *conf = child;
    ngx_http_core_loc_conf_t *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (conf->queue_name.data == NULL && clcf->noname
        && clcf->handler == NULL && prev->queue_name.data)
    {
        /* "if" and "limit_except" blocks without a handler of their own */

        conf->queue_name = prev->queue_name;
        conf->file = prev->file;
        conf->line = prev->line;
        clcf->handler = ngx_http_voc_webhook_handler;
    }

    if (conf->queue_name.data) {
        if (ngx_http_voc_webhook_resolve_queue(cf, conf) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        ngx_http_voc_webhook_take_max_body_size(clcf, conf);
    }

    if (conf->allow == NGX_CONF_UNSET_PTR) {
        if (prev->allow == NGX_CONF_UNSET_PTR) {
            prev->allow = ngx_http_voc_webhook_default_allow(cf);
            if (prev->allow == NULL) {
                return NGX_CONF_ERROR;
            }
        }

        conf->allow = prev->allow;
    }

    if (conf->scheme == NULL) {
        conf->scheme = prev->scheme;
    }

    ngx_conf_merge_value(conf->https, prev->https, 1);
    ngx_conf_merge_uint_value(conf->unknown_fields, prev->unknown_fields,
                              VOC_UNKNOWN_KEEP);

    return NGX_CONF_OK;
}


static char *
ngx_http_voc_webhook(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_voc_webhook_loc_conf_t *vlcf = conf;

    ngx_str_t *value;
    ngx_http_core_loc_conf_t *clcf;

    if (vlcf->queue_name.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    vlcf->queue_name = value[1];
    vlcf->file = cf->conf_file->file.name.data;
    vlcf->line = cf->conf_file->line;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_voc_webhook_handler;

    return NGX_CONF_OK;
}


static char *
ngx_http_voc_webhook_allow(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_voc_webhook_loc_conf_t *vlcf = conf;

    ngx_int_t rc;
    ngx_str_t *value;
    ngx_uint_t i;
    ngx_cidr_t *cidr;

    if (vlcf->allow == NGX_CONF_UNSET_PTR) {
        vlcf->allow = ngx_array_create(cf->pool, 4, sizeof(ngx_cidr_t));
        if (vlcf->allow == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "all") == 0) {
            vlcf->allow = NULL;
        }

        if (vlcf->allow == NULL) {

            /* "all" was given, but the rest still has to be right */

            if (ngx_strcmp(value[i].data, "all") == 0) {
                continue;
            }

            cidr = ngx_palloc(cf->temp_pool, sizeof(ngx_cidr_t));

        } else {
            cidr = ngx_array_push(vlcf->allow);
        }

        if (cidr == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(cidr, sizeof(ngx_cidr_t));

        rc = ngx_ptocidr(&value[i], cidr);

        if (rc == NGX_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid address \"%V\" in \"%V\", expected "
                               "an IPv4 or IPv6 address, a CIDR, or \"all\"",
                               &value[i], &cmd->name);
            return NGX_CONF_ERROR;
        }

        if (rc == NGX_DONE) {
            ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                               "low address bits of \"%V\" are meaningless",
                               &value[i]);
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_voc_webhook_unknown_fields(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_voc_webhook_loc_conf_t *vlcf = conf;

    ngx_str_t *value;
    ngx_uint_t i;

    static const char *names[] = { "keep", "drop", "reject" };
    static const voc_unknown_e values[] = {
        VOC_UNKNOWN_KEEP, VOC_UNKNOWN_DROP, VOC_UNKNOWN_REJECT
    };

    if (vlcf->unknown_fields != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (ngx_strcmp(value[1].data, names[i]) == 0) {
            vlcf->unknown_fields = values[i];
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"%V\" directive, it must be "
                       "\"keep\", \"drop\" or \"reject\"", &value[1],
                       &cmd->name);

    return NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_voc_webhook_init(ngx_conf_t *cf)
{
    ngx_uint_t i;
    ngx_http_handler_pt *h;
    ngx_http_core_main_conf_t *cmcf;
    ngx_http_voc_webhook_queue_t **queue;
    ngx_http_voc_webhook_main_conf_t *vmcf;

    vmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_voc_webhook_module);

    queue = vmcf->queues.elts;

    for (i = 0; i < vmcf->queues.nelts; i++) {
        if (ngx_http_voc_webhook_queue_resolve(cf, queue[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (!vmcf->in_use) {
        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_REWRITE_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_voc_webhook_rewrite_handler;

    return NGX_OK;
}


/* The cycle is in force now: no failure takes it back. */

static ngx_int_t
ngx_http_voc_webhook_init_module(ngx_cycle_t *cycle)
{
    ngx_uint_t i;
    ngx_http_voc_webhook_queue_t **queue;
    ngx_http_voc_webhook_store_t *store;
    ngx_http_voc_webhook_main_conf_t *vmcf;

    vmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_voc_webhook_module);
    if (vmcf == NULL) {
        return NGX_OK;
    }

    queue = vmcf->queues.elts;

    for (i = 0; i < vmcf->queues.nelts; i++) {
        store = queue[i]->store;
        if (store == NULL) {
            continue;
        }

        store->used = 1;

        if (store->previous) {
            voc_journal_follow(store->journal, store->previous->journal);
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_voc_webhook_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t i;
    ngx_http_voc_webhook_queue_t **queue;
    ngx_http_voc_webhook_main_conf_t *vmcf;

    /* not in the cache manager and loader */

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    vmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_voc_webhook_module);
    if (vmcf == NULL) {
        return NGX_OK;
    }

    queue = vmcf->queues.elts;

    for (i = 0; i < vmcf->queues.nelts; i++) {
        if (ngx_http_voc_webhook_queue_init_process(queue[i], cycle)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (vmcf->in_use) {
        ngx_http_voc_webhook_together_init(cycle);
    }

    return NGX_OK;
}


static void
ngx_http_voc_webhook_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t i;
    ngx_http_voc_webhook_queue_t **queue;
    ngx_http_voc_webhook_main_conf_t *vmcf;

    vmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_voc_webhook_module);
    if (vmcf == NULL || ngx_process == NGX_PROCESS_HELPER) {
        return;
    }

    queue = vmcf->queues.elts;

    for (i = 0; i < vmcf->queues.nelts; i++) {
        ngx_http_voc_webhook_queue_exit_process(queue[i]);
    }

    ngx_http_voc_webhook_together_exit();
}
