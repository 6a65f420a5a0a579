/* CRC-32C by SSE 4.2, by ARMv8's CRC extension, or by eight tables. */

#include "voc_crc32c.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__) && defined(__AARCH64EL__) && defined(__linux__)
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#endif

#define VOC_CRC32C_POLYNOMIAL 0x82F63B78U /* bits reversed */

static uint32_t voc_crc32c_tables[8][256];
static uint32_t (*voc_crc32c_best)(uint32_t, const void *, size_t);

/* Before main(), or on dlopen(): later nothing here is written. */
__attribute__((constructor)) static void
voc_crc32c_init(void)
{
    uint32_t crc;
    unsigned i, k;

    for (i = 0; i < 256; i++) {
        crc = i;
        for (k = 0; k < 8; k++) {
            crc = (crc >> 1) ^ ((crc & 1) ? VOC_CRC32C_POLYNOMIAL : 0);
        }
        voc_crc32c_tables[0][i] = crc;
    }

    for (k = 1; k < 8; k++) {
        for (i = 0; i < 256; i++) {
            crc = voc_crc32c_tables[k - 1][i];
            voc_crc32c_tables[k][i] =
                (crc >> 8) ^ voc_crc32c_tables[0][crc & 0xFF];
        }
    }
}

uint32_t
voc_crc32c_table(uint32_t crc, const void *data, size_t size)
{
    const unsigned char *p = data;
    uint32_t(*t)[256] = voc_crc32c_tables;
    uint32_t high;

    crc = ~crc;

    for (; size >= 8; size -= 8, p += 8) {
        crc ^= p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
               (uint32_t)p[3] << 24;
        high = p[4] | (uint32_t)p[5] << 8 | (uint32_t)p[6] << 16 |
               (uint32_t)p[7] << 24;
        crc = t[7][crc & 0xFF] ^ t[6][(crc >> 8) & 0xFF] ^
              t[5][(crc >> 16) & 0xFF] ^ t[4][crc >> 24] ^
              t[3][high & 0xFF] ^ t[2][(high >> 8) & 0xFF] ^
              t[1][(high >> 16) & 0xFF] ^ t[0][high >> 24];
    }

    while (size-- > 0) {
        crc = (crc >> 8) ^ t[0][(crc ^ *p++) & 0xFF];
    }

    return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t
voc_crc32c_cpu(uint32_t crc, const void *data, size_t size)
{
    const unsigned char *p = data;
    uint64_t wide = (uint32_t)~crc, word;

    for (; size >= 8; size -= 8, p += 8) {
        memcpy(&word, p, 8);
        wide = _mm_crc32_u64(wide, word);
    }

    crc = (uint32_t)wide;
    while (size-- > 0) {
        crc = _mm_crc32_u8(crc, *p++);
    }

    return ~crc;
}

static int
voc_crc32c_have_cpu(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") != 0;
}

#elif defined(__aarch64__) && defined(__AARCH64EL__) && defined(__linux__)

/* In assembler: the compilers' intrinsics differ in what they demand. */
static uint32_t
voc_crc32c_cpu(uint32_t crc, const void *data, size_t size)
{
    const unsigned char *p = data;
    uint64_t word;

    crc = ~crc;

    for (; size >= 8; size -= 8, p += 8) {
        memcpy(&word, p, 8);
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1"
                : "+r"(crc)
                : "r"(word));
    }

    while (size-- > 0) {
        __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1"
                : "+r"(crc)
                : "r"((uint32_t)*p++));
    }

    return ~crc;
}

static int
voc_crc32c_have_cpu(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

#else

#define voc_crc32c_cpu voc_crc32c_table

static int
voc_crc32c_have_cpu(void)
{
    return 0;
}

#endif

__attribute__((constructor)) static void
voc_crc32c_choose(void)
{
    voc_crc32c_best =
        voc_crc32c_have_cpu() ? voc_crc32c_cpu : voc_crc32c_table;
}

uint32_t
voc_crc32c(uint32_t crc, const void *data, size_t size)
{
    return voc_crc32c_best(crc, data, size);
}
