/* The block voc_webhook_queue NAME { ... } and its directives. */

#include "ngx_http_voc_webhook_module.h"

#define NGX_HTTP_VOC_WEBHOOK_SIZE (64 * 1024 * 1024) /* bytes of journal */

static char *ngx_http_voc_webhook_queue_directive(ngx_conf_t *cf,
    ngx_command_t *dummy, void *conf);
static char *ngx_http_voc_webhook_string(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_voc_webhook_timeout(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_voc_webhook_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_voc_webhook_journal(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

static ngx_command_t ngx_http_voc_webhook_queue_commands[] = {

    { ngx_string("redis"),
      NGX_CONF_TAKE1,
      ngx_http_voc_webhook_redis,
      0,
      0,
      NULL },

    { ngx_string("redis_user"),
      NGX_CONF_TAKE1,
      ngx_http_voc_webhook_string,
      0,
      offsetof(ngx_http_voc_webhook_queue_t, redis_user),
      NULL },

    { ngx_string("redis_password"),
      NGX_CONF_TAKE1,
      ngx_http_voc_webhook_string,
      0,
      offsetof(ngx_http_voc_webhook_queue_t, redis_password),
      NULL },

    { ngx_string("redis_password_file"),
      NGX_CONF_TAKE1,
      ngx_http_voc_webhook_password_file,
      0,
      0,
      NULL },

    { ngx_string("redis_db"),
      NGX_CONF_TAKE1,
      ngx_http_voc_webhook_redis_db,
      0,
      offsetof(ngx_http_voc_webhook_queue_t, redis_db),
      NULL },

    { ngx_string("redis_connect_timeout"),
      NGX_CONF_TAKE1,
      ngx_http_voc_webhook_timeout,
      0,
      offsetof(ngx_http_voc_webhook_queue_t, redis_connect_timeout),
      NULL },

    { ngx_string("redis_timeout"),
      NGX_CONF_TAKE1,
      ngx_http_voc_webhook_timeout,
      0,
      offsetof(ngx_http_voc_webhook_queue_t, redis_timeout),
      NULL },

    { ngx_string("key"),
      NGX_CONF_TAKE1,
      ngx_http_voc_webhook_key,
      0,
      0,
      NULL },

    { ngx_string("journal"),
      NGX_CONF_TAKE123,
      ngx_http_voc_webhook_journal,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_voc_webhook_queue_t *
ngx_http_voc_webhook_queue_create(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_http_voc_webhook_queue_t *queue;

    /*
     * set by ngx_pcalloc():
     *
     *     queue->redis.url = { 0, NULL };
     *     queue->redis_user = { 0, NULL };
     *     queue->redis_password = { 0, NULL };
     *     queue->key = { 0, NULL };
     *     queue->journal = { 0, NULL };
     *     queue->sync = NGX_HTTP_VOC_WEBHOOK_SYNC_OFF;
     */

    queue = ngx_pcalloc(cf->pool, sizeof(ngx_http_voc_webhook_queue_t));
    if (queue == NULL) {
        return NULL;
    }

    queue->name = *name;
    queue->cycle = cf->cycle;
    queue->file = cf->conf_file->file.name.data;
    queue->line = cf->conf_file->line;

    queue->redis_db = NGX_CONF_UNSET_UINT;
    queue->redis_connect_timeout = NGX_CONF_UNSET_MSEC;
    queue->redis_timeout = NGX_CONF_UNSET_MSEC;

    ngx_queue_init(&queue->waiting);

    return queue;
}


static char *
ngx_http_voc_webhook_queue_defaults(ngx_conf_t *cf,
    ngx_http_voc_webhook_queue_t *queue)
{
    ngx_str_t local = ngx_string("127.0.0.1:6379");

    if (queue->redis.url.data == NULL
        && ngx_http_voc_webhook_redis_url(cf, queue, &local) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (queue->redis_user.data && queue->redis_password.data == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "voc_webhook_queue \"%V\" has \"redis_user\" but "
                           "no password, expected \"redis_password\" or "
                           "\"redis_password_file\"", &queue->name);
        return NGX_CONF_ERROR;
    }

    if (queue->journal.data == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "no \"journal\" in voc_webhook_queue \"%V\", "
                           "expected \"journal directory\", or \"journal "
                           "off\" to keep events in memory only",
                           &queue->name);
        return NGX_CONF_ERROR;
    }

    if (queue->key.data == NULL) {
        ngx_str_set(&queue->key, "voc:events");
    }

    ngx_conf_init_uint_value(queue->redis_db, 0);
    ngx_conf_init_msec_value(queue->redis_connect_timeout, 1000);
    ngx_conf_init_msec_value(queue->redis_timeout, 5000);

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_http_voc_webhook_same_str(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len && ngx_strncmp(a->data, b->data, a->len) == 0;
}


static ngx_int_t
ngx_http_voc_webhook_queue_unique(ngx_conf_t *cf,
    ngx_http_voc_webhook_main_conf_t *vmcf,
    ngx_http_voc_webhook_queue_t *queue)
{
    ngx_uint_t i;
    ngx_http_voc_webhook_queue_t **other;

    other = vmcf->queues.elts;

    for (i = 0; i < vmcf->queues.nelts; i++) {

        if (ngx_http_voc_webhook_same_str(&other[i]->name, &queue->name)) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate voc_webhook_queue \"%V\"",
                               &queue->name);
            return NGX_ERROR;
        }

        if (ngx_http_voc_webhook_same_str(&other[i]->key, &queue->key)
            && ngx_http_voc_webhook_same_str(&other[i]->redis.url,
                                             &queue->redis.url)
            && other[i]->redis_db == queue->redis_db)
        {
            ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                               "voc_webhook_queue \"%V\" and \"%V\" push to "
                               "the same list: events are in order within "
                               "each only", &other[i]->name, &queue->name);
        }

        /* each would drain what the other left behind, to the wrong list */

        if (queue->journal.len
            && ngx_http_voc_webhook_same_str(&other[i]->journal,
                                             &queue->journal))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "journal directory \"%V\" of voc_webhook_queue "
                               "\"%V\" is used by \"%V\" already",
                               &queue->journal, &queue->name,
                               &other[i]->name);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_voc_webhook_queue_zone(ngx_conf_t *cf,
    ngx_http_voc_webhook_queue_t *queue)
{
    ngx_str_t name;

    name.len = sizeof("voc_webhook:") - 1 + queue->name.len;
    name.data = ngx_pnalloc(cf->pool, name.len);
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(name.data, "voc_webhook:%V", &queue->name);

    queue->zone = ngx_shared_memory_add(cf, &name, 8 * ngx_pagesize,
                                        &ngx_http_voc_webhook_module);
    if (queue->zone == NULL) {
        return NGX_ERROR;
    }

    queue->zone->init = ngx_http_voc_webhook_store_init;
    queue->zone->data = queue;

    return NGX_OK;
}


char *
ngx_http_voc_webhook_queue_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_voc_webhook_main_conf_t *vmcf = conf;

    char *rv;
    ngx_str_t *value;
    ngx_conf_t save;
    ngx_http_voc_webhook_queue_t *queue, **slot;

    value = cf->args->elts;

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "empty name in \"%V\" directive", &cmd->name);
        return NGX_CONF_ERROR;
    }

    queue = ngx_http_voc_webhook_queue_create(cf, &value[1]);
    if (queue == NULL) {
        return NGX_CONF_ERROR;
    }

    save = *cf;
    cf->handler = ngx_http_voc_webhook_queue_directive;
    cf->handler_conf = queue;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_http_voc_webhook_queue_defaults(cf, queue) != NGX_CONF_OK
        || ngx_http_voc_webhook_queue_unique(cf, vmcf, queue) != NGX_OK
        || ngx_http_voc_webhook_queue_zone(cf, queue) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    slot = ngx_array_push(&vmcf->queues);
    if (slot == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = queue;

    return NGX_CONF_OK;
}


static char *
ngx_http_voc_webhook_queue_directive(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf)
{
    char *rv;
    ngx_str_t *value;
    ngx_uint_t nargs;
    ngx_command_t *cmd;

    value = cf->args->elts;
    nargs = cf->args->nelts - 1;

    if (ngx_strcmp(value[0].data, "include") == 0 && nargs == 1) {
        return ngx_conf_include(cf, NULL, NULL);
    }

    for (cmd = ngx_http_voc_webhook_queue_commands; cmd->name.len; cmd++) {

        if (ngx_strcmp(value[0].data, cmd->name.data) != 0) {
            continue;
        }

        if (nargs < 1 || nargs > 3
            || !(cmd->type & (NGX_CONF_TAKE1 << (nargs - 1))))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid number of arguments in \"%V\" "
                               "directive", &value[0]);
            return NGX_CONF_ERROR;
        }

        rv = cmd->set(cf, cmd, conf);

        if (rv != NGX_CONF_OK && rv != NGX_CONF_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" directive %s",
                               &value[0], rv);
            return NGX_CONF_ERROR;
        }

        return rv;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown directive \"%V\" in voc_webhook_queue",
                       &value[0]);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_voc_webhook_string(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t *value, *field;

    field = (ngx_str_t *) ((u_char *) conf + cmd->offset);
    value = cf->args->elts;

    if (field->data) {
        return "is duplicate";
    }

    if (value[1].len == 0) {
        return "is empty";
    }

    *field = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_http_voc_webhook_timeout(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t *value;
    ngx_msec_t *msec, time;

    msec = (ngx_msec_t *) ((u_char *) conf + cmd->offset);

    if (*msec != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;
    time = ngx_parse_time(&value[1], 0);

    if (time == (ngx_msec_t) NGX_ERROR || time == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\" in \"%V\", expected a time "
                           "above zero such as 500ms or 5s", &value[1],
                           &cmd->name);
        return NGX_CONF_ERROR;
    }

    *msec = time;

    return NGX_CONF_OK;
}


static char *
ngx_http_voc_webhook_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_voc_webhook_queue_t *queue = conf;

    voc_str_t key;
    ngx_str_t *value;

    if (queue->key.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    key.data = (const char *) value[1].data;
    key.len = value[1].len;

    if (!voc_redis_key_valid(key)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid key \"%V\", expected a name, with \"}\" "
                           "only in a hash tag as in \"{voc}:events\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    queue->key = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_http_voc_webhook_journal_sync(ngx_conf_t *cf,
    ngx_http_voc_webhook_queue_t *queue, ngx_str_t *value)
{
    if (ngx_strcmp(value->data, "off") == 0) {
        queue->sync = NGX_HTTP_VOC_WEBHOOK_SYNC_OFF;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value->data, "always") == 0) {
        queue->sync = NGX_HTTP_VOC_WEBHOOK_SYNC_ALWAYS;

    } else {
        queue->sync = NGX_HTTP_VOC_WEBHOOK_SYNC_TIME;
        queue->sync_time = ngx_parse_time(value, 0);

        if (queue->sync_time == (ngx_msec_t) NGX_ERROR
            || queue->sync_time == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid journal sync \"%V\", expected a time "
                               "such as 1s, \"off\" or \"always\"", value);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_voc_webhook_journal_size(ngx_conf_t *cf,
    ngx_http_voc_webhook_queue_t *queue, ngx_str_t *value)
{
    off_t size;

    size = ngx_parse_offset(value);

    if (size == (off_t) NGX_ERROR || size < VOC_JOURNAL_SIZE_MIN
        || (uint64_t) size > VOC_JOURNAL_SIZE_MAX)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid journal size \"%V\", expected %dk to %Lg",
                           value, VOC_JOURNAL_SIZE_MIN / 1024,
                           (int64_t) (VOC_JOURNAL_SIZE_MAX >> 30));
        return NGX_CONF_ERROR;
    }

    queue->size = size;

    return NGX_CONF_OK;
}


static char *
ngx_http_voc_webhook_journal(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_voc_webhook_queue_t *queue = conf;

    char *rv;
    ngx_str_t *value, s;
    ngx_uint_t i;

    if (queue->journal.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    queue->size = NGX_HTTP_VOC_WEBHOOK_SIZE;
    queue->sync = NGX_HTTP_VOC_WEBHOOK_SYNC_TIME;
    queue->sync_time = 1000;

    if (value[1].len == 0
        || ngx_strncmp(value[1].data, "size=", 5) == 0
        || ngx_strncmp(value[1].data, "sync=", 5) == 0
        || ngx_strcasecmp(value[1].data, (u_char *) "on") == 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid journal \"%V\", expected a directory or "
                           "\"off\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (i == 3 && ngx_strncmp(value[2].data, value[3].data, 5) == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\" in \"journal\"",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        if (ngx_strncmp(value[i].data, "size=", 5) == 0) {
            s.data = value[i].data + 5;
            s.len = value[i].len - 5;
            rv = ngx_http_voc_webhook_journal_size(cf, queue, &s);

        } else if (ngx_strncmp(value[i].data, "sync=", 5) == 0) {
            s.data = value[i].data + 5;
            s.len = value[i].len - 5;
            rv = ngx_http_voc_webhook_journal_sync(cf, queue, &s);

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in \"journal\", "
                               "expected size= or sync=", &value[i]);
            rv = NGX_CONF_ERROR;
        }

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts > 2) {
            return "takes no parameters with \"off\"";
        }

        ngx_str_set(&queue->journal, "");
        queue->sync = NGX_HTTP_VOC_WEBHOOK_SYNC_OFF;

        return NGX_CONF_OK;
    }

    queue->journal = value[1];

    if (ngx_conf_full_name(cf->cycle, &queue->journal, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    while (queue->journal.len > 1
           && queue->journal.data[queue->journal.len - 1] == '/')
    {
        queue->journal.data[--queue->journal.len] = '\0';
    }

    queue->thread_pool = ngx_thread_pool_add(cf, NULL);
    if (queue->thread_pool == NULL) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
