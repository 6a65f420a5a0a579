#include "voc_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

/* A pattern that needs more than this for one value is a mistake in it. */
#define MATCH_LIMIT 100000 /* steps of backtracking */
#define HEAP_LIMIT  1024   /* KiB, used without JIT only */

#define OPTIONS                                                              \
    (PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C)

struct voc_pattern_s {
    pcre2_code *code;
    pcre2_match_context *limits;
    pcre2_match_data *match;
};

static void
explain(voc_error_t *error, int number, size_t offset)
{
    char text[256] = "";

    pcre2_get_error_message(number, (PCRE2_UCHAR *)text, sizeof(text));
    error->number = 0;
    snprintf(error->text, sizeof(error->text), "pattern: %s at offset %zu",
             text, offset);
}

voc_pattern_t *
voc_pattern_compile(voc_str_t expression, voc_error_t *error)
{
    int number = PCRE2_ERROR_NOMEMORY;
    size_t offset = 0;
    voc_pattern_t *pattern = calloc(1, sizeof(*pattern));

    if (pattern == NULL) {
        explain(error, number, 0);
        return NULL;
    }

    pattern->code = pcre2_compile((PCRE2_SPTR)expression.data, expression.len,
                                  OPTIONS, &number, &offset, NULL);
    if (pattern->code == NULL) {
        goto failed;
    }

    number = PCRE2_ERROR_NOMEMORY;
    pattern->limits = pcre2_match_context_create(NULL);
    pattern->match = pcre2_match_data_create(1, NULL);
    if (pattern->limits == NULL || pattern->match == NULL) {
        goto failed;
    }

    pcre2_set_match_limit(pattern->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(pattern->limits, HEAP_LIMIT);

    /* Where there is no JIT, or no executable memory, the interpreter runs.
     */
    (void)pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE);

    return pattern;

failed:
    explain(error, number, offset);
    voc_pattern_free(pattern);
    return NULL;
}

void
voc_pattern_free(voc_pattern_t *pattern)
{
    if (pattern != NULL) {
        pcre2_match_data_free(pattern->match);
        pcre2_match_context_free(pattern->limits);
        pcre2_code_free(pattern->code);
        free(pattern);
    }
}

int
voc_pattern_match(const voc_pattern_t *pattern, voc_str_t value)
{
    /* PCRE2 before 10.40 takes no NULL. */
    const char *data = value.data != NULL ? value.data : "";
    int rc = pcre2_match(pattern->code, (PCRE2_SPTR)data, value.len, 0, 0,
                         pattern->match, pattern->limits);

    if (rc >= 0) {
        return 1;
    }

    if (rc == PCRE2_ERROR_NOMATCH ||
        (rc <= PCRE2_ERROR_UTF8_ERR1 && rc >= PCRE2_ERROR_UTF8_ERR21)) {
        return 0;
    }

    return -1;
}
