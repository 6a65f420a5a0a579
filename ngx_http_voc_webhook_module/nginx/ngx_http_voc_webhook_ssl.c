/* A connection that events come over, over TLS. */

#include "ngx_http_voc_webhook_module.h"

#if (NGX_HTTP_SSL)

#if (NGX_HAVE_EPOLLRDHUP)

static ngx_int_t ngx_http_voc_webhook_ssl_more(ngx_connection_t *c, int n);
static ssize_t ngx_http_voc_webhook_ssl_end(ngx_connection_t *c);


/* bytes: an answer, and the record of close_notify behind it */
#define NGX_HTTP_VOC_WEBHOOK_LAST (NGX_HTTP_VOC_WEBHOOK_ANSWER + 64)

typedef struct {
    ngx_connection_t *connection;
    unsigned drained : 1; /* the socket gave less than it was asked for */
    unsigned more    : 1; /* another write follows the next one at once */
    size_t len;           /* what waits for that one */
    ngx_event_t event;    /* the end of the turn, should that one not come */
    u_char buf[NGX_HTTP_VOC_WEBHOOK_LAST];
} ngx_http_voc_webhook_bio_t;


/*
 * OpenSSL's own BIO of a socket uses it like a file, by read() and write(),
 * which takes the kernel 0.1 us more for each request.  And only a BIO knows
 * how much the socket was asked for: of a record that has come in part, no
 * more than the rest.
 *
 * An error is -1: OpenSSL 3.2 takes 0 bytes written for a success.
 */

static int
ngx_http_voc_webhook_bio_read(BIO *bio, char *buf, size_t size, size_t *bytes)
{
    ssize_t n;
    ngx_http_voc_webhook_bio_t *socket;

    socket = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);

    do {
        n = recv(socket->connection->fd, buf, size, 0);
    } while (n == -1 && ngx_socket_errno == NGX_EINTR);

    socket->drained = n > 0 && (size_t) n < size;

    if (n == -1 && ngx_socket_errno == NGX_EAGAIN) {
        BIO_set_retry_read(bio);
    }

    *bytes = n > 0 ? (size_t) n : 0;

    return n > 0 ? 1 : (int) n;
}


static ssize_t
ngx_http_voc_webhook_bio_send(ngx_http_voc_webhook_bio_t *socket,
    const char *buf, size_t size, int flags)
{
    ssize_t n;

    do {
        n = send(socket->connection->fd, buf, size, flags);
    } while (n == -1 && ngx_socket_errno == NGX_EINTR);

    return n;
}


/* What was held.  NGX_OK, or NGX_ERROR with errno. */

static ngx_int_t
ngx_http_voc_webhook_bio_release(ngx_http_voc_webhook_bio_t *socket)
{
    size_t len;

    if (socket->event.posted) {
        ngx_delete_posted_event(&socket->event);
    }

    len = socket->len;
    socket->len = 0;

    return len == 0
           || ngx_http_voc_webhook_bio_send(socket, (char *) socket->buf, len,
                                            0)
              == (ssize_t) len
               ? NGX_OK
               : NGX_ERROR;
}


static void
ngx_http_voc_webhook_bio_handler(ngx_event_t *ev)
{
    (void) ngx_http_voc_webhook_bio_release(ev->data);
}


static int
ngx_http_voc_webhook_bio_destroy(BIO *bio)
{
    ngx_http_voc_webhook_bio_t *socket;

    socket = BIO_get_data(bio);

    if (socket) {
        (void) ngx_http_voc_webhook_bio_release(socket);
    }

    return 1;
}


static int
ngx_http_voc_webhook_bio_write(BIO *bio, const char *buf, size_t size,
    size_t *bytes)
{
    int flags;
    ssize_t n;
    ngx_uint_t joins;
    ngx_http_voc_webhook_bio_t *socket;

    socket = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *bytes = 0;

    switch (ngx_http_voc_webhook_together_take(socket->connection,
                                               (const u_char *) buf, size))
    {
    case NGX_OK:
        *bytes = size;
        return 1;

    case NGX_AGAIN:
        BIO_set_retry_write(bio);
        /* fall through */

    case NGX_ERROR:
        return -1;
    }

    if (socket->more && socket->len == 0 && size <= sizeof(socket->buf)
        && socket->connection->requests == 1)
    {
        socket->more = 0;
        socket->len = size;
        ngx_memcpy(socket->buf, buf, size);
        ngx_post_event(&socket->event, &ngx_posted_events);

        *bytes = size;
        return 1;
    }

    if (socket->len) {
        joins = size <= sizeof(socket->buf) - socket->len;

        if (joins) {
            ngx_memcpy(socket->buf + socket->len, buf, size);
            socket->len += size;
        }

        if (ngx_http_voc_webhook_bio_release(socket) != NGX_OK) {
            return -1;
        }

        if (joins) {
            *bytes = size;
            return 1;
        }
    }

    flags = socket->more ? MSG_MORE : 0;
    socket->more = 0;

    n = ngx_http_voc_webhook_bio_send(socket, buf, size, flags);

    if (n == -1 && ngx_socket_errno == NGX_EAGAIN) {
        BIO_set_retry_write(bio);
    }

    *bytes = n > 0 ? (size_t) n : 0;

    return n > 0 ? 1 : (int) n;
}


