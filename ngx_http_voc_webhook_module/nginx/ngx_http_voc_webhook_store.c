/*
 * The store: a queue's journal with what goes with it, made by the master,
 * inherited by the workers, handed from cycle to cycle.
 */

#include "ngx_http_voc_webhook_module.h"

#include <sys/eventfd.h>


static void
ngx_http_voc_webhook_store_free(ngx_http_voc_webhook_store_t *store)
{
    voc_error_t error;
    ngx_http_voc_webhook_store_t *previous;

    for ( ;; ) {
        previous = store->previous;

        if (store->used || voc_journal_retire(store->journal, &error) == -1)
        {
            voc_journal_close(store->journal);
        }

        (void) close(store->wake);
        ngx_shm_free(&store->shm);
        ngx_free(store);

        if (previous == NULL) {
            return;
        }

        previous->followed = 0;

        if (previous->cycles) {
            return;
        }

        store = previous;
    }
}


/*
 * A file that no cycle in force had is deleted: that start or reload failed.
 * Of one that is followed only the numbers are kept, so that its file and its
 * lock are left to the old workers.
 */

static void
ngx_http_voc_webhook_store_release(void *data)
{
    ngx_http_voc_webhook_store_t *store = data;

    if (--store->cycles) {
        return;
    }

    if (store->followed) {
        voc_journal_detach(store->journal);
        return;
    }

    ngx_http_voc_webhook_store_free(store);
}


/* Each cycle that uses the store holds it until its pool goes. */

