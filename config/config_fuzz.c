#include "config/loading.h"

/* A tree of any form must end in values or in faults; no file is looked at. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *mem = arena_new(0);
    struct config config = {0};
    struct loading l = {.mem = mem, .config = &config};
    struct buf out;

    buf_init(&out, 1024 * 1024);
    l.end = &l.entries;
    faults_init(&l.faults, mem, "fuzz.yaml");
    l.root = yaml_read(mem, str_make((const char *)data, size), &l.faults);
    if (l.root != NULL) {
        fill_config(&l);
        domains_build(&l);
        check_config(&l);
    }
    if (l.root == NULL && l.faults.count == 0)
        __builtin_trap(); /* what cannot be read must say why */
    faults_write(&l.faults, &out);
    buf_fini(&out);
    arena_free(&mem);
    return 0;
}