static long
ngx_http_voc_webhook_bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    return cmd == BIO_CTRL_FLUSH;
}


static BIO_METHOD *
ngx_http_voc_webhook_bio_method(void)
{
    BIO_METHOD *method;

    method = BIO_meth_new(BIO_get_new_index()|BIO_TYPE_SOURCE_SINK,
                          "voc_webhook socket");
    if (method == NULL) {
        return NULL;
    }

    if (!BIO_meth_set_read_ex(method, ngx_http_voc_webhook_bio_read)
        || !BIO_meth_set_write_ex(method, ngx_http_voc_webhook_bio_write)
        || !BIO_meth_set_ctrl(method, ngx_http_voc_webhook_bio_ctrl)
        || !BIO_meth_set_destroy(method, ngx_http_voc_webhook_bio_destroy))
    {
        BIO_meth_free(method);
        return NULL;
    }

    return method;
}


/* Freed by OpenSSL with the connection's SSL; NULL: no memory, and said so. */

static ngx_http_voc_webhook_bio_t *
ngx_http_voc_webhook_bio_create(ngx_connection_t *c)
{
    BIO *bio;
    ngx_http_voc_webhook_bio_t *socket;

    static BIO_METHOD *method; /* of the process */

    if (method == NULL) {
        method = ngx_http_voc_webhook_bio_method();
    }

    if (method == NULL) {
        ngx_ssl_error(NGX_LOG_ALERT, c->log, 0, "BIO_meth_new() failed");
        return NULL;
    }

    socket = ngx_palloc(c->pool, sizeof(ngx_http_voc_webhook_bio_t));
    if (socket == NULL) {
        return NULL;
    }

    ngx_memzero(socket, offsetof(ngx_http_voc_webhook_bio_t, buf));

    bio = BIO_new(method);
    if (bio == NULL) {
        ngx_ssl_error(NGX_LOG_ALERT, c->log, 0, "BIO_new() failed");
        return NULL;
    }

    socket->connection = c;
    socket->event.handler = ngx_http_voc_webhook_bio_handler;
    socket->event.data = socket;
    socket->event.log = c->log;

    BIO_set_data(bio, socket);
    BIO_set_init(bio, 1);
    SSL_set_bio(c->ssl->connection, bio, bio);

    return socket;
}


/*
 * ngx_ssl_recv() reads until the socket has nothing left, which takes a second
 * SSL_read() and a second system call for each request: a twentieth of what
 * such a request costs.  Where the socket gave less than it was asked for,
 * there is no need to ask it again: epoll will tell about more.  nginx has the
 * same rule for connections without TLS.
 *
 * OpenSSL reads ahead: it may hold further records, or a part of one.
 */

static ssize_t
ngx_http_voc_webhook_ssl_recv(ngx_connection_t *c, u_char *buf, size_t size)
{
    int n;
    SSL *ssl;
    ngx_event_t *rev;
    ngx_http_voc_webhook_bio_t *socket;

    ssl = c->ssl->connection;
    rev = c->read;

    if (c->ssl->last == NGX_ERROR || c->ssl->last == NGX_DONE
        || c->ssl->saved_write_handler || ERR_peek_error())
    {
        return ngx_ssl_recv(c, buf, size);
    }

    socket = BIO_get_data(SSL_get_rbio(ssl));
    socket->drained = 0;

    n = SSL_read(ssl, buf, size);

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, c->log, 0, "SSL_read: %d", n);

    if (n <= 0) {

        switch (SSL_get_error(ssl, n)) {

        case SSL_ERROR_WANT_READ:
            c->ssl->last = NGX_AGAIN;
            rev->ready = 0;
            return NGX_AGAIN;

        case SSL_ERROR_WANT_WRITE:
            return ngx_ssl_recv(c, buf, size);
        }

        return ngx_http_voc_webhook_ssl_end(c);
    }

    if (socket->drained && !rev->pending_eof && !SSL_has_pending(ssl)) {
        c->ssl->last = NGX_AGAIN;
        rev->ready = 0;
        return n;
    }

    c->ssl->last = NGX_OK;
    rev->ready = 1;

    if (ngx_http_voc_webhook_ssl_more(c, n) != NGX_OK) {
        return NGX_ERROR;
    }

    return n;
}


/*
 * What was there when epoll told of it is read at once.  What has come since
 * has to wait for the other connections: a sender that never stops would keep
 * the worker to itself.  n: bytes just read; available is below 0 before the
 * kernel was asked for their number, as with nginx's own functions.
 */

