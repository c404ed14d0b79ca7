/* Rows come from other hosts' files: any octets are read, and what is valid is read back the same. */
#include "report/history_row.h"

#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct arena *mem = arena_new(0);
    struct str tuple = str_make((const char *)bytes, n), key, value;
    struct history_entry entry;
    uint64_t record_hash;

    if (history_tuple_unpack(mem, tuple, &entry, &record_hash) && entry.dkim_count > HISTORY_DKIM_MAX)
        bug("too many signatures");
    if (str_cut(tuple, '\n', &key, &value))
        history_row_is_valid(key, value);
    arena_free(&mem);
    return 0;
}
