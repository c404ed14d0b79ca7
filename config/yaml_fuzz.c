#include "config/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *mem = arena_new(0);
    struct faults faults;
    struct buf out;
    const struct yaml_node *root;

    buf_init(&out, 1024 * 1024);
    faults_init(&faults, mem, "fuzz.yaml");
    root = yaml_read(mem, str_make((const char *)data, size), &faults);
    if (root == NULL && faults.count == 0)
        __builtin_trap(); /* what cannot be read must say why */
    if (root != NULL && !yaml_same(root, root))
        __builtin_trap();
    faults_write(&faults, &out);
    buf_fini(&out);
    arena_free(&mem);
    return 0;
}