static ngx_int_t
ngx_http_voc_webhook_ssl_more(ngx_connection_t *c, int n)
{
    ngx_event_t *rev;

    rev = c->read;

    if (rev->available < 0) {

#if (NGX_HAVE_FIONREAD)
        if (ngx_socket_nread(c->fd, &rev->available) == -1) {
            ngx_connection_error(c, ngx_socket_errno,
                                 ngx_socket_nread_n " failed");
            rev->ready = 0;
            rev->error = 1;
            return NGX_ERROR;
        }
#endif

        return NGX_OK;
    }

    if (n <= rev->available) {
        rev->available -= n;
        return NGX_OK;
    }

    rev->available = 0;
    rev->ready = 0;

    if (rev->posted) {
        ngx_delete_posted_event(rev);
    }

    ngx_post_event(rev, &ngx_posted_next_events);

    return NGX_OK;
}


/* The end of the connection: 0, or NGX_ERROR where OpenSSL has queued one. */

static ssize_t
ngx_http_voc_webhook_ssl_end(ngx_connection_t *c)
{
    unsigned long error;

    error = ERR_peek_error();

    c->ssl->no_wait_shutdown = 1;
    c->ssl->no_send_shutdown = 1;
    c->read->ready = 0;

    if (error == 0) {
        c->ssl->last = NGX_DONE;
        c->read->eof = 1;
        return 0;
    }

    c->ssl->last = NGX_ERROR;
    c->read->error = 1;

    ngx_ssl_error(ERR_FATAL_ERROR(error) ? NGX_LOG_CRIT : NGX_LOG_INFO, c->log,
                  0, "SSL_read() failed");

    return NGX_ERROR;
}


/*
 * The connection's BIO, ours from here on.  NULL: the connection stays as
 * nginx has made it, as where the kernel decrypts (kTLS), which gives one
 * record, however much it has.
 */

static ngx_http_voc_webhook_bio_t *
ngx_http_voc_webhook_bio(ngx_connection_t *c)
{
    BIO *bio;
    SSL *ssl;

    ssl = c->ssl->connection;
    bio = SSL_get_rbio(ssl);

    if (c->recv == ngx_http_voc_webhook_ssl_recv) {
        return BIO_get_data(bio);
    }

    if (!ngx_use_epoll_rdhup
        || c->recv != ngx_ssl_recv
        || BIO_method_type(bio) != BIO_TYPE_SOCKET
        || BIO_get_callback_ex(bio)
        || SSL_get_options(ssl) & SSL_OP_ENABLE_KTLS
        || c->ssl->in_early)
    {
        return NULL;
    }

    return ngx_http_voc_webhook_bio_create(c);
}


/* Whether nginx ends the connection as soon as the answer is sent. */

static ngx_uint_t
ngx_http_voc_webhook_ends(ngx_http_request_t *r)
{
    ngx_http_core_loc_conf_t *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    /* a body still to be read counts, and so does a subrequest that runs */

    return !r->keepalive && r->count == 1 && clcf->post_action.data == NULL;
}


/*
 * Where the connection ends with this answer, OpenSSL's close_notify goes in
 * the same segment: to send one less is 2 percent of all that a connection for
 * a single request costs.  Of such a one, whose socket is empty, the answer is
 * held until then, so that both take one system call, 1 percent more.  Else the
 * kernel is told to wait.  Without a close_notify the answer goes with the
 * connection's end, or at the end of the turn, or after the 0.2 s that the
 * kernel waits at most.
 */

static void
ngx_http_voc_webhook_ssl_socket(ngx_http_request_t *r)
{
    ngx_connection_t *c;
    ngx_http_voc_webhook_bio_t *socket;

    c = r->connection;
    socket = ngx_http_voc_webhook_bio(c);

    if (socket == NULL) {
        return;
    }

    if (r->keepalive) {
        c->recv = ngx_http_voc_webhook_ssl_recv;
    }

    socket->more = ngx_http_voc_webhook_ends(r);
}

#endif


static void
ngx_http_voc_webhook_ssl_buffer_cleanup(void *data)
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
ngx_http_voc_webhook_ssl_buffer(ngx_http_request_t *r)
{
    ngx_buf_t *buf;
    ngx_pool_cleanup_t *cln;
    ngx_ssl_connection_t *ssl;

    ssl = r->connection->ssl;

    if (!ssl->buffer) {
        return NGX_OK;
    }

    (void) SSL_clear_mode(ssl->connection, SSL_MODE_RELEASE_BUFFERS);

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

    cln->handler = ngx_http_voc_webhook_ssl_buffer_cleanup;
    cln->data = buf;

    return NGX_OK;
}


ngx_int_t
ngx_http_voc_webhook_ssl_tune(ngx_http_request_t *r)
{
#if (NGX_HAVE_EPOLLRDHUP)
    ngx_http_voc_webhook_ssl_socket(r);
#endif

    return ngx_http_voc_webhook_ssl_buffer(r);
}

#endif