static ngx_int_t
ngx_http_voc_webhook_store_hold(ngx_http_voc_webhook_store_t *store,
    ngx_pool_t *pool)
{
    ngx_pool_cleanup_t *cln;

    cln = ngx_pool_cleanup_add(pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    store->cycles++;

    cln->handler = ngx_http_voc_webhook_store_release;
    cln->data = store;

    return NGX_OK;
}


/* What "nginx -t" can see without making anything. */

static ngx_int_t
ngx_http_voc_webhook_store_test(ngx_http_voc_webhook_queue_t *queue)
{
    u_char *p, *last;
    ngx_int_t rc;
    ngx_str_t parent;
    ngx_file_info_t fi;

    if (queue->journal.len == 0) {
        return NGX_OK;
    }

    if (ngx_file_info(queue->journal.data, &fi) != NGX_FILE_ERROR) {

        if (ngx_is_dir(&fi)) {
            return NGX_OK;
        }

        ngx_log_error(NGX_LOG_EMERG, queue->cycle->log, 0,
                      "\"%V\" is not a directory, voc_webhook_queue \"%V\" "
                      "keeps its journal there", &queue->journal,
                      &queue->name);
        return NGX_ERROR;
    }

    last = queue->journal.data + queue->journal.len;

    for (p = last - 1; p > queue->journal.data + 1 && *p != '/'; p--) {
        /* void */
    }

    parent.len = p - queue->journal.data;
    parent.data = ngx_pnalloc(queue->cycle->pool, parent.len + 1);
    if (parent.data == NULL) {
        return NGX_ERROR;
    }

    ngx_cpystrn(parent.data, queue->journal.data, parent.len + 1);

    rc = ngx_file_info(parent.data, &fi);

    if (rc == NGX_FILE_ERROR || !ngx_is_dir(&fi)) {
        ngx_log_error(NGX_LOG_EMERG, queue->cycle->log,
                      rc == NGX_FILE_ERROR ? ngx_errno : NGX_ENOTDIR,
                      "no directory \"%V\", voc_webhook_queue \"%V\" is to "
                      "keep its journal below it", &parent, &queue->name);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* The directory, made the way nginx makes its own temporary paths. */

static ngx_int_t
ngx_http_voc_webhook_store_directory(ngx_http_voc_webhook_queue_t *queue,
    ngx_core_conf_t *ccf)
{
    ngx_err_t err;
    ngx_log_t *log;

    log = queue->cycle->log;

    if (ngx_create_dir(queue->journal.data, 0700) == NGX_FILE_ERROR) {
        err = ngx_errno;

        if (err != NGX_EEXIST) {
            ngx_log_error(NGX_LOG_EMERG, log, err,
                          ngx_create_dir_n " \"%V\" failed, voc_webhook_queue "
                          "\"%V\" keeps its journal there", &queue->journal,
                          &queue->name);
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    if (geteuid() != 0 || ccf->user == (ngx_uid_t) NGX_CONF_UNSET_UINT) {
        return NGX_OK;
    }

    if (chown((const char *) queue->journal.data, ccf->user, -1) == -1) {
        ngx_log_error(NGX_LOG_EMERG, log, ngx_errno,
                      "chown(\"%V\", %d) failed", &queue->journal, ccf->user);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static voc_journal_t *
ngx_http_voc_webhook_store_journal(ngx_http_voc_webhook_queue_t *queue)
{
    voc_error_t error;
    voc_journal_t *journal;
    ngx_core_conf_t *ccf;
    voc_journal_options_t options;

    ccf = (ngx_core_conf_t *) ngx_get_conf(queue->cycle->conf_ctx,
                                           ngx_core_module);

    ngx_memzero(&options, sizeof(voc_journal_options_t));

    options.size = queue->size;
    options.uid = (uid_t) -1;
    options.gid = (gid_t) -1;

    if (queue->journal.len) {

        if (ngx_http_voc_webhook_store_directory(queue, ccf) != NGX_OK) {
            return NULL;
        }

        options.directory = (const char *) queue->journal.data;

        if (geteuid() == 0 && ccf->user != (ngx_uid_t) NGX_CONF_UNSET_UINT) {
            options.uid = ccf->user;
            options.gid = ccf->group;
        }
    }

    journal = voc_journal_create(&options, &error);

    if (journal == NULL) {
        ngx_log_error(NGX_LOG_EMERG, queue->cycle->log, 0,
                      "the journal of voc_webhook_queue \"%V\": %s",
                      &queue->name, error.text);
    }

    return journal;
}


static ngx_http_voc_webhook_store_t *
ngx_http_voc_webhook_store_create(ngx_http_voc_webhook_queue_t *queue)
{
    voc_error_t error;
    ngx_http_voc_webhook_store_t *store;

    store = ngx_calloc(sizeof(ngx_http_voc_webhook_store_t)
                       + queue->journal.len, queue->cycle->log);
    if (store == NULL) {
        return NULL;
    }

    /* of its own: the store outlives the configuration that made it */

    store->directory.len = queue->journal.len;
    store->directory.data = (u_char *) &store[1];
    ngx_memcpy(store->directory.data, queue->journal.data,
               queue->journal.len);

    store->size = queue->size;

    store->shm.size = ngx_pagesize;
    store->shm.name = queue->name;
    store->shm.log = queue->cycle->log;

    if (ngx_shm_alloc(&store->shm) != NGX_OK) {
        goto failed;
    }

    store->seat = (ngx_atomic_t *) store->shm.addr;

    store->wake = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);
    if (store->wake == -1) {
        ngx_log_error(NGX_LOG_EMERG, queue->cycle->log, ngx_errno,
                      "eventfd() failed");
        goto failed_shm;
    }

    store->journal = ngx_http_voc_webhook_store_journal(queue);
    if (store->journal == NULL) {
        goto failed_fd;
    }

    if (ngx_http_voc_webhook_store_hold(store, queue->cycle->pool) != NGX_OK)
    {
        if (voc_journal_retire(store->journal, &error) == -1) {
            voc_journal_close(store->journal);
        }

        goto failed_fd;
    }

    return store;

failed_fd:

    (void) close(store->wake);

failed_shm:

    ngx_shm_free(&store->shm);

failed:

    ngx_free(store);

    return NULL;
}


static ngx_uint_t
ngx_http_voc_webhook_store_same_directory(ngx_http_voc_webhook_store_t *store,
    ngx_http_voc_webhook_queue_t *queue)
{
    return store->directory.len == queue->journal.len
           && ngx_memcmp(store->directory.data, queue->journal.data,
                         queue->journal.len) == 0;
}


/*
 * Runs while the new cycle can still be rolled back.  data is the queue of
 * the same name in the old cycle, if there was one.
 */

ngx_int_t
ngx_http_voc_webhook_store_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_http_voc_webhook_queue_t *queue = zone->data;
    ngx_http_voc_webhook_queue_t *old = data;

    ngx_http_voc_webhook_store_t *store;

    if (ngx_test_config) {
        return ngx_http_voc_webhook_store_test(queue);
    }

    store = old ? old->store : NULL;

    if (store && store->size == queue->size
        && ngx_http_voc_webhook_store_same_directory(store, queue))
    {
        queue->store = store;
        return ngx_http_voc_webhook_store_hold(store, queue->cycle->pool);
    }

    queue->store = ngx_http_voc_webhook_store_create(queue);
    if (queue->store == NULL) {
        return NGX_ERROR;
    }

    if (store == NULL) {
        return NGX_OK;
    }

    if (store->directory.len == 0
        || ngx_http_voc_webhook_store_same_directory(store, queue))
    {
        queue->store->previous = store;
        store->followed = 1;
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_WARN, queue->cycle->log, 0,
                  "voc_webhook_queue \"%V\" leaves the journal directory "
                  "\"%V\": events that wait there are pushed once a queue "
                  "names it again", &queue->name, &store->directory);

    return NGX_OK;
}


/*
 * One that still has events is pushed by the old worker, or, once the old
 * workers are gone, drained as a leftover and deleted, unless it had to be left
 * alone.  In memory they are gone with the old worker.
 */

static ngx_uint_t
ngx_http_voc_webhook_store_done(ngx_http_voc_webhook_store_t *store,
    voc_journal_directory_t *leftovers)
{
    voc_journal_status_t status;

    voc_journal_status(store->journal, &status);

    if (status.pending == 0) {
        return 1;
    }

    if (store->directory.len) {
        if (voc_journal_refused(leftovers, voc_journal_id(store->journal))) {
            return 1;
        }

        return access(voc_journal_path(store->journal), F_OK) == -1
               && ngx_errno == NGX_ENOENT;
    }

    return *store->seat == 0
           || (kill((ngx_pid_t) *store->seat, 0) == -1
               && ngx_errno == NGX_ESRCH);
}


ngx_uint_t
ngx_http_voc_webhook_store_first(ngx_http_voc_webhook_queue_t *queue)
{
    ngx_http_voc_webhook_store_t *previous;

    for (previous = queue->store->previous;
         previous;
         previous = previous->previous)
    {
        if (!ngx_http_voc_webhook_store_done(previous, &queue->leftovers)) {
            return 0;
        }
    }

    return 1;
}
