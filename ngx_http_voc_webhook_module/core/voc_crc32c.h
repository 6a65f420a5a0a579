/* CRC-32C (Castagnoli; RFC 3720, appendix B.4), by the CPU where it can. */

#ifndef VOC_CRC32C_H
#define VOC_CRC32C_H

#include "voc_types.h"

/* Goes on from crc, the result for the bytes before (0 at the start). */
uint32_t voc_crc32c(uint32_t crc, const void *data, size_t size);

/* The same without the CPU's instruction: what other machines get. */
uint32_t voc_crc32c_table(uint32_t crc, const void *data, size_t size);

#endif
