/* Where Redis is and how to log in: the address forms, the password file. */

#include "ngx_http_voc_webhook_module.h"

#define NGX_HTTP_VOC_WEBHOOK_REDIS_PORT   6379
#define NGX_HTTP_VOC_WEBHOOK_REDIS_DB_MAX 2147483647
#define NGX_HTTP_VOC_WEBHOOK_PASSWORD_MAX 4096 /* bytes of a password file */

#define NGX_HTTP_VOC_WEBHOOK_REDIS_FORMS                                      \
    "expected host[:port], unix:/path or "                                    \
    "redis://[user[:password]@]host[:port][/db]"


ngx_int_t
ngx_http_voc_webhook_redis_url(ngx_conf_t *cf,
    ngx_http_voc_webhook_queue_t *queue, ngx_str_t *address)
{
    ngx_memzero(&queue->redis, sizeof(ngx_url_t));

    queue->redis.url = *address;
    queue->redis.default_port = NGX_HTTP_VOC_WEBHOOK_REDIS_PORT;
    queue->redis.no_resolve = 1; /* a resolver may be set further down */

    if (ngx_parse_url(cf->pool, &queue->redis) != NGX_OK
        || queue->redis.uri.len
        || (address->len > 5 && ngx_strncmp(address->data, "unix:", 5) == 0
            && address->data[5] != '/'))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "%s in redis address \"%V\", "
                           NGX_HTTP_VOC_WEBHOOK_REDIS_FORMS,
                           queue->redis.err ? queue->redis.err : "invalid path",
                           address);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * Percent-decodes a part of a URL (RFC 3986) into memory of its own.  NGX_OK,
 * NGX_DECLINED: not percent-encoded, or NGX_ERROR.
 */

static ngx_int_t
ngx_http_voc_webhook_unescape(ngx_conf_t *cf, u_char *start, u_char *end,
    ngx_str_t *out)
{
    u_char *dst, *p;
    ngx_int_t n;

    dst = ngx_pnalloc(cf->pool, end - start + 1);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    out->data = dst;

    for (p = start; p < end; p++) {

        if (*p != '%') {
            *dst++ = *p;
            continue;
        }

        n = end - p > 2 ? ngx_hextoi(p + 1, 2) : NGX_ERROR;
        if (n == NGX_ERROR || n == 0) {
            return NGX_DECLINED;
        }

        *dst++ = (u_char) n;
        p += 2;
    }

    out->len = dst - out->data;

    return NGX_OK;
}


