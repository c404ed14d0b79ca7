#include "grey/policy.h"

#include "base/bug.h"

/* Whatever lies in the file: a step goes through, and what it leaves can be read again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct grey_rules rules = {240, 172800, 3110400, 5};
    struct str first, second;
    struct grey_memory memory, again;
    struct arena *mem = arena_new(0);
    struct store_row row;

    str_cut(str_make((const char *)data, size), '\n', &first, &second);
    grey_unpack_triple(first, &memory.triple);
    grey_unpack_deliveries(second, &memory.client);
    grey_step(&rules, 1700000000, &memory);
    row = grey_pack_triple(mem, &rules, &memory.triple);
    if (row.value.n > 0 && (!grey_unpack_triple(row.value, &again.triple) || row.expires_unix <= 1700000000))
        bug("a triple that cannot be read again");
    row = grey_pack_deliveries(mem, &rules, &memory.client);
    if (row.value.n > 0 && (!grey_unpack_deliveries(row.value, &again.client) ||
                            (!memory.client.allowed && row.expires_unix <= 1700000000)))
        bug("a client that cannot be read again");
    arena_free(&mem);
    return 0;
}
