/* CRC-32C by SSE 4.2, by ARMv8's CRC extension, or by eight tables. */

#include "voc_crc32c.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
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

/*
 * The instruction takes three cycles, and a new one can begin in each: three
 * lanes at once, whose results are then put together.  A lane's is moved over
 * n bytes by multiplying it by x^8n modulo the polynomial; the carry-less
 * product of two reversed numbers and the instruction's own x^32 are in it.
 */
#define VOC_CRC32C_LANE 64 /* bytes */

static uint32_t voc_crc32c_one_lane, voc_crc32c_two_lanes;

/* x^n modulo the polynomial, bits reversed. */
static uint32_t
voc_crc32c_power(unsigned n)
{
    uint32_t power = 0x80000000U;

    while (n-- > 0) {
        power = (power >> 1) ^ ((power & 1) ? VOC_CRC32C_POLYNOMIAL : 0);
    }

    return power;
}

__attribute__((target("sse4.2,pclmul"))) static inline uint64_t
voc_crc32c_multiply(uint64_t a, uint64_t b)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)a),
                                           _mm_cvtsi64_si128((long long)b), 0);

    return (uint64_t)_mm_cvtsi128_si64(product);
}

__attribute__((target("sse4.2,pclmul"))) static inline uint64_t
voc_crc32c_lanes(uint64_t crc, const unsigned char *p)
{
    uint64_t second = 0, third = 0, words[3];
    unsigned i;

    for (i = 0; i < VOC_CRC32C_LANE; i += 8) {
        memcpy(&words[0], p + i, 8);
        memcpy(&words[1], p + i + VOC_CRC32C_LANE, 8);
        memcpy(&words[2], p + i + 2 * VOC_CRC32C_LANE, 8);
        crc = _mm_crc32_u64(crc, words[0]);
        second = _mm_crc32_u64(second, words[1]);
        third = _mm_crc32_u64(third, words[2]);
    }

    crc = voc_crc32c_multiply(crc, voc_crc32c_two_lanes) ^
          voc_crc32c_multiply(second, voc_crc32c_one_lane);

    return _mm_crc32_u64(0, crc) ^ third;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t
voc_crc32c_cpu(uint32_t crc, const void *data, size_t size)
{
    const unsigned char *p = data;
    uint64_t wide = (uint32_t)~crc, word;

    for (; size >= 3 * VOC_CRC32C_LANE; size -= 3 * VOC_CRC32C_LANE) {
        wide = voc_crc32c_lanes(wide, p);
        p += 3 * VOC_CRC32C_LANE;
    }

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
    voc_crc32c_one_lane = voc_crc32c_power(8 * VOC_CRC32C_LANE - 33);
    voc_crc32c_two_lanes = voc_crc32c_power(16 * VOC_CRC32C_LANE - 33);

    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
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
