/* Instead of libFuzzer: hands the named files to a fuzzer, one by one. */

#include "fuzz.h"

#define INPUT_MAX (1024 * 1024) /* bytes */

static void
replay(const char *path)
{
    static uint8_t input[INPUT_MAX];
    uint8_t *exact;
    size_t size;
    FILE *file = fopen(path, "rb");

    if (file == NULL) {
        perror(path);
        exit(1);
    }

    size = fread(input, 1, sizeof(input), file);
    fclose(file);

    exact = fuzz_alloc(size);
    if (size > 0) {
        memcpy(exact, input, size);
    }
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        replay(argv[i]);
    }

    printf("%d inputs\n", argc - 1);
    return 0;
}