static char *
ngx_http_voc_webhook_redis_userinfo(ngx_conf_t *cf,
    ngx_http_voc_webhook_queue_t *queue, u_char *start, u_char *at)
{
    u_char *colon;
    ngx_int_t rc;

    colon = ngx_strlchr(start, at, ':');

    rc = ngx_http_voc_webhook_unescape(cf, start, colon ? colon : at,
                                       &queue->redis_user);

    if (rc == NGX_OK && colon) {
        rc = ngx_http_voc_webhook_unescape(cf, colon + 1, at,
                                           &queue->redis_password);
    }

    if (rc == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    if (rc == NGX_DECLINED) {
        return "has a user or password that is not percent-encoded, "
               NGX_HTTP_VOC_WEBHOOK_REDIS_FORMS;
    }

    /* redis://:password@host is the default user's password */

    if (queue->redis_user.len == 0) {
        ngx_str_null(&queue->redis_user);
    }

    return NGX_CONF_OK;
}


/* redis://[user[:password]@]host[:port][/db]; "rest" is behind "redis://" */

static char *
ngx_http_voc_webhook_redis_uri(ngx_conf_t *cf,
    ngx_http_voc_webhook_queue_t *queue, ngx_str_t *rest)
{
    char *rv;
    u_char *p, *at, *slash, *start, *last;
    ngx_int_t db;
    ngx_str_t address;

    start = rest->data;
    last = start + rest->len;

    for (at = NULL, p = start; p < last && *p != '/'; p++) {
        if (*p == '@') {
            at = p;
        }
    }

    if (at) {
        rv = ngx_http_voc_webhook_redis_userinfo(cf, queue, start, at);
        if (rv != NGX_CONF_OK) {
            return rv;
        }

        start = at + 1;
    }

    slash = ngx_strlchr(start, last, '/');

    if (slash && slash + 1 < last) {
        db = ngx_atoi(slash + 1, last - slash - 1);

        if (db == NGX_ERROR || db > NGX_HTTP_VOC_WEBHOOK_REDIS_DB_MAX) {
            return "has an invalid database number, "
                   NGX_HTTP_VOC_WEBHOOK_REDIS_FORMS;
        }

        queue->redis_db = db;
    }

    address.data = start;
    address.len = (slash ? slash : last) - start;

    if (address.len == 0) {
        return "has no host, " NGX_HTTP_VOC_WEBHOOK_REDIS_FORMS;
    }

    if (ngx_http_voc_webhook_redis_url(cf, queue, &address) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_voc_webhook_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_voc_webhook_queue_t *queue = conf;

    ngx_str_t *value, rest;

    value = cf->args->elts;

    if (queue->redis.url.data) {
        return "is duplicate";
    }

    if (ngx_strncmp(value[1].data, "rediss://", 9) == 0) {
        return "does not support TLS (rediss://), "
               NGX_HTTP_VOC_WEBHOOK_REDIS_FORMS;
    }

    if (ngx_strncmp(value[1].data, "redis://", 8) == 0) {

        if (queue->redis_user.data || queue->redis_password.data
            || queue->redis_db != NGX_CONF_UNSET_UINT)
        {
            return "with a URL must stand before \"redis_user\", "
                   "\"redis_password\" and \"redis_db\"";
        }

        rest.data = value[1].data + 8;
        rest.len = value[1].len - 8;

        return ngx_http_voc_webhook_redis_uri(cf, queue, &rest);
    }

    if (ngx_http_voc_webhook_redis_url(cf, queue, &value[1]) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_voc_webhook_redis_db(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_voc_webhook_queue_t *queue = conf;

    ngx_int_t db;
    ngx_str_t *value;

    if (queue->redis_db != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;
    db = ngx_atoi(value[1].data, value[1].len);

    if (db == NGX_ERROR || db > NGX_HTTP_VOC_WEBHOOK_REDIS_DB_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number \"%V\" in \"redis_db\", expected "
                           "0 to %d", &value[1],
                           NGX_HTTP_VOC_WEBHOOK_REDIS_DB_MAX);
        return NGX_CONF_ERROR;
    }

    queue->redis_db = db;

    return NGX_CONF_OK;
}


/* The file's first line is the password. */

char *
ngx_http_voc_webhook_password_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_voc_webhook_queue_t *queue = conf;

    u_char *p, *last;
    ssize_t n;
    ngx_fd_t fd;
    ngx_str_t *value, name;
    u_char buf[NGX_HTTP_VOC_WEBHOOK_PASSWORD_MAX + 1];

    if (queue->redis_password.data) {
        return "is duplicate, the password is set already";
    }

    value = cf->args->elts;
    name = value[1];

    if (ngx_conf_full_name(cf->cycle, &name, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    fd = ngx_open_file(name.data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", &name);
        return NGX_CONF_ERROR;
    }

    n = ngx_read_fd(fd, buf, sizeof(buf));

    if (n == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_read_fd_n " \"%V\" failed", &name);
        ngx_close_file(fd);
        return NGX_CONF_ERROR;
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", &name);
    }

    last = buf + n;

    for (p = buf; p < last && *p != LF && *p != CR; p++) { /* void */ }

    if (p == buf || p - buf > NGX_HTTP_VOC_WEBHOOK_PASSWORD_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the first line of \"%V\" is empty or too long, "
                           "expected a password of up to %d bytes", &name,
                           NGX_HTTP_VOC_WEBHOOK_PASSWORD_MAX);
        ngx_explicit_memzero(buf, sizeof(buf));
        return NGX_CONF_ERROR;
    }

    queue->redis_password.len = p - buf;
    queue->redis_password.data = ngx_pnalloc(cf->pool, p - buf);

    if (queue->redis_password.data) {
        ngx_memcpy(queue->redis_password.data, buf, p - buf);
    }

    ngx_explicit_memzero(buf, sizeof(buf));

    return queue->redis_password.data ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/*
 * Where Redis is: a name is left to http's resolver, if there is one, at
 * every connect; else it is looked up here, once.
 */

ngx_int_t
ngx_http_voc_webhook_queue_resolve(ngx_conf_t *cf,
    ngx_http_voc_webhook_queue_t *queue)
{
    ngx_http_core_loc_conf_t *clcf;

    if (queue->redis.naddrs) {
        return NGX_OK; /* a literal address or a unix socket */
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->resolver && clcf->resolver->connections.nelts) {
        queue->resolver = clcf->resolver;
        queue->resolver_timeout = clcf->resolver_timeout;
        ngx_conf_init_msec_value(queue->resolver_timeout, 30000);
        return NGX_OK;
    }

    if (ngx_inet_resolve_host(cf->pool, &queue->redis) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "%s in redis address \"%V\" of voc_webhook_queue \"%V\" "
                      "in %s:%ui",
                      queue->redis.err ? queue->redis.err : "host not found",
                      &queue->redis.url, &queue->name, queue->file,
                      queue->line);
        return NGX_ERROR;
    }

    return NGX_OK;
}
