/* UUID version 5 (RFC 9562, section 5.5), SHA-1 by OpenSSL. */

#ifndef VOC_UUID_H
#define VOC_UUID_H

#include "voc_types.h"

#define VOC_UUID_LEN 36 /* 8-4-4-4-12 hexadecimal digits, no NUL */

/* A hash that has begun; read-only, so one may serve all. */
typedef struct voc_uuid_s voc_uuid_t;

voc_uuid_t *voc_uuid_create(void); /* NULL: no memory */
void voc_uuid_free(voc_uuid_t *uuid);

/* The id of name in this project's namespace; 0, or -1 where OpenSSL fails. */
int voc_uuid_v5(const voc_uuid_t *uuid, voc_str_t name,
                char out[VOC_UUID_LEN]);

#endif
